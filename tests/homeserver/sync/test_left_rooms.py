# SPDX-License-Identifier: Apache-2.0
"""`rooms.leave`, `rooms.invite` and `rooms.knock` of a sync. spec: client-server-api, "Syncing"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.room_server import ok
from tests.support.sync_server import Client, SyncServer

_LEFT_TOO = {"room": {"include_leave": True, "timeline": {"limit": 100}}}


def bodies(room: Any) -> list[str]:
    return [event["content"].get("body", event["type"]) for event in room["timeline"]["events"]]


def token(user: Client) -> str:
    return str(user.sync()["next_batch"])


def sections(answer: Any, room_id: str) -> list[str]:
    return [name for name, rooms in answer["rooms"].items() if room_id in rooms]


def _leave(server: SyncServer, room_id: str) -> None:
    server.bob.leave(room_id)


def _kick(server: SyncServer, room_id: str) -> None:
    ok(server.alice.membership("kick", room_id, user_id=server.bob.id, reason="rude"))


def _ban(server: SyncServer, room_id: str) -> None:
    ok(server.alice.membership("ban", room_id, user_id=server.bob.id))


@pytest.fixture
def room_id(server: SyncServer) -> str:
    """A public room that Bob is in."""
    room_id = server.alice.create_room(preset="public_chat")
    server.bob.join(room_id)
    return room_id


@pytest.mark.parametrize(("go", "membership"), [(_leave, "leave"), (_kick, "leave"), (_ban, "ban")])
def test_a_room_ends_with_the_leave(
    server: SyncServer, room_id: str, go: Callable[[SyncServer, str], None], membership: str
) -> None:
    server.bob.account_data("org.example", {"a": 1}, room_id)
    since = token(server.bob)
    server.alice.say(room_id, "before")
    go(server, room_id)
    server.alice.say(room_id, "after")
    server.alice.state(room_id, "m.room.topic", {"topic": "after"})
    answer = server.bob.sync(since)
    assert sections(answer, room_id) == ["leave"]
    room = answer["rooms"]["leave"][room_id]
    assert bodies(room) == ["before", "m.room.member"]
    assert room["timeline"]["events"][-1]["content"]["membership"] == membership
    assert room["timeline"]["limited"] is False
    assert room["state"] == {"events": []}
    assert room["account_data"]["events"] == [{"type": "org.example", "content": {"a": 1}}]
    assert sections(server.bob.sync(answer["next_batch"]), room_id) == []
    assert sections(server.bob.sync(), room_id) == []


def test_a_gap_before_the_leave(server: SyncServer, room_id: str) -> None:
    since = token(server.bob)
    server.alice.state(room_id, "m.room.topic", {"topic": "gap"})
    server.alice.say(room_id, "shown")
    server.bob.leave(room_id)
    server.alice.state(room_id, "m.room.topic", {"topic": "too late"})
    room = server.bob.sync(since, filter={"room": {"timeline": {"limit": 2}}})["rooms"]["leave"][room_id]
    assert bodies(room) == ["shown", "m.room.member"]
    assert room["timeline"]["limited"] is True
    assert [event["content"] for event in room["state"]["events"]] == [{"topic": "gap"}]


def test_joined_and_left_between_two_syncs(server: SyncServer) -> None:
    room_id = server.alice.create_room(preset="public_chat", name="Short visit")
    since = token(server.bob)
    server.bob.join(room_id)
    server.bob.leave(room_id)
    server.alice.state(room_id, "m.room.name", {"name": "Later"})
    answer = server.bob.sync(since, filter={"room": {"timeline": {"limit": 1}}})
    assert sections(answer, room_id) == ["leave"]
    room = answer["rooms"]["leave"][room_id]
    assert bodies(room) == ["m.room.member"]
    assert room["timeline"]["limited"] is True
    names = [event["content"] for event in room["state"]["events"] if event["type"] == "m.room.name"]
    assert names == [{"name": "Short visit"}]


def test_archived_rooms(server: SyncServer, room_id: str) -> None:
    server.alice.say(room_id, "before")
    server.bob.leave(room_id)
    server.alice.say(room_id, "after")
    server.alice.state(room_id, "m.room.topic", {"topic": "after"})
    # A refused invite is no time in the room.
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    server.bob.leave(room_id)
    answer = server.bob.sync(filter=_LEFT_TOO)
    room = answer["rooms"]["leave"][room_id]
    assert bodies(room)[-2:] == ["before", "m.room.member"]
    assert "after" not in bodies(room)
    short = server.bob.sync(filter={"room": {"include_leave": True, "timeline": {"limit": 1}}})
    state = short["rooms"]["leave"][room_id]["state"]["events"]
    assert "m.room.topic" not in [event["type"] for event in state]
    assert len(state) == 7
    ok(server.bob.post(f"/rooms/{quote(room_id)}/forget"))
    assert sections(server.bob.sync(filter=_LEFT_TOO), room_id) == []


def test_left_and_forgotten_between_two_syncs(server: SyncServer, room_id: str) -> None:
    since = token(server.bob2)
    server.bob.leave(room_id)
    ok(server.bob.post(f"/rooms/{quote(room_id)}/forget"))
    answer = server.bob2.sync(since)
    assert sections(answer, room_id) == ["leave"]
    assert bodies(answer["rooms"]["leave"][room_id]) == ["m.room.member"]
    assert sections(server.bob2.sync(answer["next_batch"]), room_id) == []


def test_an_invite_refused_and_forgotten_between_two_syncs(server: SyncServer) -> None:
    room_id = server.alice.create_room(invite=[server.bob.id])
    since = token(server.bob2)
    server.bob.leave(room_id)
    ok(server.bob.post(f"/rooms/{quote(room_id)}/forget"))
    assert sections(server.bob2.sync(since), room_id) == ["leave"]


def test_forgetting_is_no_news(server: SyncServer, room_id: str) -> None:
    server.bob.leave(room_id)
    since = token(server.bob)
    ok(server.bob.post(f"/rooms/{quote(room_id)}/forget"))
    assert sections(server.bob.sync(since), room_id) == []


def test_banned_after_leaving(server: SyncServer, room_id: str) -> None:
    server.bob.leave(room_id)
    since = token(server.bob)
    server.alice.say(room_id, "private talk")
    _ban(server, room_id)
    room = server.bob.sync(since)["rooms"]["leave"][room_id]
    [event] = room["timeline"]["events"]
    assert event["content"] == {"membership": "ban"}
    assert room["state"] == {"events": []}


def test_an_invite(server: SyncServer) -> None:
    room_id = server.alice.create_room(preset="private_chat", name="Secret", topic="Plans")
    server.alice.say(room_id, "hidden")
    since = token(server.bob)
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    for from_ in (since, None):
        answer = server.bob.sync(from_)
        assert sections(answer, room_id) == ["invite"]
        state = answer["rooms"]["invite"][room_id]["invite_state"]["events"]
        assert all(event.keys() == {"type", "state_key", "sender", "content"} for event in state)
        by_key = {(event["type"], event["state_key"]): event["content"] for event in state}
        assert by_key["m.room.create", ""]["room_version"] == "12"
        assert by_key["m.room.name", ""] == {"name": "Secret"}
        assert by_key["m.room.topic", ""]["topic"] == "Plans"
        assert by_key["m.room.join_rules", ""] == {"join_rule": "invite"}
        assert by_key["m.room.member", server.bob.id]["membership"] == "invite"
        assert by_key["m.room.member", server.alice.id]["membership"] == "join"
        assert "m.room.power_levels" not in [event["type"] for event in state]
    assert sections(server.bob.sync(answer["next_batch"]), room_id) == []


def test_invited_and_joined_between_two_syncs(server: SyncServer) -> None:
    room_id = server.alice.create_room(preset="private_chat")
    since = token(server.bob)
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    invited = server.bob.sync(since)
    server.bob.join(room_id)
    for from_ in (since, invited["next_batch"]):
        answer = server.bob.sync(from_)
        assert sections(answer, room_id) == ["join"]
        assert answer["rooms"]["join"][room_id]["timeline"]["limited"] is True


@pytest.mark.parametrize("by", ["bob", "alice"])
def test_an_invite_that_comes_to_nothing(server: SyncServer, by: str) -> None:
    room_id = server.alice.create_room(preset="private_chat")
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    since = token(server.bob)
    server.alice.say(room_id, "not for Bob")
    if by == "bob":
        server.bob.leave(room_id)
    else:
        _kick(server, room_id)
    answer = server.bob.sync(since)
    assert sections(answer, room_id) == ["leave"]
    room = answer["rooms"]["leave"][room_id]
    [event] = room["timeline"]["events"]
    assert event["content"]["membership"] == "leave"
    assert event["state_key"] == server.bob.id
    assert room["state"] == {"events": []}


def test_invites_of_ignored_users(server: SyncServer) -> None:
    room_id = server.alice.create_room(preset="private_chat")
    since = token(server.bob)
    server.bob.account_data("m.ignored_user_list", {"ignored_users": {server.alice.id: {}}})
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    for from_ in (since, None):
        assert sections(server.bob.sync(from_), room_id) == []


def test_a_knock(server: SyncServer) -> None:
    knock = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = server.alice.create_room(name="Door", initial_state=[knock])
    since = token(server.bob)
    content = {"membership": "knock", "reason": "please"}
    server.bob.state(room_id, "m.room.member", content, server.bob.id)
    for from_ in (since, None):
        answer = server.bob.sync(from_)
        assert sections(answer, room_id) == ["knock"]
        state = answer["rooms"]["knock"][room_id]["knock_state"]["events"]
        by_key = {(event["type"], event["state_key"]): event["content"] for event in state}
        assert by_key["m.room.name", ""] == {"name": "Door"}
        assert by_key["m.room.member", server.bob.id] == content
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    assert sections(server.bob.sync(answer["next_batch"]), room_id) == ["invite"]
