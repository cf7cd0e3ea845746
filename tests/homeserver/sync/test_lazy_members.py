# SPDX-License-Identifier: Apache-2.0
"""Lazily loaded members. spec: client-server-api, "Lazy-loading room members"."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.sync.lazy_members import SentMembers
from tests.support.databases import one_set
from tests.support.http import ALICE, BOB
from tests.support.sync_server import Client, SyncServer


def lazily(limit: int = 10, **more: Any) -> dict[str, Any]:
    return {"room": {"timeline": {"limit": limit}, "state": {"lazy_load_members": True, **more}}}


def members(room: Any) -> set[str]:
    return {event["state_key"] for event in room["state"]["events"] if event["type"] == "m.room.member"}


@pytest.fixture
def room_id(server: SyncServer) -> str:
    """A named room of Alice's with everybody in it."""
    room_id = server.alice.create_room(preset="public_chat", name="Named")
    for user in (server.bob, server.carol, server.dan):
        user.join(room_id)
    return room_id


def first(user: Client, room_id: str, limit: int = 1) -> tuple[Any, str]:
    answer = user.sync(filter=lazily(limit))
    return answer["rooms"]["join"][room_id], answer["next_batch"]


def test_only_who_speaks_and_oneself(server: SyncServer, room_id: str) -> None:
    server.carol.say(room_id, "hello")
    room, _ = first(server.bob, room_id)
    assert members(room) == {server.carol.id, server.bob.id}
    assert len(room["state"]["events"]) == 2 + 6


@one_set  # each process knows what it has sent itself; that another sends it once more, the client can bear
def test_the_same_member_is_not_sent_again(server: SyncServer, room_id: str) -> None:
    server.carol.say(room_id, "hello")
    _, since = first(server.bob, room_id)
    server.carol.say(room_id, "again")
    server.dan.say(room_id, "and me")
    room = server.bob.sync(since, filter=lazily())["rooms"]["join"][room_id]
    assert members(room) == {server.dan.id}
    room = server.bob.sync(since, filter=lazily())["rooms"]["join"][room_id]
    assert members(room) == set()
    redundant = lazily(include_redundant_members=True)
    room = server.bob.sync(since, filter=redundant)["rooms"]["join"][room_id]
    assert members(room) == {server.carol.id, server.dan.id}
    # Another device knows nothing of it.
    room = server.bob2.sync(since, filter=lazily())["rooms"]["join"][room_id]
    assert members(room) == {server.carol.id, server.dan.id}


def test_members_who_changed_in_a_gap(server: SyncServer, room_id: str) -> None:
    _, since = first(server.bob, room_id)
    server.dan.leave(room_id)
    server.carol.say(room_id, "1")
    server.carol.say(room_id, "2")
    room = server.bob.sync(since, filter=lazily(1))["rooms"]["join"][room_id]
    assert members(room) == {server.dan.id, server.carol.id}


def test_a_member_is_sent_as_they_were_at_the_start_of_the_timeline(server: SyncServer, room_id: str) -> None:
    _, since = first(server.bob, room_id)
    server.carol.say(room_id, "old name")
    content = {"membership": "join", "displayname": "C"}
    server.carol.state(room_id, "m.room.member", content, server.carol.id)
    room = server.bob.sync(since, filter=lazily())["rooms"]["join"][room_id]
    [member] = [event for event in room["state"]["events"] if event["type"] == "m.room.member"]
    assert member["content"] == {"membership": "join"}
    assert room["timeline"]["events"][-1]["content"] == content


def test_heroes_come_with_their_members(server: SyncServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    server.bob.join(room_id)
    server.carol.join(room_id)
    server.alice.say(room_id, "x")
    room, _ = first(server.alice, room_id)
    assert set(room["summary"]["m.heroes"]) == {server.bob.id, server.carol.id}
    assert members(room) == {server.alice.id, server.bob.id, server.carol.id}


def test_what_a_device_has_been_sent() -> None:
    sent = SentMembers(cache_bytes=1_000)
    sent.whole(ALICE, 1, {5, 6})
    sent.more(ALICE, 1, {7})
    assert sent.known(ALICE, 1) == {5, 6, 7}
    assert sent.known(BOB, 1) == set()
    assert sent.known(ALICE, 2) == set()
    sent.whole(ALICE, 1, {8})
    assert sent.known(ALICE, 1) == {8}
    # What does not fit is forgotten, never half remembered.
    sent.more(ALICE, 1, set(range(100)))
    assert sent.known(ALICE, 1) == set()
