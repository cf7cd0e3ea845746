# SPDX-License-Identifier: Apache-2.0
"""Signatures, held to the specification's vectors and to `signedjson`."""

from __future__ import annotations

import copy
import re
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
from federation.rules.errors import EventTooLarge, InvalidEventFormat, InvalidSignature, NotCanonicalJson
from federation.rules.event_format import MAX_EVENT_SIZE, parse_pdu
from federation.rules.hashing import content_hash, content_hash_holds, event_id
from federation.rules.identifiers import server_of
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
from tests.support.judging import since
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
@pytest.mark.parametrize("name", ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"])
def test_event_vectors_of_the_specification(
    name: str, event: dict[str, Any], sha256: str, signature: str
) -> None:
    """The signatures cover `origin`, which redaction keeps up to version 10."""
    version = ROOM_VERSIONS[name]
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
        "prev_events": [an_id("B", version)],
        "auth_events": [an_id("C", version), an_id("D", version)],
        **members,
    }


def an_id(letter: str, version: RoomVersion) -> str:
    return f"${letter * 42}A" if since(version, 3) else f"${letter}:domain"


# The reference hashes of the events that `fields` refers to, where they are written.
HASHES = {f"${letter}:domain": letter.encode() * 32 for letter in "BCD"}


def build(given_fields: dict[str, Any], version: RoomVersion) -> Event:
    """An event with the id `$opaque:domain` in versions whose ids are chosen."""
    return build_event(given_fields, version, "domain", KEY, reference_hashes=HASHES, opaque_id="opaque")


def spec_pdu(given_fields: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    """What the PDU of these fields has beside hashes and signatures. spec: rooms, "Event format"."""
    if since(version, 3):
        return given_fields
    references = {
        member: [[name, {"sha256": encode_base64(HASHES[name])}] for name in given_fields[member]]
        for member in ("prev_events", "auth_events")
    }
    return {**given_fields, **references, "event_id": "$opaque:domain"}


def spec_sign(pdu: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    """spec: server-server-api, "Signing Events", "Example code", with the reference library."""
    event = copy.deepcopy(pdu)
    event["hashes"] = {"sha256": encode_base64(content_hash(event, version))}
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
    assert_built(given_fields, version)


NUMBERS = st.integers(-(2**100), 2**100) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(TEXT, VALUES | NUMBERS, max_size=4), NUMBERS)
@settings(max_examples=60)
@pytest.mark.parametrize("name", ["1", "2", "3", "4", "5"])
def test_a_built_event_may_hold_any_numbers_up_to_version_5(
    name: str, content: dict[str, Any], number: float
) -> None:
    version = ROOM_VERSIONS[name]
    assert_built({**fields(version, content), "prev_state": [number]}, version)


def assert_built(given_fields: dict[str, Any], version: RoomVersion) -> None:
    """What is built of these fields is what the specification makes of them, and what others read."""
    before = copy.deepcopy(given_fields)
    event = build(dict(given_fields), version)
    assert given_fields == before
    pdu = decode_json(event.json)
    bare = spec_pdu(given_fields, version)
    assert pdu == spec_sign(bare, version) == sign_event(bare, "domain", KEY, version)
    assert event.event_id == event_id(pdu, version)
    assert event.prev_events == tuple(given_fields["prev_events"])
    assert event.auth_events == tuple(given_fields["auth_events"])
    assert content_hash_holds(pdu, version)
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
        build(fields(version, **{member: {}}), version)


def test_a_built_event_must_fit(version: RoomVersion) -> None:
    empty = build(fields(version, {"body": ""}), version)
    room_left = MAX_EVENT_SIZE - len(empty.json)
    event = build(fields(version, {"body": "x" * room_left}), version)
    assert len(event.json) == MAX_EVENT_SIZE
    assert parse_pdu(decode_json(event.json), version).event_id == event.event_id
    with pytest.raises(EventTooLarge):
        build(fields(version, {"body": "x" * (room_left + 1)}), version)


@pytest.mark.parametrize(
    ("content", "lenient"),
    [
        ({"a": 1.5}, True),
        ({"a": 2**53}, True),
        ({"a": float("inf")}, False),
        ({"a": float("nan")}, False),
        ({"a": "\ud800"}, False),
    ],
)
def test_a_built_event_must_be_canonical(
    version: RoomVersion, content: dict[str, Any], lenient: bool
) -> None:
    if lenient and not since(version, 6):
        assert build(fields(version, content), version).content == content
        return
    with pytest.raises(NotCanonicalJson):
        build(fields(version, content), version)


@pytest.mark.parametrize("name", ["1", "2"])
class TestIdsInPdus:
    """spec: rooms, version 1, "Event IDs" and "Event format"."""

    def test_ids_are_random_unless_given(self, name: str) -> None:
        version = ROOM_VERSIONS[name]
        built = [
            build_event(fields(version), version, "domain", KEY, reference_hashes=HASHES) for _ in range(2)
        ]
        ids = {event.event_id for event in built}
        assert len(ids) == 2
        for event_id_ in ids:
            assert re.fullmatch(r"\$[A-Za-z0-9_-]{20,}:domain", event_id_)

    @pytest.mark.parametrize("member", ["prev_events", "auth_events"])
    def test_every_hash_must_be_given(self, name: str, member: str) -> None:
        version = ROOM_VERSIONS[name]
        given_fields = fields(version, **{member: ["$B:domain", "$other:domain"]})
        with pytest.raises(ValueError, match=r"reference hash of \$other:domain"):
            build_event(given_fields, version, "domain", KEY, reference_hashes=HASHES)

    def test_a_create_event_needs_none(self, name: str) -> None:
        version = ROOM_VERSIONS[name]
        create = fields(version, {"creator": "@a:domain"}, type="m.room.create", state_key="")
        event = build_event({**create, "prev_events": [], "auth_events": []}, version, "domain", KEY)
        assert (event.prev_events, event.auth_events) == ((), ())

    @pytest.mark.parametrize("opaque_id", ["x\0", "x:y z", "x" * 250])
    def test_a_given_id_must_be_one(self, name: str, opaque_id: str) -> None:
        version = ROOM_VERSIONS[name]
        with pytest.raises(InvalidEventFormat, match="event_id"):
            build_event(fields(version), version, "domain", KEY, reference_hashes=HASHES, opaque_id=opaque_id)


@pytest.mark.parametrize("name", ["3", "4", "11", "12"])
def test_ids_that_are_hashes_are_not_chosen(name: str) -> None:
    version = ROOM_VERSIONS[name]
    plain = build_event(fields(version), version, "domain", KEY)
    assert build(fields(version), version).event_id == plain.event_id
    assert "event_id" not in decode_json(plain.json)


@given(OBJECTS, NUMBERS)
@settings(max_examples=60)
def test_numbers_are_signed_as_signedjson_signs_them(value: dict[str, Any], number: float) -> None:
    """Requests hold the events of old room versions."""
    value.pop("signatures", None)
    value["n"] = [number]
    signed = sign_json(value, "domain", KEY)
    assert signed == signedjson.sign.sign_json(copy.deepcopy(value), "domain", THEIR_KEY)
    verify_json(signed, "domain", KEYS)


def test_an_event_is_countersigned(version: RoomVersion) -> None:
    event = build(fields(version), version)
    twice = countersign_event(event, "b.example", signing_key("b.example"), version)
    pdu = decode_json(twice.json)
    assert twice.event_id == event.event_id
    assert event_id(pdu, version) == event.event_id
    verify_event_signature(pdu, "domain", KEYS, version)
    verify_event_signature(pdu, "b.example", verify_keys("b.example"), version)
    with pytest.raises(InvalidSignature):
        verify_event_signature(pdu, "c.example", KEYS, version)


def test_a_countersignature_must_fit(version: RoomVersion) -> None:
    empty = build(fields(version, {"body": ""}), version)
    event = build(fields(version, {"body": "x" * (MAX_EVENT_SIZE - len(empty.json))}), version)
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
    for event, servers in (
        (room.message(BOB), {"b.example"}),
        (room.member(ALICE, carol, "invite", check=False), {"a.example"}),
        (room.member(ALICE, carol, "invite", invite, check=False), set()),
        (room.member(ALICE, carol, "ban", invite, check=False), {"a.example"}),
        (room.send(BOB, "x", {"membership": "invite", **invite}), {"b.example"}),
    ):
        # In versions 1 and 2 also the server of the id.
        for id_server in ("d.example", server_of(event.sender)):
            named = attrs.evolve(event, event_id=f"$x:{id_server}")
            more = set() if since(version, 3) else {id_server}
            assert required_signatures(named, version) == servers | more


@pytest.mark.parametrize("name", [name for name, version in ROOM_VERSIONS.items() if since(version, 8)])
def test_the_server_that_authorises_a_join(name: str) -> None:
    version = ROOM_VERSIONS[name]
    room = make_room(version, members=[BOB])
    key = "join_authorised_via_users_server"
    join = room.join(BOB, {key: ALICE})
    assert join_authoriser_server(join, version) == "a.example"
    verify_event_signature(pdu_of(join), "a.example", verify_keys("a.example"), version)
    assert join_authoriser_server(join, ROOM_VERSIONS["7"]) is None
    assert join_authoriser_server(room.join(BOB), version) is None
    assert join_authoriser_server(room.send(BOB, "x", {key: ALICE}), version) is None
    for bad in (5, None, "alice"):
        assert join_authoriser_server(room.join(BOB, {key: bad}, check=False), version) is None
