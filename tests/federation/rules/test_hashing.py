# SPDX-License-Identifier: Apache-2.0
"""Hashes and the ids made of them. spec: server-server-api, "Signing Events"; rooms, "Event IDs"."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from canonicaljson import encode_canonical_json
from unpaddedbase64 import encode_base64

from federation.rules.hashing import (
    content_hash,
    content_hash_holds,
    event_id,
    event_id_of_hash,
    reference_hash,
    room_id_of_create,
    signed_bytes,
)
from federation.rules.redaction import redact
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from tests.support.rooms import ALICE, make_room, pdu_of


@pytest.fixture(params=list(ROOM_VERSIONS))
def version(request: pytest.FixtureRequest) -> RoomVersion:
    return ROOM_VERSIONS[request.param]


@pytest.fixture
def pdu(version: RoomVersion) -> dict[str, Any]:
    room = make_room(version)
    return {**pdu_of(room.message(ALICE)), "unsigned": {"age": 5}}


def spec_content_hash(pdu: dict[str, Any]) -> bytes:
    """spec: server-server-api, "Calculating the content hash for an event", in its own steps."""
    pdu = dict(pdu)
    pdu.pop("unsigned", None)
    pdu.pop("signatures", None)
    pdu.pop("hashes", None)
    return hashlib.sha256(encode_canonical_json(pdu)).digest()


def spec_reference_hash(pdu: dict[str, Any], version: RoomVersion) -> bytes:
    """spec: server-server-api, "Calculating the reference hash for an event", in its own steps."""
    redacted = redact(pdu, version)
    redacted.pop("signatures", None)
    redacted.pop("unsigned", None)
    return hashlib.sha256(encode_canonical_json(redacted)).digest()


# spec: appendices, "Event Signing": the hashes of its two events.
@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            {
                "room_id": "!x:domain",
                "sender": "@a:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "signatures": {},
                "hashes": {},
                "type": "X",
                "content": {},
                "prev_events": [],
                "auth_events": [],
                "depth": 3,
                "unsigned": {"age_ts": 1000000},
            },
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
        ),
        (
            {
                "content": {"body": "Here is the message content"},
                "event_id": "$0:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "type": "m.room.message",
                "room_id": "!r:domain",
                "sender": "@u:domain",
                "signatures": {},
                "unsigned": {"age_ts": 1000000},
            },
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
        ),
    ],
)
def test_content_hashes_of_the_specification(event: dict[str, Any], expected: str) -> None:
    assert encode_base64(content_hash(event)) == expected
    assert content_hash_holds({**event, "hashes": {"sha256": expected}})


def test_hashes_follow_the_steps_of_the_specification(pdu: dict[str, Any], version: RoomVersion) -> None:
    assert content_hash(pdu) == spec_content_hash(pdu)
    assert reference_hash(pdu, version) == spec_reference_hash(pdu, version)
    assert event_id(pdu, version) == "$" + encode_base64(spec_reference_hash(pdu, version), urlsafe=True)


def test_the_content_hash_covers_everything_else(pdu: dict[str, Any]) -> None:
    assert content_hash_holds(pdu)
    assert content_hash_holds({**pdu, "unsigned": {"age": 6}, "signatures": {}})
    assert not content_hash_holds({**pdu, "content": {"body": "changed"}})
    assert not content_hash_holds({**pdu, "extra": 1})


def test_the_reference_hash_covers_what_redaction_keeps(pdu: dict[str, Any], version: RoomVersion) -> None:
    same = event_id(pdu, version)
    assert event_id({**pdu, "content": {}, "extra": 1, "signatures": {}, "unsigned": {}}, version) == same
    assert event_id({**pdu, "depth": pdu["depth"] + 1}, version) != same
    assert event_id({**pdu, "hashes": {"sha256": "x"}}, version) != same


def test_versions_whose_redaction_keeps_signatures_sign_without_them(
    pdu: dict[str, Any], version: RoomVersion
) -> None:
    assert b"signatures" not in signed_bytes(pdu, version)
    assert b"unsigned" not in signed_bytes(pdu, version)


@pytest.mark.parametrize("padding", ["", "="])
def test_a_content_hash_may_be_padded(pdu: dict[str, Any], padding: str) -> None:
    padded = {**pdu, "hashes": {"sha256": pdu["hashes"]["sha256"] + padding}}
    assert content_hash_holds(padded)


@pytest.mark.parametrize("hashes", [None, [], "x", {}, {"sha256": 5}, {"sha256": "?"}, {"sha256": "Zm9v"}])
def test_a_content_hash_that_is_none(pdu: dict[str, Any], hashes: Any) -> None:
    assert not content_hash_holds({**pdu, "hashes": hashes})


def test_ids_are_url_safe() -> None:
    digest = b"\xfb\xff" * 16
    assert event_id_of_hash(digest) == "$-__7__v_-__7__v_-__7__v_-__7__v_-__7__v_-_8"
    assert room_id_of_create("$-_8") == "!-_8"
