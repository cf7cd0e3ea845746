# SPDX-License-Identifier: Apache-2.0
"""Hashes and the ids made of them. spec: server-server-api, "Signing Events"; rooms, "Event IDs"."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from canonicaljson import encode_canonical_json
from hypothesis import given, settings
from hypothesis import strategies as st
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
from tests.support.judging import since
from tests.support.rooms import ALICE, make_room, pdu_of

PDUS = {name: pdu_of(make_room(name).message(ALICE)) for name in ROOM_VERSIONS}


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
    for version in ROOM_VERSIONS.values():
        assert encode_base64(content_hash(event, version)) == expected
        assert content_hash_holds({**event, "hashes": {"sha256": expected}}, version)


def test_hashes_follow_the_steps_of_the_specification(pdu: dict[str, Any], version: RoomVersion) -> None:
    assert content_hash(pdu, version) == spec_content_hash(pdu)
    assert reference_hash(pdu, version) == spec_reference_hash(pdu, version)


NUMBERS = st.integers() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.sampled_from([name for name, version in ROOM_VERSIONS.items() if not since(version, 6)]),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), NUMBERS, max_size=4),
    NUMBERS,
)
@settings(max_examples=100)
def test_numbers_hash_to_what_other_servers_hash_them_to(
    name: str, content: dict[str, Any], number: float
) -> None:
    version = ROOM_VERSIONS[name]
    pdu = {**PDUS[name], "content": content, "prev_state": [number]}
    assert content_hash(pdu, version) == spec_content_hash(pdu)
    assert reference_hash(pdu, version) == spec_reference_hash(pdu, version)


def test_event_ids(pdu: dict[str, Any], version: RoomVersion) -> None:
    """spec: rooms, "Event IDs": in the PDU, then base64, then URL-safe base64."""
    if not since(version, 3):
        assert event_id({**pdu, "event_id": "$any:domain"}, version) == "$any:domain"
        with pytest.raises(ValueError, match="no hashes"):
            event_id_of_hash(b"x" * 32, version)
    else:
        expected = encode_base64(spec_reference_hash(pdu, version), urlsafe=since(version, 4))
        assert event_id(pdu, version) == "$" + expected


@pytest.mark.parametrize("name", ["1", "2"])
def test_the_reference_hash_covers_an_id_in_the_pdu(name: str) -> None:
    pdu, version = PDUS[name], ROOM_VERSIONS[name]
    assert reference_hash({**pdu, "event_id": "$other:domain"}, version) != reference_hash(pdu, version)


def test_the_content_hash_covers_everything_else(pdu: dict[str, Any], version: RoomVersion) -> None:
    assert content_hash_holds(pdu, version)
    assert content_hash_holds({**pdu, "unsigned": {"age": 6}, "signatures": {}}, version)
    assert not content_hash_holds({**pdu, "content": {"body": "changed"}}, version)
    assert not content_hash_holds({**pdu, "extra": 1}, version)


def test_the_reference_hash_covers_what_redaction_keeps(pdu: dict[str, Any], version: RoomVersion) -> None:
    same = reference_hash(pdu, version)
    stripped = {**pdu, "content": {}, "extra": 1, "signatures": {}, "unsigned": {}}
    assert reference_hash(stripped, version) == same
    assert reference_hash({**pdu, "depth": pdu["depth"] + 1}, version) != same
    assert reference_hash({**pdu, "hashes": {"sha256": "x"}}, version) != same
    assert (reference_hash({**pdu, "origin": "a.example"}, version) != same) is not since(version, 11)


def test_versions_whose_redaction_keeps_signatures_sign_without_them(
    pdu: dict[str, Any], version: RoomVersion
) -> None:
    assert b"signatures" not in signed_bytes(pdu, version)
    assert b"unsigned" not in signed_bytes(pdu, version)


@pytest.mark.parametrize("padding", ["", "="])
def test_a_content_hash_may_be_padded(pdu: dict[str, Any], version: RoomVersion, padding: str) -> None:
    padded = {**pdu, "hashes": {"sha256": pdu["hashes"]["sha256"] + padding}}
    assert content_hash_holds(padded, version)


@pytest.mark.parametrize("hashes", [None, [], "x", {}, {"sha256": 5}, {"sha256": "?"}, {"sha256": "Zm9v"}])
def test_a_content_hash_that_is_none(pdu: dict[str, Any], version: RoomVersion, hashes: Any) -> None:
    assert not content_hash_holds({**pdu, "hashes": hashes}, version)


def test_ids_are_url_safe_from_version_4_on() -> None:
    digest = b"\xfb\xff" * 16
    url_safe = "$-__7__v_-__7__v_-__7__v_-__7__v_-__7__v_-_8"
    assert event_id_of_hash(digest, ROOM_VERSIONS["12"]) == url_safe
    assert event_id_of_hash(digest, ROOM_VERSIONS["4"]) == url_safe
    assert event_id_of_hash(digest, ROOM_VERSIONS["3"]) == url_safe.replace("-", "+").replace("_", "/")
    assert room_id_of_create("$-_8") == "!-_8"
