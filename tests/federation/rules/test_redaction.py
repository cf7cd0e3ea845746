# SPDX-License-Identifier: Apache-2.0
"""What redaction leaves. spec: rooms, "Redactions"."""

from __future__ import annotations

from typing import Any

import pytest

from federation.rules.canonical_json import decode_json
from federation.rules.event_format import parse_pdu
from federation.rules.hashing import event_id
from federation.rules.redaction import redact, redact_event, redacts
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.signing import verify_event_signature
from tests.support.judging import since
from tests.support.rooms import ALICE, BOB, make_room, pdu_of, verify_keys

KEPT = {
    "event_id": "$e",
    "type": "m.room.message",
    "room_id": "!r:a",
    "sender": "@a:a",
    "state_key": "",
    "content": {},
    "hashes": {"sha256": "x"},
    "signatures": {"a": {"ed25519:1": "x"}},
    "depth": 3,
    "prev_events": ["$p"],
    "auth_events": ["$q"],
    "origin_server_ts": 5,
}

# Kept up to version 10.
KEPT_BEFORE_11 = {"origin": "a", "membership": "join", "prev_state": []}

STRIPPED = {
    "redacts": "$x",
    "unsigned": {"age": 1},
    "anything": 1,
}

LEVELS = {
    "ban": 1,
    "events": {"a": 1},
    "events_default": 2,
    "kick": 4,
    "redact": 5,
    "state_default": 6,
    "users": {"@a:a": 7},
    "users_default": 8,
}


@pytest.fixture(params=list(ROOM_VERSIONS))
def version(request: pytest.FixtureRequest) -> RoomVersion:
    return ROOM_VERSIONS[request.param]


def test_members_of_the_event(version: RoomVersion) -> None:
    kept = KEPT if since(version, 11) else {**KEPT, **KEPT_BEFORE_11}
    assert redact({**KEPT, **KEPT_BEFORE_11, **STRIPPED}, version) == kept
    assert redact({"type": "x", "content": {"a": 1}}, version) == {"type": "x", "content": {}}


CREATE = {"creator": "@a:a", "room_version": "11", "m.federate": False, "any": {"thing": 1}}
MEMBER = {"displayname": "A", "avatar_url": "mxc://a/a", "reason": "r", "is_direct": True}
AUTHORISED = {"join_authorised_via_users_server": "@b:b"}
SIGNED = {"signed": {"token": "t", "x": 1}}


@pytest.mark.parametrize(
    ("event_type", "content", "kept"),
    [
        # What stays, by the versions from which on it does.
        ("m.room.message", {"body": "a", "membership": "join", "redacts": "$x"}, {1: {}}),
        ("m.room.aliases", {"aliases": ["#a:a"], "x": 1}, {1: {"aliases": ["#a:a"]}, 6: {}}),
        ("m.room.name", {"name": "a"}, {1: {}}),
        ("m.room.topic", {"topic": "a"}, {1: {}}),
        ("m.room.third_party_invite", {"public_key": "a"}, {1: {}}),
        ("m.room.create", CREATE, {1: {"creator": "@a:a"}, 11: CREATE}),
        ("m.room.create", {"room_version": "5"}, {1: {}, 11: {"room_version": "5"}}),
        (
            "m.room.member",
            {"membership": "join", **AUTHORISED, **MEMBER},
            {1: {"membership": "join"}, 9: {"membership": "join", **AUTHORISED}},
        ),
        (
            "m.room.member",
            {"membership": "invite", "third_party_invite": {**SIGNED, "display_name": "A"}},
            {1: {"membership": "invite"}, 11: {"membership": "invite", "third_party_invite": SIGNED}},
        ),
        (
            "m.room.member",
            {"membership": "invite", "third_party_invite": {"display_name": "A"}},
            {1: {"membership": "invite"}, 11: {"membership": "invite", "third_party_invite": {}}},
        ),
        ("m.room.member", {"membership": "invite", "third_party_invite": "a"}, {1: {"membership": "invite"}}),
        (
            "m.room.join_rules",
            {"join_rule": "restricted", "allow": [{"type": "x"}], "other": 1},
            {1: {"join_rule": "restricted"}, 8: {"join_rule": "restricted", "allow": [{"type": "x"}]}},
        ),
        (
            "m.room.power_levels",
            {**LEVELS, "invite": 3, "notifications": {"room": 1}, "other": 1},
            {1: LEVELS, 11: {**LEVELS, "invite": 3}},
        ),
        (
            "m.room.history_visibility",
            {"history_visibility": "shared", "other": 1},
            {1: {"history_visibility": "shared"}},
        ),
        ("m.room.redaction", {"redacts": "$x", "reason": "r"}, {1: {}, 11: {"redacts": "$x"}}),
    ],
)
def test_content(
    version: RoomVersion, event_type: str, content: dict[str, Any], kept: dict[int, dict[str, Any]]
) -> None:
    pdu = {**KEPT, "type": event_type, "content": content}
    before = repr(pdu)
    expected = kept[max(first for first in kept if since(version, first))]
    assert redact(pdu, version) == {**KEPT, "type": event_type, "content": expected}
    assert repr(pdu) == before


def test_a_redacted_event_keeps_its_ids_and_signature(version: RoomVersion) -> None:
    room = make_room(version, members=[BOB])
    event = room.send(
        BOB,
        "m.room.redaction",
        {"redacts": room.create.event_id, "reason": "why"},
        redacts="$top:b.example",
        extra=1,
    )
    redacted = redact_event(event, version)
    pdu = decode_json(redacted.json)
    assert (redacted.event_id, redacted.room_id) == (event.event_id, event.room_id)
    kept = {"redacts": room.create.event_id} if since(version, 11) else {}
    assert redacted.content == pdu["content"] == kept
    assert "extra" not in pdu
    assert "redacts" not in pdu
    assert (event.redacts, redacted.redacts) == ("$top:b.example", None)
    assert event_id(pdu, version) == event.event_id
    verify_event_signature(pdu, "b.example", verify_keys("b.example"), version)
    assert parse_pdu(pdu, version).json == redacted.json
    assert redact_event(redacted, version).json == redacted.json


def test_the_target_of_a_redaction(version: RoomVersion) -> None:
    room = make_room(version)
    for content, top, target in (
        ({"redacts": "$content"}, "$top", ("$top", "$content")),
        ({}, "$top", ("$top", None)),
        ({"redacts": 5}, "$top", ("$top", None)),
        ({"redacts": "$content"}, 5, (None, "$content")),
        ({"redacts": None}, None, (None, None)),
    ):
        event = room.send(ALICE, "m.room.redaction", content, redacts=top)
        assert redacts(event, version) == target[since(version, 11)]


@pytest.mark.parametrize("name", ["11", "12"])
def test_redacting_a_create_event_changes_nothing(name: str) -> None:
    version = ROOM_VERSIONS[name]
    create = make_room(version).create
    assert redact_event(create, version).json == create.json
    assert pdu_of(create)["content"] == create.content
