# SPDX-License-Identifier: Apache-2.0
"""Current and earlier states as readers get them, against a replay of the room's events."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import pytest
from twisted.internet.defer import Deferred, DeferredList

from federation.graph.drafts import Draft
from homeserver.rooms.states import RoomStates, StateMap
from storage.engine.database import Database
from storage.event import StateAt
from storage.events import BEGINNING, END
from tests.support.app_server import AppServer, app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import ok

Keys = Mapping[tuple[str, str], str]
"""Event ids by type and state key."""


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


async def number_of(server: AppServer, room_id: str) -> int:
    return (await server.storage.strings.find([room_id]))[room_id]


async def by_name(server: AppServer, state: StateMap) -> Keys:
    names = await server.storage.strings.values({number for key in state for number in key})
    events = await server.storage.events.get(row.event for row in state.values() if row.event is not None)
    return {
        (names[row.type], names[row.state_key]): events[row.event].event.event_id
        for row in state.values()
        if row.event is not None
    }


async def replayed(server: AppServer, room_id: str) -> list[tuple[int, StateAt, Keys]]:
    """After each event: its position, the state's name, and the state."""
    room = await number_of(server, room_id)
    places = await server.storage.events.forwards(room, after=BEGINNING, before=END, limit=10_000)
    events = await server.storage.events.get(place.number for place in places)
    state: dict[tuple[str, str], str] = {}
    found = []
    for place in places:
        stored = events[place.number]
        event = stored.event
        if event.state_key is not None:
            state[event.type, event.state_key] = event.event_id
        named = stored.after or stored.before
        assert named is not None
        assert stored.position is not None
        found.append((stored.position, named, dict(state)))
    return found


def change_at_random(server: AppServer, room_id: str, rng: random.Random) -> None:
    if rng.random() < 0.3:
        server.alice.say(room_id, str(rng.random()))
    elif rng.random() < 0.3:
        rng.choice((server.bob, server.carol)).membership(rng.choice(("join", "leave")), room_id)
    else:
        ok(server.alice.set_state(room_id, f"org.{rng.randrange(3)}", {"n": rng.randrange(1000)}))


@pytest.mark.parametrize("seed", range(2))
def test_states_at_every_point(server: AppServer, seed: int) -> None:
    rng = random.Random(seed)
    room_id = server.alice.create_room(preset="public_chat")
    states = server.ground.states

    async def check_current() -> None:
        room = await number_of(server, room_id)
        *_, (_, _, wanted) = await replayed(server, room_id)
        assert await by_name(server, (await states.currents([room]))[room]) == wanted
        fresh = RoomStates(storage=server.storage)
        assert await by_name(server, (await fresh.currents([room]))[room]) == wanted

    async def check_all() -> None:
        room = await number_of(server, room_id)
        for position, named, wanted in await replayed(server, room_id):
            assert await by_name(server, (await states.at_positions([(room, position)]))[room]) == wanted
            assert await by_name(server, (await states.at_each([(room, named)]))[room]) == wanted

    for _ in range(30):
        change_at_random(server, room_id, rng)
        if rng.random() < 0.4:
            in_reactor(check_current())
    in_reactor(check_all())


def test_states_before_the_room_and_of_no_room(server: AppServer) -> None:
    room_id = server.alice.create_room()

    async def read() -> tuple[StateMap, StateMap]:
        room = await number_of(server, room_id)
        states = server.ground.states
        beyond = room + 1_000_000
        before = (await states.at_positions([(room, 0)]))[room]
        return before, (await states.currents([beyond]))[beyond]

    assert in_reactor(read()) == ({}, {})


def test_a_state_that_is_read_while_it_changes(server: AppServer) -> None:
    room_id = server.alice.create_room()

    async def read() -> None:
        room = await number_of(server, room_id)
        graph = await server.ground.graphs.get(room_id)
        for i in range(20):
            # What is not in memory is read while the commit is under way.
            server.ground.states._current.clear()
            draft = Draft(server.alice.id, "org.example", {"i": i}, state_key="")
            both = DeferredList(
                [
                    Deferred.fromCoroutine(graph.append(lambda _state, draft=draft: (draft,))),
                    Deferred.fromCoroutine(server.ground.states.currents([room])),
                ],
                fireOnOneErrback=True,
            )
            await both
            *_, (_, _, wanted) = await replayed(server, room_id)
            assert await by_name(server, (await server.ground.states.currents([room]))[room]) == wanted

    in_reactor(read())
