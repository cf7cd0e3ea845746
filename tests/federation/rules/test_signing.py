# SPDX-License-Identifier: Apache-2.0
"""Signatures, held to the specification's vectors and to `signedjson`."""

from __future__ import annotations

import copy
from typing import Any

import attrs
import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given, settings
from hypothesis import strategies as st
from unpaddedbase64 import encode_base64

from federation.rules.base64 import decode_base64
from federation.rules.canonical_json import MAX_INTEGER, decode_json
from federation.rules.errors import EventTooLarge, InvalidSignature, NotCanonicalJson
from federation.rules.event_format import MAX_EVENT_SIZE, parse_pdu
from federation.rules.hashing import content_hash, content_hash_holds, event_id
from federation.rules.keys import signing_key_of_seed
from federation.rules.redaction import redact
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.signing import (
    build_event,
    countersign_event,
    join_authoriser_server,
    required_signatures,
    sign_event,
    sign_json,
    verify_event_signature,
    verify_json,
    verify_signature,
)
from storage.event import Event
from tests.support.rooms import ALICE, BOB, make_room, pdu_of, signing_key, verify_keys

# spec: appendices, "Cryptographic Test Vectors"
KEY = signing_key_of_seed("1", decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"))
KEYS = {"ed25519:1": KEY.verify_key}
THEIR_KEY = signedjson.key.decode_signing_key_base64(
    "ed25519", "1", "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"
)

THEIR_VERIFY_KEY = signedjson.key.get_verify_key(THEIR_KEY)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)


@pytest.fixture(params=list(ROOM_VERSIONS))
def version(request: pytest.FixtureRequest) -> RoomVersion:
    return ROOM_VERSIONS[request.param]


def old_redaction() -> RoomVersion:
    """A version whose redaction keeps `origin`, as in versions 1 to 10, which the vectors are made by."""
    version = ROOM_VERSIONS["11"]
    rules = attrs.evolve(version.redaction, members=version.redaction.members | {"origin"})
    return attrs.evolve(version, redaction=rules)


# spec: appendices, "JSON Signing"
@pytest.mark.parametrize(
    ("value", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_json_vectors_of_the_specification(value: dict[str, Any], signature: str) -> None:
    signed = sign_json(value, "domain", KEY)
    assert signed == {**value, "signatures": {"domain": {"ed25519:1": signature}}}
    verify_json(signed, "domain", KEYS)


# spec: appendices, "Event Signing"
@pytest.mark.parametrize(
    ("event", "sha256", "signature"),
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
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
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
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
)
def test_event_vectors_of_the_specification(event: dict[str, Any], sha256: str, signature: str) -> None:
    version = old_redaction()
    before = copy.deepcopy(event)
    signed = sign_event(event, "domain", KEY, version)
    assert signed == {
        **event,
        "hashes": {"sha256": sha256},
        "signatures": {"domain": {"ed25519:1": signature}},
    }
    assert event == before
    verify_event_signature(signed, "domain", KEYS, version)


@given(OBJECTS, st.booleans(), st.booleans())
@settings(max_examples=80)
def test_json_signatures_are_those_of_signedjson(value: dict[str, Any], unsigned: bool, signed: bool) -> None:
    value.pop("signatures", None)
    if unsigned:
        value["unsigned"] = {"age": 1}
    if signed:
        value["signatures"] = {"other": {"ed25519:x": "AAAA"}, "domain": {"ed25519:0": "BBBB"}}
    before = copy.deepcopy(value)
    ours = sign_json(value, "domain", KEY)
    assert value == before
    theirs = signedjson.sign.sign_json(copy.deepcopy(value), "domain", THEIR_KEY)
    assert ours == theirs
    signedjson.sign.verify_signed_json(ours, "domain", THEIR_VERIFY_KEY)
    verify_json(theirs, "domain", KEYS)


@given(OBJECTS, TEXT.filter(lambda key: key not in ("signatures", "unsigned")), VALUES)
@settings(max_examples=50)
def test_a_changed_value_does_not_verify(value: dict[str, Any], key: str, item: Any) -> None:
    value.pop("signatures", None)
    signed = sign_json(value, "domain", KEY)
    changed = {**signed, key: [item]}
    if changed != signed:
        with pytest.raises(InvalidSignature):
            verify_json(changed, "domain", KEYS)
        with pytest.raises(signedjson.sign.SignatureVerifyException):
            signedjson.sign.verify_signed_json(changed, "domain", THEIR_VERIFY_KEY)
    verify_json({**signed, "unsigned": item}, "domain", KEYS)


def test_other_keys_are_skipped_and_every_known_key_must_hold() -> None:
    other = signing_key("other")
    signed = sign_json(sign_json({"a": 1}, "domain", KEY), "domain", other)
    both = {**KEYS, other.key_id: other.verify_key}
    verify_json(signed, "domain", KEYS)
    verify_json(signed, "domain", {other.key_id: other.verify_key})
    verify_json(signed, "domain", both)
    signed["signatures"]["domain"][other.key_id] = signed["signatures"]["domain"]["ed25519:1"]
    verify_json(signed, "domain", KEYS)
    with pytest.raises(InvalidSignature, match="wrong"):
        verify_json(signed, "domain", both)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"domain": []},
        {"domain": {}},
        {"other": {"ed25519:1": "A" * 86}},
        {"domain": {"ed25519:2": "A" * 86}},
        {"domain": {"ed25519:1": 5}},
        {"domain": {"ed25519:1": "?"}},
        {"domain": {"ed25519:1": ""}},
        {"domain": {"ed25519:1": "AAAA"}},
        {"domain": {"ed25519:1": "A" * 86}},
    ],
)
def test_signatures_that_are_none(signatures: Any) -> None:
    with pytest.raises(InvalidSignature) as caught:
        verify_json({"a": 1, "signatures": signatures}, "domain", KEYS)
    assert caught.value.server_name == "domain"


def test_a_key_of_another_algorithm_is_skipped() -> None:
    signed = sign_json({}, "domain", KEY)
    signature = signed["signatures"]["domain"]["ed25519:1"]
    value = {"signatures": {"domain": {"rsa:1": signature}}}
    with pytest.raises(InvalidSignature, match="unknown keys"):
        verify_json(value, "domain", {"rsa:1": KEY.verify_key})


@pytest.mark.parametrize("key", [b"", b"\0" * 31, b"\0" * 32, b"\xff" * 32, b"\0" * 33])
def test_keys_that_are_none_verify_nothing(key: bytes) -> None:
    signature = decode_base64(sign_json({}, "domain", KEY)["signatures"]["domain"]["ed25519:1"])
    assert verify_signature(b"{}", signature, KEY.verify_key)
    assert not verify_signature(b"{}", signature, key)
    assert not verify_signature(b"{}", signature[:-1], KEY.verify_key)
    assert not verify_signature(b"", signature, KEY.verify_key)


@pytest.mark.parametrize("signatures", [None, 5, [], {"domain": 5}, {"domain": []}])
def test_signing_replaces_what_is_no_signature(signatures: Any) -> None:
    signed = sign_json({"a": 1, "signatures": signatures}, "domain", KEY)
    verify_json(signed, "domain", KEYS)


def test_signing_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(NotCanonicalJson):
        sign_json({"a": "\ud800"}, "domain", KEY)


def fields(version: RoomVersion, content: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    room_id = "!" + "A" * 43 if version.room_id_is_create_hash else "!room:domain"
    return {
        "type": "m.room.message",
        "sender": "@a:domain",
        "room_id": room_id,
        "content": {} if content is None else content,
        "origin_server_ts": 1_700_000_000_000,
        "depth": 7,
        "prev_events": ["$" + "B" * 42 + "A"],
        "auth_events": ["$" + "C" * 42 + "A", "$" + "D" * 42 + "A"],
        **members,
    }


def spec_sign(pdu: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    """spec: server-server-api, "Signing Events", "Example code", with the reference library."""
    event = copy.deepcopy(pdu)
    event["hashes"] = {"sha256": encode_base64(content_hash(event))}
    signed = signedjson.sign.sign_json(redact(event, version), "domain", THEIR_KEY)
    event["signatures"] = signed["signatures"]
    return event


@given(OBJECTS, st.sampled_from(list(ROOM_VERSIONS)), st.none() | TEXT, OBJECTS)
@settings(max_examples=80)
def test_a_built_event_is_what_the_specification_makes_of_it(
    content: dict[str, Any], name: str, state_key: str | None, extra: dict[str, Any]
) -> None:
    version = ROOM_VERSIONS[name]
    members = {} if state_key is None else {"state_key": state_key}
    given_fields = {
        **{f"x.{key}": item for key, item in extra.items()},
        **fields(version, content, **members),
    }
    event = build_event(dict(given_fields), version, "domain", KEY)
    pdu = decode_json(event.json)
    assert pdu == spec_sign(given_fields, version) == sign_event(given_fields, "domain", KEY, version)
    assert event.event_id == event_id(pdu, version)
    assert content_hash_holds(pdu)
    verify_event_signature(pdu, "domain", KEYS, version)
    verify_event_signature(redact(pdu, version), "domain", KEYS, version)
    # What another server makes of it, and what is read back from disk, is the same.
    assert_same(event, parse_pdu({**pdu, "unsigned": {"age": 1}}, version))
    assert_same(event, Event.decode(event.json, event.event_id, event.room_id))


def assert_same(one: Event, other: Event) -> None:
    assert attrs.asdict(one, recurse=False) == attrs.asdict(other, recurse=False)


def test_the_room_id_of_a_create_event() -> None:
    version = ROOM_VERSIONS["12"]
    pdu = fields(
        version, {"room_version": "12"}, type="m.room.create", state_key="", prev_events=[], auth_events=[]
    )
    del pdu["room_id"]
    event = build_event(pdu, version, "domain", KEY)
    assert event.room_id == "!" + event.event_id[1:]
    assert "room_id" not in decode_json(event.json)
    assert_same(event, parse_pdu(decode_json(event.json), version))


@pytest.mark.parametrize("member", ["hashes", "signatures", "unsigned"])
def test_a_built_event_takes_no_hashes_or_signatures(version: RoomVersion, member: str) -> None:
    with pytest.raises(ValueError, match="is built"):
        build_event(fields(version, **{member: {}}), version, "domain", KEY)


def test_a_built_event_must_fit(version: RoomVersion) -> None:
    empty = build_event(fields(version, {"body": ""}), version, "domain", KEY)
    room_left = MAX_EVENT_SIZE - len(empty.json)
    event = build_event(fields(version, {"body": "x" * room_left}), version, "domain", KEY)
    assert len(event.json) == MAX_EVENT_SIZE
    assert parse_pdu(decode_json(event.json), version).event_id == event.event_id
    with pytest.raises(EventTooLarge):
        build_event(fields(version, {"body": "x" * (room_left + 1)}), version, "domain", KEY)


@pytest.mark.parametrize("content", [{"a": 1.5}, {"a": 2**53}, {"a": "\ud800"}])
def test_a_built_event_must_be_canonical(version: RoomVersion, content: dict[str, Any]) -> None:
    with pytest.raises(NotCanonicalJson):
        build_event(fields(version, content), version, "domain", KEY)


def test_an_event_is_countersigned(version: RoomVersion) -> None:
    event = build_event(fields(version), version, "domain", KEY)
    twice = countersign_event(event, "b.example", signing_key("b.example"), version)
    pdu = decode_json(twice.json)
    assert twice.event_id == event.event_id
    assert event_id(pdu, version) == event.event_id
    verify_event_signature(pdu, "domain", KEYS, version)
    verify_event_signature(pdu, "b.example", verify_keys("b.example"), version)
    with pytest.raises(InvalidSignature):
        verify_event_signature(pdu, "c.example", KEYS, version)


def test_a_countersignature_must_fit(version: RoomVersion) -> None:
    empty = build_event(fields(version, {"body": ""}), version, "domain", KEY)
    event = build_event(
        fields(version, {"body": "x" * (MAX_EVENT_SIZE - len(empty.json))}), version, "domain", KEY
    )
    with pytest.raises(EventTooLarge):
        countersign_event(event, "b.example", signing_key("b.example"), version)


def test_what_redaction_strips_is_not_signed(version: RoomVersion) -> None:
    room = make_room(version, members=[BOB])
    pdu = pdu_of(room.message(BOB))
    verify_event_signature(
        {**pdu, "content": {"body": "changed"}}, "b.example", verify_keys("b.example"), version
    )
    with pytest.raises(InvalidSignature):
        verify_event_signature({**pdu, "sender": ALICE}, "b.example", verify_keys("b.example"), version)


def test_the_servers_that_must_have_signed(version: RoomVersion) -> None:
    room = make_room(version, members=[BOB])
    invite = {"third_party_invite": {"signed": {}}}
    carol = "@carol:c.example"
    assert required_signatures(room.message(BOB)) == {"b.example"}
    assert required_signatures(room.member(ALICE, carol, "invite", check=False)) == {"a.example"}
    assert required_signatures(room.member(ALICE, carol, "invite", invite, check=False)) == frozenset()
    assert required_signatures(room.member(ALICE, carol, "ban", invite, check=False)) == {"a.example"}
    assert required_signatures(room.send(BOB, "x", {"membership": "invite", **invite})) == {"b.example"}


def test_the_server_that_authorises_a_join(version: RoomVersion) -> None:
    room = make_room(version, members=[BOB])
    key = "join_authorised_via_users_server"
    join = room.join(BOB, {key: ALICE})
    assert join_authoriser_server(join, version) == "a.example"
    verify_event_signature(pdu_of(join), "a.example", verify_keys("a.example"), version)
    assert join_authoriser_server(join, attrs.evolve(version, restricted=False)) is None
    assert join_authoriser_server(room.join(BOB), version) is None
    assert join_authoriser_server(room.send(BOB, "x", {key: ALICE}), version) is None
    for bad in (5, None, "alice"):
        assert join_authoriser_server(room.join(BOB, {key: bad}, check=False), version) is None
