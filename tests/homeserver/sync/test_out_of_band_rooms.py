# SPDX-License-Identifier: Apache-2.0
"""Invites and knocks of rooms that the server is not in. spec: client-server-api, "Stripped state"."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from twisted.internet.defer import Deferred

from storage.engine.database import Database
from storage.event import Event, StoredEvent
from storage.memberships import Membership
from storage.persist import Unit
from tests.support.reactor import in_reactor
from tests.support.room_server import ok, refused
from tests.support.rooms import Room, make_room
from tests.support.sync_server import Client, SyncServer, sync_server

CAROL = "@carol:b.example"
_LEFT_TOO = {"room": {"include_leave": True}}
NAME = {"type": "m.room.name", "state_key": "", "sender": CAROL, "content": {"name": "There\0"}}
CREATE = {"type": "m.room.create", "state_key": "", "sender": CAROL, "content": {"room_version": "12"}}


async def anything(_event: Event) -> None:
    """Refuses nothing."""


@pytest.fixture
def room() -> Room:
    """A room of another server."""
    return make_room(creator=CAROL, join_rule="knock")


def remember(server: SyncServer, event: Event, room: Room, *state: Any) -> StoredEvent:
    """The event comes from the other server."""
    remembering = server.ground.out_of_band.remember(event, room.version, state, anything)
    return in_reactor(remembering)


def invite(server: SyncServer, room: Room, user: Client, reason: str = "") -> Event:
    """The user is invited."""
    event = room.member(CAROL, user.id, "invite", {"reason": reason})
    remember(server, event, room, {**NAME, "origin_server_ts": 1}, CREATE, "malformed")
    return event


def stripped(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "content": event.content,
    }


def token(user: Client) -> str:
    return str(user.sync()["next_batch"])


def sections(answer: Any, room: Room) -> list[str]:
    return [name for name, rooms in answer["rooms"].items() if room.room_id in rooms]


def test_an_invite_shows_what_came_with_it(server: SyncServer, room: Room) -> None:
    since = token(server.alice)
    assert ":" not in room.room_id
    event = invite(server, room, server.alice)
    shown = {"invite_state": {"events": [CREATE, NAME, stripped(event)]}}
    for answer in (server.alice.sync(since), server.alice2.sync()):
        assert sections(answer, room) == ["invite"]
        assert answer["rooms"]["invite"][room.room_id] == shown
    later = server.alice.sync(since)["next_batch"]
    assert sections(server.alice.sync(later), room) == []
    assert ok(server.alice.get("/joined_rooms")) == {"joined_rooms": []}
    assert sections(server.bob.sync(), room) == []


def test_a_knock_shows_what_came_with_it(server: SyncServer, room: Room) -> None:
    since = token(server.alice)
    event = room.member(server.alice.id, server.alice.id, "knock")
    remember(server, event, room, CREATE)
    answer = server.alice.sync(since)
    assert sections(answer, room) == ["knock"]
    assert answer["rooms"]["knock"][room.room_id] == {"knock_state": {"events": [CREATE, stripped(event)]}}
    accepted = invite(server, room, server.alice)
    answer = server.alice.sync(answer["next_batch"])
    assert sections(answer, room) == ["invite"]
    assert answer["rooms"]["invite"][room.room_id]["invite_state"]["events"][-1] == stripped(accepted)


async def test_an_invite_ends_a_long_poll(server: SyncServer, room: Room) -> None:
    requester = server.tokens["alice"]
    await server.ground.feed.user_rooms.of_account(requester.user)
    waiting = Deferred.fromCoroutine(server.ground.feed.waiting.wait(requester.user, 30.0))
    event = room.invite(CAROL, requester.user_id)
    await server.ground.out_of_band.remember(event, room.version, [], anything)
    assert await waiting


def test_rejecting_reaches_every_device(server: SyncServer, room: Room) -> None:
    invite(server, room, server.alice)
    devices = (server.alice, server.alice2)
    tokens = [token(device) for device in devices]
    ok(server.alice.membership("leave", room.room_id, reason="no"))
    for device, since in zip(devices, tokens, strict=True):
        answer = device.sync(since)
        assert sections(answer, room) == ["leave"]
        left = answer["rooms"]["leave"][room.room_id]
        [event] = left["timeline"]["events"]
        assert event["content"] == {"membership": "leave", "reason": "no"}
        assert (event["sender"], event["state_key"]) == (server.alice.id, server.alice.id)
        assert (left["state"], left["timeline"]["limited"]) == ({"events": []}, False)
        assert sections(device.sync(answer["next_batch"]), room) == []
    assert sections(server.alice.sync(), room) == []
    assert sections(server.alice.sync(filter=_LEFT_TOO), room) == ["leave"]
    ok(server.alice.membership("leave", room.room_id))
    assert sections(server.alice2.sync(answer["next_batch"]), room) == []


@pytest.mark.parametrize(
    ("timeline", "shown"),
    [
        ({"types": ["m.room.message"]}, 0),
        ({"limit": 0}, 0),
        ({"not_senders": ["@x:y"]}, 1),
        ({"limit": 1}, 1),
    ],
)
def test_filters_apply_to_the_leave(
    server: SyncServer, room: Room, timeline: dict[str, Any], shown: int
) -> None:
    invite(server, room, server.alice)
    since = token(server.alice)
    ok(server.alice.membership("leave", room.room_id))
    answer = server.alice.sync(since, filter={"room": {"timeline": timeline}})
    assert len(answer["rooms"]["leave"][room.room_id]["timeline"]["events"]) == shown


@pytest.mark.parametrize("event_format", ["client", "federation"])
def test_the_leave_in_either_format(server: SyncServer, event_format: str) -> None:
    for version in ("1", "6", "11"):
        room = make_room(version, creator=CAROL, join_rule="knock", localpart=f"room{version}")
        invite(server, room, server.alice)
        since = token(server.alice)
        ok(server.alice.membership("leave", room.room_id))
        answer = server.alice.sync(since, filter={"event_format": event_format})
        [event] = answer["rooms"]["leave"][room.room_id]["timeline"]["events"]
        assert event["content"]["membership"] == "leave"
        assert ("signatures" in event) == (event_format == "federation")


def test_leaving_by_the_state_of_the_room(server: SyncServer, room: Room) -> None:
    invite(server, room, server.alice)
    since = token(server.alice)
    answer = ok(
        server.alice.set_state(room.room_id, "m.room.member", {"membership": "leave"}, server.alice.id)
    )
    left = server.alice.sync(since)["rooms"]["leave"][room.room_id]
    assert [event["event_id"] for event in left["timeline"]["events"]] == [answer["event_id"]]


def test_the_inviter_takes_it_back(server: SyncServer, room: Room) -> None:
    invite(server, room, server.alice)
    since = token(server.alice)
    kick = room.member(CAROL, server.alice.id, "leave")
    in_reactor(server.ground.out_of_band.rescind(kick))
    answer = server.alice.sync(since)
    [event] = answer["rooms"]["leave"][room.room_id]["timeline"]["events"]
    assert (event["sender"], event["event_id"]) == (CAROL, kick.event_id)


def test_invite_leave_invite(server: SyncServer, room: Room) -> None:
    since = token(server.alice)
    for reason in ("first", "second"):
        event = invite(server, room, server.alice, reason)
        answer = server.alice.sync(since)
        assert sections(answer, room) == ["invite"]
        assert answer["rooms"]["invite"][room.room_id]["invite_state"]["events"][-1] == stripped(event)
        ok(server.alice.membership("leave", room.room_id))
        answer = server.alice.sync(answer["next_batch"])
        assert sections(answer, room) == ["leave"]
        since = answer["next_batch"]
    invite(server, room, server.alice, "third")
    ok(server.alice.membership("leave", room.room_id))
    invite(server, room, server.alice, "fourth")
    assert sections(server.alice.sync(since), room) == ["invite"]


def test_forgetting(server: SyncServer, room: Room) -> None:
    invite(server, room, server.alice)
    assert refused(server.alice.membership("forget", room.room_id)) == (400, "M_UNKNOWN")
    since = token(server.alice)
    ok(server.alice.membership("leave", room.room_id))
    told = server.alice2.sync(since)["next_batch"]
    ok(server.alice.membership("forget", room.room_id))
    ok(server.alice.membership("forget", room.room_id))
    # Left and forgotten in one gap: it is still to be taken off the list, and only once.
    answer = server.alice.sync(since)
    assert sections(answer, room) == ["leave"]
    assert sections(server.alice2.sync(told), room) == []
    assert sections(server.alice.sync(answer["next_batch"]), room) == []
    assert sections(server.alice.sync(filter=_LEFT_TOO), room) == []
    invite(server, room, server.alice, "again")
    assert sections(server.alice.sync(answer["next_batch"]), room) == ["invite"]


def test_ignored_users_and_blocked_invites_are_hidden(server: SyncServer, room: Room) -> None:
    server.alice.account_data("m.ignored_user_list", {"ignored_users": {CAROL: {}}})
    invite(server, room, server.alice)
    assert sections(server.alice.sync(), room) == []
    server.alice.account_data("m.ignored_user_list", {"ignored_users": {}})
    assert sections(server.alice.sync(), room) == ["invite"]
    server.alice.account_data("m.invite_permission_config", {"default_action": "block"})
    assert sections(server.alice.sync(), room) == []
    server.alice.account_data("m.invite_permission_config", {})
    assert sections(server.alice.sync(), room) == ["invite"]


def test_blocked_invites_of_local_rooms_are_hidden_too(server: SyncServer) -> None:
    room_id = server.alice.create_room(invite=[server.bob.id])
    server.bob.account_data("m.invite_permission_config", {"default_action": "block"})
    assert room_id not in server.bob.sync()["rooms"]["invite"]


def test_the_room_itself_stays_closed(server: SyncServer, room: Room) -> None:
    invite(server, room, server.alice)
    path = f"/rooms/{quote(room.room_id)}"
    for what in ("/messages?dir=b", "/state", "/members", "/joined_members"):
        assert refused(server.alice.get(path + what)) == (403, "M_FORBIDDEN"), what
    assert refused(server.alice.send(room.room_id, "1")) == (403, "M_FORBIDDEN")
    assert refused(server.bob.membership("leave", room.room_id)) == (403, "M_FORBIDDEN")
    assert refused(server.bob.membership("forget", room.room_id)) == (403, "M_FORBIDDEN")


def test_it_is_there_after_a_restart(database: Database, tmp_path: Path, room: Room) -> None:
    with sync_server(database, tmp_path) as server:
        event = invite(server, room, server.alice)
        since = token(server.alice)
    with sync_server(database, tmp_path) as server:
        events = server.alice.sync()["rooms"]["invite"][room.room_id]["invite_state"]["events"]
        assert events == [CREATE, NAME, stripped(event)]
        ok(server.alice.membership("leave", room.room_id))
        assert sections(server.alice.sync(since), room) == ["leave"]
    with sync_server(database, tmp_path) as server:
        assert sections(server.alice.sync(since), room) == ["leave"]
        assert sections(server.alice.sync(), room) == []


def test_a_join_takes_it_up(server: SyncServer, room: Room) -> None:
    """What a join writes beside the room's own rows is the membership."""
    invite(server, room, server.alice)
    requester = server.tokens["alice"]

    async def join() -> None:
        numbers = await server.ground.storage.strings.intern([room.room_id])
        joined = Membership(requester.user, numbers[room.room_id], "join", 2**40, index=1)
        async with server.ground.out_of_band.turn(room.room_id):
            await server.ground.write_queue.submit(Unit([joined], positions=1))

    in_reactor(join())
    assert ok(server.alice.get("/joined_rooms")) == {"joined_rooms": [room.room_id]}
    assert in_reactor(server.ground.out_of_band.current(server.alice.id, room.room_id)) is None


def left_room(server: SyncServer) -> Room:
    """A room of this server that nobody of it is in any longer, as another server goes on with it."""
    room_id = server.alice.create_room(preset="public_chat", room_version="11", name="Here")
    server.alice.say(room_id, "before")
    ok(server.alice.membership("leave", room_id))
    room = Room("11", server.alice.id, localpart=room_id[1:].partition(":")[0])
    assert room.room_id == room_id
    room.join(server.alice.id)
    room.join_rules(server.alice.id, "public")
    room.join(CAROL)
    room.power_levels(server.alice.id, {"users": {CAROL: 100}, "invite": 0})
    room.leave(server.alice.id)
    return room


def test_a_room_that_was_left(server: SyncServer) -> None:
    start = token(server.alice2)
    room = left_room(server)
    since = token(server.alice)
    event = invite(server, room, server.alice)
    answer = server.alice.sync(since)
    assert sections(answer, room) == ["invite"]
    assert answer["rooms"]["invite"][room.room_id]["invite_state"]["events"] == [
        CREATE,
        NAME,
        stripped(event),
    ]
    ok(server.alice.membership("leave", room.room_id))
    answer = server.alice.sync(answer["next_batch"])
    [left] = answer["rooms"]["leave"][room.room_id]["timeline"]["events"]
    assert left["content"]["membership"] == "leave"
    # What was said while the user was in it is still theirs to read, and to sync.
    page = ok(server.alice.get(f"/rooms/{quote(room.room_id)}/messages?dir=b&limit=2"))
    assert [e["content"].get("body") for e in page["chunk"]] == [None, "before"]
    gap = server.alice2.sync(start)["rooms"]["leave"][room.room_id]
    assert [e["content"].get("body") for e in gap["timeline"]["events"][-2:]] == ["before", None]
    ok(server.alice.membership("forget", room.room_id))
    assert sections(server.alice.sync(answer["next_batch"]), room) == []


def test_an_invite_that_came_to_nothing_between_two_syncs(server: SyncServer, room: Room) -> None:
    since = token(server.alice)
    invite(server, room, server.alice)
    ok(server.alice.membership("leave", room.room_id))
    answer = server.alice.sync(since)
    assert sections(answer, room) == ["leave"]
