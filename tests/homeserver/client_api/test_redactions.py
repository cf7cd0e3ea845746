# SPDX-License-Identifier: Apache-2.0
"""Redacting events, over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from storage.engine.database import Database
from tests.support.http import Response
from tests.support.reactor import in_reactor
from tests.support.room_server import RoomServer, User, ok, refused, room_server

UNKNOWN_ROOM = "!" + "A" * 43
UNKNOWN_EVENT = "$" + "A" * 43
FORBIDDEN = (403, "M_FORBIDDEN")

Redact = Callable[[User, str, str, str], Response]


def by_endpoint(user: User, room_id: str, event_id: str, txn_id: str) -> Response:
    return user.redact(room_id, event_id, txn_id, reason="a slip")


def by_send(user: User, room_id: str, event_id: str, txn_id: str) -> Response:
    path = f"/rooms/{quote(room_id)}/send/m.room.redaction/{txn_id}"
    return user.put(path, {"redacts": event_id, "reason": "a slip"})


both_ways = pytest.mark.parametrize("redact", [by_endpoint, by_send])


@pytest.fixture
def server(database: Database) -> Iterator[RoomServer]:
    with room_server(database) as running:
        yield running


@pytest.fixture
def room_id(server: RoomServer) -> str:
    """A public room of Alice's, which others have joined."""
    room_id = server.alice.create_room(preset="public_chat")
    for user in (server.bob, server.carol, server.admin):
        ok(user.membership("join", room_id))
    return room_id


def redacted_by(server: RoomServer, event_id: str) -> str | None:
    stored = in_reactor(server.parts.storage.events.by_id([event_id]))
    return stored[event_id].redacted_by


@both_ways
def test_ones_own_event_is_redacted(server: RoomServer, room_id: str, redact: Redact) -> None:
    target = ok(server.bob.send(room_id, "t1"))["event_id"]
    redaction_id = ok(redact(server.bob, room_id, target, "r1"))["event_id"]
    redaction = server.events(room_id)[-1].event
    assert (redaction.event_id, redaction.type, redaction.redacts) == (redaction_id, "m.room.redaction", None)
    assert redaction.content == {"redacts": target, "reason": "a slip"}
    assert redacted_by(server, target) == redaction_id


@both_ways
def test_others_events_take_the_redact_level(server: RoomServer, room_id: str, redact: Redact) -> None:
    target = ok(server.bob.send(room_id, "t1"))["event_id"]
    assert refused(redact(server.carol, room_id, target, "r1")) == FORBIDDEN
    assert redacted_by(server, target) is None
    ok(server.alice.set_state(room_id, "m.room.power_levels", {"users": {server.carol.id: 50}}))
    ok(redact(server.carol, room_id, target, "r1"))
    assert redacted_by(server, target) is not None


@both_ways
def test_administrators_redact_events_of_this_server(
    server: RoomServer, room_id: str, redact: Redact
) -> None:
    target = ok(server.bob.send(room_id, "t1"))["event_id"]
    ok(redact(server.admin, room_id, target, "r1"))
    assert redacted_by(server, target) is not None


@both_ways
def test_the_level_of_redactions_themselves(server: RoomServer, room_id: str, redact: Redact) -> None:
    target = ok(server.bob.send(room_id, "t1"))["event_id"]
    ok(server.alice.set_state(room_id, "m.room.power_levels", {"events": {"m.room.redaction": 10}}))
    assert refused(redact(server.bob, room_id, target, "r1")) == FORBIDDEN


@both_ways
def test_targets_that_cannot_be_redacted(server: RoomServer, room_id: str, redact: Redact) -> None:
    elsewhere = ok(server.alice.send(server.alice.create_room(), "t1"))["event_id"]
    create = server.events(room_id)[0].event.event_id
    acl = ok(server.alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"]}))["event_id"]
    for target, error in (
        (UNKNOWN_EVENT, (404, "M_NOT_FOUND")),
        (elsewhere, (404, "M_NOT_FOUND")),
        (create, FORBIDDEN),
        (acl, FORBIDDEN),
        ("nonsense", (400, "M_INVALID_PARAM")),
        ("$" + "a" * 255, (400, "M_INVALID_PARAM")),
    ):
        assert refused(redact(server.alice, room_id, target, "r1")) == error
    assert "m.room.redaction" not in server.types(room_id)


@both_ways
def test_strangers_learn_nothing(server: RoomServer, room_id: str, redact: Redact) -> None:
    target = ok(server.bob.send(room_id, "t1"))["event_id"]
    answers = [
        redact(server.dan, room_id, target, "r1"),
        redact(server.dan, room_id, UNKNOWN_EVENT, "r1"),
        redact(server.dan, UNKNOWN_ROOM, target, "r1"),
    ]
    assert [refused(answer) for answer in answers] == [FORBIDDEN] * 3
    assert len({answer.content for answer in answers}) == 1


@both_ways
def test_a_redaction_is_made_once(server: RoomServer, room_id: str, redact: Redact) -> None:
    target = ok(server.bob.send(room_id, "t1"))["event_id"]
    first = ok(redact(server.bob, room_id, target, "r1"))
    assert ok(redact(server.bob, room_id, target, "r1")) == first
    assert server.types(room_id).count("m.room.redaction") == 1
    assert ok(redact(server.bob, room_id, target, "r2")) != first


@both_ways
def test_suspended_users_redact_their_own_events_only(server: RoomServer, redact: Redact) -> None:
    room_id = server.alice.create_room(preset="trusted_private_chat", invite=[server.sam.id])
    ok(server.sam_before.membership("join", room_id))
    own = ok(server.sam_before.send(room_id, "t1"))["event_id"]
    others = ok(server.alice.send(room_id, "t1"))["event_id"]
    assert refused(redact(server.sam, room_id, others, "r1")) == (403, "M_USER_SUSPENDED")
    ok(redact(server.sam, room_id, own, "r2"))
    ok(redact(server.sam_before, room_id, others, "r3"))


def test_a_redaction_names_its_target(server: RoomServer, room_id: str) -> None:
    path = f"/rooms/{quote(room_id)}/send/m.room.redaction/r1"
    for content in ({}, {"redacts": 5}, {"reason": "none"}):
        assert refused(server.alice.put(path, content)) == (400, "M_INVALID_PARAM")
    assert refused(server.alice.redact(room_id, UNKNOWN_EVENT, "r1", reason=5)) == (400, "M_BAD_JSON")
