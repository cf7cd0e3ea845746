# SPDX-License-Identifier: Apache-2.0
"""What users see of a room's history, against the rules of the specification applied one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest

from homeserver.rooms.history import RoomView
from storage.engine.database import Database
from storage.event import StoredEvent
from storage.events import BEGINNING, END
from tests.support.app_server import AppServer, app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import ok

BOB, CAROL = "@bob:a.example", "@carol:a.example"
VISIBILITIES = ("world_readable", "shared", "invited", "joined")


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


@attrs.frozen
class Moment:
    """What holds at one point of a room, for one user."""

    visibility: str = "shared"
    membership: str = "leave"

    def after(self, stored: StoredEvent, user_id: str) -> Moment:
        event = stored.event
        if (event.type, event.state_key) == ("m.room.history_visibility", ""):
            return attrs.evolve(self, visibility=event.content["history_visibility"])
        if (event.type, event.state_key) == ("m.room.member", user_id):
            return attrs.evolve(self, membership=event.content["membership"])
        return self

    def allows(self, joins_later: bool) -> bool:
        """The rules of "Room History Visibility" in their order."""
        if self.visibility == "world_readable":
            return True
        if self.membership == "join":
            return True
        if self.visibility == "shared" and joins_later:
            return True
        return self.visibility == "invited" and self.membership == "invite"


def expected(events: Sequence[StoredEvent], user_id: str) -> list[tuple[StoredEvent, bool, str]]:
    """Each event, whether the user sees it, and what they are in the room at it."""
    moments = [Moment()]
    for stored in events:
        moments.append(moments[-1].after(stored, user_id))
    found = []
    for i, stored in enumerate(events):
        joins_later = any(moment.membership == "join" for moment in moments[i + 1 :])
        both = stored.event.type == "m.room.history_visibility" or (
            stored.event.type == "m.room.member" and stored.event.state_key == user_id
        )
        looked_at = moments[i : i + 2] if both else moments[i : i + 1]
        sees = any(moment.allows(joins_later) for moment in looked_at)
        found.append((stored, sees, moments[i + 1].membership))
    return found


def events_of(server: AppServer, room_id: str) -> list[StoredEvent]:
    async def read() -> list[StoredEvent]:
        room = (await server.storage.strings.find([room_id]))[room_id]
        places = await server.storage.events.forwards(room, after=BEGINNING, before=END, limit=10_000)
        found = await server.storage.events.get(place.number for place in places)
        return [found[place.number] for place in places]

    return in_reactor(read())


def view(server: AppServer, room_id: str, name: str) -> RoomView:
    requester = server.tokens[name]

    async def read() -> RoomView:
        room = (await server.storage.strings.find([room_id]))[room_id]
        return await server.ground.history.view(room, requester.user, requester.user_id)

    return in_reactor(read())


def act_at_random(server: AppServer, room_id: str, rng: random.Random, i: int) -> Any:
    """One thing that may happen in a room; some of it is refused, which is fine."""
    user = rng.choice((server.bob, server.carol))
    choice = rng.randrange(9)
    if choice == 0:
        content = {"history_visibility": rng.choice(VISIBILITIES)}
        return server.alice.set_state(room_id, "m.room.history_visibility", content)
    if choice == 1:
        return server.alice.membership("invite", room_id, user_id=user.id)
    if choice in (2, 3):
        return user.membership("join", room_id)
    if choice == 4:
        return user.membership("leave", room_id)
    if choice == 5:
        return server.alice.membership(rng.choice(("kick", "ban", "unban")), room_id, user_id=user.id)
    return server.alice.say(room_id, str(i))


@pytest.mark.parametrize("seed", range(4))
def test_random_rooms(server: AppServer, seed: int) -> None:
    rng = random.Random(seed)
    room_id = server.alice.create_room(preset=rng.choice(("private_chat", "public_chat")))
    looked_at = 0
    for i in range(45):
        act_at_random(server, room_id, rng, i)
        if rng.random() < 0.1:
            # What is kept in memory from here on must follow the rest.
            view(server, room_id, "bob")
    events = events_of(server, room_id)
    for name, user_id in (("bob", BOB), ("carol", CAROL)):
        seen = view(server, room_id, name)
        wanted = expected(events, user_id)
        assert [(seen.sees(stored), seen.membership_at(stored)) for stored in events] == [
            (sees, membership) for _, sees, membership in wanted
        ]
        assert seen.membership == wanted[-1][2]
        assert seen.was_joined == any(membership == "join" for *_, membership in wanted)
        looked_at += len(wanted)
    assert looked_at > 40


@pytest.mark.parametrize("seed", range(5))
def test_pages_show_what_is_seen(server: AppServer, seed: int) -> None:
    rng = random.Random(seed)
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.bob.membership("join", room_id))
    ok(server.bob.membership("leave", room_id))
    for i in range(40):
        act_at_random(server, room_id, rng, i)
    wanted = [s.event.event_id for s, sees, _ in expected(events_of(server, room_id), BOB) if sees]
    for direction, order in (("f", wanted), ("b", wanted[::-1])):
        limit = rng.randrange(1, 9)
        found, token = [], ""
        while True:
            page = server.bob.page(room_id, f"dir={direction}&limit={limit}{token}")
            assert len(page["chunk"]) <= limit
            found += [event["event_id"] for event in page["chunk"]]
            if "end" not in page:
                break
            token = f"&from={page['end']}"
        assert found == order


def test_when_the_last_stay_in_the_room_ended(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    assert view(server, room_id, "bob").left_at is None
    ok(server.bob.membership("join", room_id))
    ok(server.bob.membership("leave", room_id))
    left = events_of(server, room_id)[-1]
    assert left.after is not None
    assert view(server, room_id, "bob").left_at == left.after.revision
    ok(server.alice.membership("invite", room_id, user_id=BOB))
    assert view(server, room_id, "bob").left_at == left.after.revision


def test_states_are_seen_like_the_events_sent_in_them(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"}))
    server.alice.say(room_id, "hidden")
    ok(server.bob.membership("join", room_id))
    server.alice.say(room_id, "seen")
    *_, hidden, _, shown = events_of(server, room_id)
    seen = view(server, room_id, "bob")
    assert hidden.before is not None
    assert shown.before is not None
    assert not seen.sees_state(hidden.before)
    assert seen.sees_state(shown.before)


def test_what_is_not_known_is_not_seen(server: AppServer) -> None:
    room_id = server.shared_room()
    server.alice.say(room_id, "hello")
    stored = events_of(server, room_id)[-1]
    seen = view(server, room_id, "bob")
    assert seen.sees(stored)
    assert not seen.sees(attrs.evolve(stored, before=None))
    assert not seen.sees(attrs.evolve(stored, soft_failed=True))
    assert not seen.sees(attrs.evolve(stored, rejected=True))


def test_what_was_committed_after_the_view_was_made_is_hidden(server: AppServer) -> None:
    room_id = server.shared_room()
    room = in_reactor(server.storage.strings.find([room_id]))[room_id]
    bob = server.tokens["bob"]
    view = in_reactor(server.ground.history.view(room, bob.user, bob.user_id))
    [event_id] = server.alice.say(room_id, "hello")
    stored = in_reactor(server.storage.events.by_id([event_id]))[event_id]
    assert not view.sees(stored), "Bob may have been banned in between, for all that the view knows"
    assert in_reactor(server.ground.history.view(room, bob.user, bob.user_id)).sees(stored)
