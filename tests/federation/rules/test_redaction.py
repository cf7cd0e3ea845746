# SPDX-License-Identifier: Apache-2.0
"""What redaction leaves. spec: rooms, version 11, "Redactions"."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.rules.canonical_json import decode_json
from federation.rules.event_format import parse_pdu
from federation.rules.hashing import event_id
from federation.rules.redaction import redact, redact_event, redacts
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.signing import verify_event_signature
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

# Kept by earlier versions, or never.
STRIPPED = {
    "origin": "a",
    "membership": "join",
    "prev_state": [],
    "redacts": "$x",
    "unsigned": {"age": 1},
    "anything": 1,
}

LEVELS = {
    "ban": 1,
    "events": {"a": 1},
    "events_default": 2,
    "invite": 3,
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
    assert redact({**KEPT, **STRIPPED}, version) == KEPT
    assert redact({"type": "x", "content": {"a": 1}}, version) == {"type": "x", "content": {}}


@pytest.mark.parametrize(
    ("event_type", "content", "kept"),
    [
        ("m.room.message", {"body": "a", "membership": "join", "redacts": "$x"}, {}),
        ("m.room.aliases", {"aliases": ["#a:a"]}, {}),
        ("m.room.name", {"name": "a"}, {}),
        (
            "m.room.create",
            {"creator": "@a:a", "room_version": "11", "m.federate": False, "any": {"thing": 1}},
            {"creator": "@a:a", "room_version": "11", "m.federate": False, "any": {"thing": 1}},
        ),
        (
            "m.room.member",
            {
                "membership": "join",
                "join_authorised_via_users_server": "@b:b",
                "displayname": "A",
                "avatar_url": "mxc://a/a",
                "reason": "r",
                "is_direct": True,
            },
            {"membership": "join", "join_authorised_via_users_server": "@b:b"},
        ),
        (
            "m.room.member",
            {
                "membership": "invite",
                "third_party_invite": {"signed": {"token": "t", "x": 1}, "display_name": "A"},
            },
            {"membership": "invite", "third_party_invite": {"signed": {"token": "t", "x": 1}}},
        ),
        (
            "m.room.member",
            {"membership": "invite", "third_party_invite": {"display_name": "A"}},
            {"membership": "invite", "third_party_invite": {}},
        ),
        ("m.room.member", {"membership": "invite", "third_party_invite": "a"}, {"membership": "invite"}),
        (
            "m.room.join_rules",
            {"join_rule": "restricted", "allow": [{"type": "x"}], "other": 1},
            {"join_rule": "restricted", "allow": [{"type": "x"}]},
        ),
        ("m.room.power_levels", {**LEVELS, "notifications": {"room": 1}, "other": 1}, LEVELS),
        (
            "m.room.history_visibility",
            {"history_visibility": "shared", "other": 1},
            {"history_visibility": "shared"},
        ),
        ("m.room.redaction", {"redacts": "$x", "reason": "r"}, {"redacts": "$x"}),
    ],
)
def test_content(
    version: RoomVersion, event_type: str, content: dict[str, Any], kept: dict[str, Any]
) -> None:
    pdu = {**KEPT, "type": event_type, "content": content}
    before = repr(pdu)
    assert redact(pdu, version) == {**KEPT, "type": event_type, "content": kept}
    assert repr(pdu) == before


def test_versions_that_keep_less(version: RoomVersion) -> None:
    """As versions 1 to 10 do: `creator` only, and nothing of a third-party invite."""
    rules = attrs.evolve(
        version.redaction,
        content={**version.redaction.content, "m.room.create": frozenset({"creator"})},
        keeps_create_content=False,
        keeps_third_party_invite_signed=False,
    )
    old = attrs.evolve(version, redaction=rules)
    create = {"type": "m.room.create", "content": {"creator": "@a:a", "room_version": "5"}}
    assert redact(create, old)["content"] == {"creator": "@a:a"}
    invite = {
        "type": "m.room.member",
        "content": {"membership": "invite", "third_party_invite": {"signed": {}}},
    }
    assert redact(invite, old)["content"] == {"membership": "invite"}


def test_a_redacted_event_keeps_its_ids_and_signature(version: RoomVersion) -> None:
    room = make_room(version, members=[BOB])
    event = room.send(
        BOB, "m.room.redaction", {"redacts": room.create.event_id, "reason": "why"}, redacts="$top", extra=1
    )
    redacted = redact_event(event, version)
    pdu = decode_json(redacted.json)
    assert (redacted.event_id, redacted.room_id) == (event.event_id, event.room_id)
    assert redacted.content == pdu["content"] == {"redacts": room.create.event_id}
    assert "extra" not in pdu
    assert "redacts" not in pdu
    assert (event.redacts, redacted.redacts) == ("$top", None)
    assert event_id(pdu, version) == event.event_id
    verify_event_signature(pdu, "b.example", verify_keys("b.example"), version)
    assert parse_pdu(pdu, version).json == redacted.json
    assert redact_event(redacted, version).json == redacted.json


def test_versions_that_keep_the_target_at_the_top(version: RoomVersion) -> None:
    rules = attrs.evolve(version.redaction, members=version.redaction.members | {"redacts"})
    old = attrs.evolve(version, redaction=rules)
    room = make_room(old)
    event = room.send(ALICE, "m.room.redaction", {}, redacts="$top")
    assert redact_event(event, old).redacts == "$top"


def test_the_target_of_a_redaction(version: RoomVersion) -> None:
    room = make_room(version)
    event = room.send(ALICE, "m.room.redaction", {"redacts": "$content"}, redacts="$top")
    assert redacts(event, version) == "$content"
    assert redacts(event, attrs.evolve(version, redacts_in_content=False)) == "$top"
    for content in ({}, {"redacts": 5}, {"redacts": None}):
        event = room.send(ALICE, "m.room.redaction", content, redacts="$top")
        assert redacts(event, version) is None


def test_redacting_a_create_event_changes_nothing(version: RoomVersion) -> None:
    create = make_room(version).create
    assert redact_event(create, version).json == create.json
    assert pdu_of(create)["content"] == create.content
