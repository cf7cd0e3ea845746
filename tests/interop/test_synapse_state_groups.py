# SPDX-License-Identifier: Apache-2.0
"""The states in the database of a real Synapse, moved into ours: at every event they are what they were."""

from __future__ import annotations

import pytest

from homeserver.importing.state_groups import RoomStates
from storage.engine.database import Database, Transaction
from storage.event import StateAt
from storage.state_records import NewBranch, StateChange
from tests.interop.environments import environment_with
from tests.interop.moving_in import Numbers, mapped, numbers_for, write
from tests.interop.synapse import SYNAPSE_NAME, SynapseProcess
from tests.interop.synapse_rooms import CHAIN, People, all_rooms
from tests.interop.synapse_tables import SynapseRoom
from tests.support.fake_peer import FakePeer
from tests.support.naive_states import NaiveStates
from tests.support.reactor import in_reactor
from tests.support.storing import Storing, storing_over

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

State = dict[tuple[int, int], int]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SynapseRoom]:
    """Rooms of a Synapse that has stopped, by what is in them."""
    directory = tmp_path_factory.mktemp("synapse")
    synapse = SynapseProcess(environment_with("matrix-synapse"), directory / "synapse")
    peer = in_reactor(FakePeer.start(directory))
    try:
        synapse.start()
        in_reactor(peer.meet(synapse.url, SYNAPSE_NAME))
        found = all_rooms(People(synapse, peer, synapse.register("alice")))
    finally:
        synapse.stop()
        in_reactor(peer.stop())
    return {name: SynapseRoom(synapse.database, room_id) for name, room_id in found.items()}


@pytest.mark.parametrize("name", ["own", "joined", "long", "left", "purged"])
async def test_every_state_is_what_it_was(
    rooms: dict[str, SynapseRoom], name: str, database: Database
) -> None:
    """Before and after each event, and now; also those that were rejected, soft-failed or fetched later."""
    room, storing = rooms[name], storing_over(database)
    numbers = await numbers_for(room, storing)
    states = mapped(room, numbers)
    await write(room, numbers, states, storing)
    at = await states_at(numbers, states, storing)
    for event, placed in zip(room.events, states.events, strict=True):
        assert (placed.before is None) == (event.group is None)
        if placed.before is not None:
            assert at[placed.before] == numbers.state(room.before(event)), event
            assert at[placed.after or placed.before] == numbers.state(room.after(event)), event
        assert (placed.after is not None) == (event.key is not None and not event.rejected), event
    last = room.after(room.events[-1]) if room.current is None else room.current
    assert at[states.current] == numbers.state(last)
    await check_room(numbers, states, storing)


async def states_at(numbers: Numbers, states: RoomStates, storing: Storing) -> dict[StateAt, State]:
    """All states that events have, as our database has them."""
    wanted = {at for event in states.events for at in (event.before, event.after) if at is not None}
    wanted.add(states.current)

    def read(txn: Transaction) -> dict[StateAt, State]:
        found = storing.storage.states.at_each_txn(txn, [(numbers.room, at) for at in wanted])
        return {
            at: {(row.type, row.state_key): row.event for row in rows if row.event is not None}
            for (_, at), rows in found.items()
        }

    return await storing.storage.database.read("states", read)


async def check_room(numbers: Numbers, states: RoomStates, storing: Storing) -> None:
    """What else the database says: the events where they were put, and the current state at its end."""
    stored = await storing.storage.events.get([event.event for event in states.events])
    assert [(stored[e.event].before, stored[e.event].after) for e in states.events] == [
        (e.before, e.after) for e in states.events
    ]

    def read(txn: Transaction) -> tuple[State, StateAt]:
        current = storing.storage.states.current_txn(txn, numbers.room)
        head = storing.storage.states.head_txn(txn, numbers.room)
        return {(row.type, row.state_key): row.event for row in current if row.event}, StateAt(0, head)

    current, head = await storing.storage.database.read("current state", read)
    assert head == states.current
    assert current == NaiveStates(states.records).at(states.current)


def numbered(room: SynapseRoom) -> tuple[Numbers, RoomStates]:
    """The room's states by numbers that no database has given."""
    texts = {text for key in {k for g in room.groups.values() for k in g.delta} for text in key}
    texts |= {
        text for e in [*room.events, *room.outliers] for text in (e.type, e.state_key) if text is not None
    }
    ids = {i for g in room.groups.values() for i in g.delta.values()}
    ids |= {e.event_id for e in [*room.events, *room.outliers]}
    strings = {text: number for number, text in enumerate(sorted(texts), start=2)}
    numbers = Numbers(1, strings, {event_id: number for number, event_id in enumerate(sorted(ids), start=1)})
    return numbers, mapped(room, numbers)


def test_the_rooms_are_what_they_are_to_be(rooms: dict[str, SynapseRoom]) -> None:
    """The peer's doings came out as they were meant to, so that the comparison is one of hard cases."""
    own, joined = rooms["own"], rooms["joined"]
    assert {(e.rejected, e.soft_failed) for e in own.events} >= {
        (True, False),
        (False, True),
    }
    assert sum(len(event.pdu["prev_events"]) > 1 for event in own.events) >= 6
    assert any(room_key[0] == "org.example.plant" for event in own.events for room_key in own.after(event))
    assert own.current is not None
    assert not any(key[0] == "org.example.plant" for key in own.current)
    assert own.current not in [own.state(group) for group in own.groups]
    assert sum(event.stream_ordering < 0 for event in joined.events) > 30
    assert sum(group.parent is None for group in joined.groups.values()) > 1
    assert any(was_an_outlier(joined, event.event_id) for event in joined.events)
    assert rooms["left"].current is None
    assert rooms["purged"].outliers
    assert not any(event.type == "m.room.create" for event in rooms["purged"].events)


def was_an_outlier(room: SynapseRoom, event_id: str) -> bool:
    """Whether an event replaced another and Synapse does not say so: it was not known then."""
    (event,) = (event for event in room.events if event.event_id == event_id)
    return event.key is not None and event.replaces is None and event.key in room.before(event)


def test_a_long_room_is_one_branch(rooms: dict[str, SynapseRoom]) -> None:
    """Whole states among the groups make no copies: a row for each state event."""
    room = rooms["long"]
    assert sum(group.parent is None for group in room.groups.values()) > 2
    _, states = numbered(room)
    state_events = sum(event.key is not None for event in room.events)
    assert state_events > CHAIN
    assert len(states.records) == 2 * state_events
    assert states.current == StateAt(0, state_events)


def test_a_joined_room_is_one_line_back_to_its_beginning(rooms: dict[str, SynapseRoom]) -> None:
    """What was fetched later leads, without a seam, to the state that was given at the join."""
    _, states = numbered(rooms["joined"])
    assert states.events[0].before == StateAt(0, 0)
    assert NaiveStates(states.records).at(StateAt(0, 0)) == {}


def test_forks_cost_what_differs(rooms: dict[str, SynapseRoom]) -> None:
    """Sides of a fork are short branches; no state is written anew."""
    room = rooms["own"]
    _, states = numbered(room)
    changes = sum(isinstance(record, StateChange) for record in states.records)
    assert sum(isinstance(record, NewBranch) for record in states.records) >= 4
    assert changes < 2 * sum(event.key is not None for event in room.events)
