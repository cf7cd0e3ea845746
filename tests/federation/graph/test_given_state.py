# SPDX-License-Identifier: Apache-2.0
"""A room that is joined in the middle, and its past that comes later: states are those of the whole graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

import attrs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from federation.graph.batches import Incoming
from federation.graph.current_state import Key, StateEntry
from federation.graph.receiving import Received
from federation.graph.room import RoomGraph
from storage.engine.database import Database, Transaction
from storage.event import Event, StateAt
from storage.gaps import Gap
from tests.reference.graphs import RandomRoom, random_rooms
from tests.support.databases import DatabaseHome
from tests.support.graphs import Graphs, graphs_over
from tests.support.reactor import in_reactor

SETTINGS = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Homes = Callable[[], DatabaseHome]


@attrs.define
class Joiner:
    """A server that comes to know a room from some event on; `naive` knows all of it."""

    room: RandomRoom
    database: Database
    parts: Graphs

    @property
    def room_id(self) -> str:
        return self.room.events[0].room_id

    async def graph(self) -> RoomGraph:
        return await self.parts.graphs.get(self.room_id)

    async def state_given(self, event: Event) -> dict[Key, StateEntry]:
        """The state before an event, as another server would give it: its events, and their auth chains."""
        naive = self.room.naive
        wanted = list(naive.before[event.event_id].values())
        learnt = await self.parts.graphs.learn(
            self.room_id, self.room.version, self.with_auth_chains([*wanted, *event.auth_events])
        )
        assert not learnt.lacking
        return learnt.state(wanted)

    def with_auth_chains(self, event_ids: Iterable[str]) -> list[Event]:
        naive = self.room.naive
        found: dict[str, Event] = {}
        waiting = [*event_ids, self.room.events[0].event_id]
        while waiting:
            event_id = waiting.pop()
            if event_id not in found:
                found[event_id] = naive.events[event_id]
                waiting.extend(found[event_id].auth_events)
        return list(found.values())

    async def join(self, event: Event) -> None:
        incoming = Incoming([event], given={event.event_id: await self.state_given(event)})
        _, received = await self.parts.graphs.begin_remote(self.room_id, self.room.version, incoming)
        assert [one.event.event_id for one in received.stored] == [event.event_id]

    async def receive(self, event: Event) -> None:
        """Take in a later event; where its predecessors are not known, the state before it is given."""
        graph = await self.graph()
        await self.state_given(event)
        received = await graph.receive(Incoming([event]))
        if received.lacking:
            assert received.lacking[event.event_id] <= set(event.prev_events)
            given = {event.event_id: await self.state_given(event)}
            received = await graph.receive(Incoming([event], given=given))
        assert [one.event.event_id for one in received.stored] == [event.event_id]

    async def gaps(self) -> list[Gap]:
        room = (await self.graph()).room
        return await self.database.read("gaps", lambda t: self.parts.storage.gaps.of_room_txn(t, room))

    async def backfill(self, missing: Sequence[str], size: int, order: Sequence[Event]) -> Received:
        """Fetch at most `size` events from some missing ones downwards."""
        naive, known = self.room.naive, await self.known()
        places = {event.event_id: i for i, event in enumerate(order)}
        chunk: set[str] = set()
        waiting = set(missing)
        while waiting and len(chunk) < size:
            event_id = max(waiting, key=places.__getitem__)
            waiting.discard(event_id)
            chunk.add(event_id)
            waiting.update(p for p in naive.events[event_id].prev_events if p not in chunk | known)
        events = sorted((naive.events[e] for e in chunk), key=lambda e: places[e.event_id])
        given = {}
        for event in events:
            state = await self.state_given(event)
            if event.prev_events and not set(event.prev_events) <= chunk | known:
                given[event.event_id] = state
        return await (await self.graph()).receive(Incoming(events, given=given, backfilled=True))

    async def known(self) -> set[str]:
        stored = await self.parts.storage.events.by_id(self.room.naive.events)
        return {event_id for event_id, one in stored.items() if one.topo is not None}

    async def check(self) -> None:
        """Every event has the states that the whole graph gives it."""
        naive = self.room.naive
        stored = await self.parts.storage.events.by_id(naive.events)
        for event_id, one in stored.items():
            if one.topo is None:
                continue
            if one.event.type == "m.room.create":
                assert one.event.prev_events == ()
                continue
            assert one.before is not None
            assert await self.state(one.before) == naive.before[event_id]
            assert await self.state(one.after or one.before) == naive.after[event_id]
            assert one.rejected == (event_id in naive.rejected)

    async def check_current(self) -> None:
        naive = self.room.naive
        room = (await self.graph()).room
        storage = self.parts.storage

        def look(txn: Transaction) -> tuple[StateAt, list[int]]:
            return StateAt(0, storage.states.head_txn(txn, room)), storage.rooms.extremities_txn(txn, room)

        head, numbers = await self.database.read("current", look)
        ends = [s.event.event_id for s in (await storage.events.get(numbers)).values()]
        assert await self.state(head) == naive.resolved(ends)

    async def state(self, at: StateAt) -> dict[Key, str]:
        room = (await self.graph()).room
        storage = self.parts.storage

        def look(txn: Transaction) -> dict[Key, str]:
            rows = storage.states.at_txn(txn, room, at)
            names = storage.strings.values_txn(txn, {n for r in rows for n in (r.type, r.state_key)})
            return {(names[r.type], names[r.state_key]): r.event_id or "" for r in rows}

        return await self.database.read("state", look)


async def joined_in_the_middle(room: RandomRoom, home: DatabaseHome, seed: int) -> None:
    random = Random(seed)
    database = await home.open()
    order = list(room.events)
    accepted = [i for i, e in enumerate(order) if e.event_id not in room.naive.rejected and e.prev_events]
    try:
        joiner = Joiner(room, database, graphs_over(database))
        start = random.choice(accepted)
        await joiner.join(order[start])
        for event in order[start + 1 :]:
            await joiner.receive(event)
        await joiner.check()
        await joiner.check_current()
        while gaps := await joiner.gaps():
            known = await joiner.known()
            missing = sorted({gap.event_id for gap in gaps} - known)
            assert missing, "a gap that is filled is none"
            some = random.sample(missing, random.randint(1, len(missing)))
            received = await joiner.backfill(some, random.randint(1, 10), order)
            assert received.stored
            assert all((one.position or 0) < 0 for one in received.stored)
            if random.random() < 0.3:
                joiner.parts = graphs_over(database)
            await joiner.check()
            await joiner.check_current()
        known = await joiner.known()
        assert all(known.issuperset(room.naive.events[event_id].prev_events) for event_id in known)
    finally:
        await home.close()


@SETTINGS
@given(room=random_rooms(max_size=30), seed=st.integers(0, 10_000))
def test_a_room_joined_in_the_middle(database_homes: Homes, room: RandomRoom, seed: int) -> None:
    # Whether a state before it rejects an event cannot be told by who knows it as an auth event only.
    assume(room.naive.rejected.keys() == room.naive.rejected_by_auth_events)
    in_reactor(joined_in_the_middle(room, database_homes(), seed))
