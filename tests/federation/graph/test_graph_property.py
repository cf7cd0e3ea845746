# SPDX-License-Identifier: Apache-2.0
"""Random rooms that arrive in several orders: what the room graph makes of them is what the text says.

The naive room gets the same events in the same batches, and every state, rejection, soft failure and
extremity must be the same, in memory and on disk, also where the room is loaded again in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from random import Random

import attrs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, DeferredList

from federation.graph.batches import Incoming
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.graph.room import RoomGraph
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from storage.engine.database import Database, Transaction
from storage.event import Event, StateAt, StoredEvent
from storage.event_records import NewEvent
from tests.reference.graphs import RandomRoom, random_rooms, valid_orders
from tests.reference.resolver import Key
from tests.reference.room import NaiveRoom
from tests.support.databases import DatabaseHome
from tests.support.graphs import ALICE, Graphs, graphs_over, just, member, message, state
from tests.support.reactor import in_reactor

State = dict[Key, str]

# What the server's own users say.
OWN = (
    message(ALICE, "hello"),
    state(ALICE, "m.room.topic", {"topic": "ours"}),
    state(ALICE, "m.room.name", {"name": "ours"}),
    member("@dora:a.example", "@dora:a.example", "join"),
    member(ALICE, "@eve:b.example", "ban"),
)


@attrs.define
class Server:
    """A server that receives a room; `restart` leaves it with what is on disk."""

    database: Database
    parts: Graphs
    version: RoomVersion
    room_id: str = ""

    @classmethod
    def over(cls, database: Database, version: RoomVersion) -> Server:
        return cls(database, graphs_over(database), version)

    def restart(self) -> None:
        self.parts = graphs_over(self.database)

    async def receive(self, batch: Sequence[Event]) -> Sequence[StoredEvent]:
        """Take in a batch; the first begins the room."""
        if not self.room_id:
            self.room_id = batch[0].room_id
            _, received = await self.parts.graphs.begin_remote(self.room_id, self.version, Incoming(batch))
        else:
            received = await (await self.graph()).receive(Incoming(batch))
        assert not received.lacking
        return received.stored

    async def send(self, draft: Draft) -> list[Event]:
        """Send an event of this server's own; the events that this made. What the rules refuse makes none."""
        mark = len(self.parts.committed)
        with suppress(AuthRefused):
            await (await self.graph()).append(just(draft))
        records = [record for done in self.parts.committed[mark:] for record in done.unit.records]
        return [record.stored.event for record in records if isinstance(record, NewEvent)]

    async def graph(self) -> RoomGraph:
        return await self.parts.graphs.get(self.room_id)

    async def current_in_memory(self) -> State:
        seen: State = {}

        def look(state: CurrentState) -> tuple[()]:
            for key in list(state.keys()):
                entry = state.get(*key)
                assert entry is not None
                seen[key] = entry.event_id
            return ()

        assert await (await self.graph()).append(look) == []
        return seen

    async def current(self) -> State:
        """The current state on disk."""
        room = (await self.graph()).room
        states = self.parts.storage.states

        def look(txn: Transaction) -> State:
            return self._state_txn(txn, room, StateAt(0, states.head_txn(txn, room)))

        return await self.database.read("current state", look)

    async def states(self, wanted: Iterable[StateAt]) -> dict[StateAt, State]:
        """States on disk."""
        room = (await self.graph()).room
        asked = set(wanted)
        return await self.database.read(
            "states", lambda txn: {at: self._state_txn(txn, room, at) for at in asked}
        )

    def _state_txn(self, txn: Transaction, room: int, at: StateAt) -> State:
        storage = self.parts.storage
        rows = storage.states.at_txn(txn, room, at)
        names = storage.strings.values_txn(txn, {n for row in rows for n in (row.type, row.state_key)})
        return {(names[row.type], names[row.state_key]): row.event_id or "" for row in rows}

    async def extremities(self) -> set[str]:
        room = (await self.graph()).room
        storage = self.parts.storage
        numbers = await self.database.read("extremities", lambda t: storage.rooms.extremities_txn(t, room))
        return {stored.event.event_id for stored in (await storage.events.get(numbers)).values()}

    async def refusals(self, numbers: Iterable[int]) -> dict[int, str]:
        """The numbers of the rules that events were rejected or soft-failed by."""
        rejections = self.parts.storage.rejections

        def look(txn: Transaction) -> dict[int, str]:
            found = {number: rejections.of_event_txn(txn, number) for number in numbers}
            return {number: rejection.rule for number, rejection in found.items() if rejection is not None}

        return await self.database.read("why", look)


async def follow(server: Server, batches: Sequence[Sequence[Event]], random: Random) -> NaiveRoom:
    """Let the server and a naive room receive the batches, comparing them after each; returns the latter."""
    naive = NaiveRoom(server.version)
    for batch in batches:
        naive.receive(batch)
        stored = await server.receive(batch)
        assert [one.event.event_id for one in stored] == [event.event_id for event in batch]
        for one in stored:
            check_verdict(one, naive)
        if random.random() < 0.2:
            server.restart()
        await check_now(server, naive)
    return naive


def check_verdict(stored: StoredEvent, naive: NaiveRoom) -> None:
    event = stored.event
    assert stored.rejected == (event.event_id in naive.rejected)
    assert stored.soft_failed == (event.event_id in naive.soft_failed)
    assert stored.before is not None
    assert (stored.after is not None) == (event.is_state and not stored.rejected)


async def check_now(server: Server, naive: NaiveRoom) -> None:
    assert await server.current() == naive.current
    assert await server.current_in_memory() == naive.current
    assert await server.extremities() == naive.extremities


async def check_all(server: Server, naive: NaiveRoom) -> None:
    """What is on disk of every event in the end: later events must not have moved older states."""
    stored = await server.parts.storage.events.by_id(naive.events)
    assert stored.keys() == naive.events.keys()
    states = await server.states(at for one in stored.values() for at in (one.before, one.after) if at)
    refusals = await server.refusals([one.number for one in stored.values()])
    for event_id, one in stored.items():
        check_verdict(one, naive)
        assert one.before is not None
        assert states[one.before] == naive.before[event_id]
        assert states[one.after or one.before] == naive.after[event_id]
        rule = naive.rejected.get(event_id) or naive.soft_failed.get(event_id)
        assert refusals.get(one.number) == rule
        assert all(one.topo > stored[prev].topo for prev in one.event.prev_events)


async def converses(
    room: RandomRoom, home: DatabaseHome, batches: Sequence[Sequence[Event]], seed: int
) -> None:
    """A room arrives, and the server's own users speak in between."""
    server, naive, random = (
        Server.over(await home.open(), room.version),
        NaiveRoom(room.version),
        Random(seed),
    )
    try:
        for batch in batches:
            naive.receive(batch)
            for one in await server.receive(batch):
                check_verdict(one, naive)
            await check_now(server, naive)
            if random.random() < 0.5:
                extremities = set(naive.extremities)
                for event in await server.send(random.choice(OWN)):
                    assert set(event.prev_events) == extremities
                    extremities = {event.event_id}
                    naive.receive([event])
                    assert event.event_id in naive.extremities
            if random.random() < 0.1:
                server.restart()
        await check_now(server, naive)
        await check_all(server, naive)
    finally:
        await home.close()


async def arrives_at_once(
    room: RandomRoom, home: DatabaseHome, batches: Sequence[Sequence[Event]], seed: int
) -> None:
    """Batches and the server's own events come without waiting for each other.

    Their order is then anybody's guess, but whatever it was: states follow from the graph, extremities from
    what counts, and the current state from these.
    """
    server = Server.over(await home.open(), room.version)
    random = Random(seed)
    try:
        await server.receive(batches[0])
        work: list[Deferred[object]] = []
        for batch in batches[1:]:
            work.append(Deferred.fromCoroutine(server.receive(batch)))
            if random.random() < 0.5:
                work.append(Deferred.fromCoroutine(server.send(random.choice(OWN))))
        for succeeded, result in await DeferredList(work, consumeErrors=True):
            assert succeeded, result
        naive = await retold(server)
        assert naive.events.keys() >= room.naive.events.keys()
        await check_now(server, naive)
        await check_all(server, naive)
        server.restart()
        await check_now(server, naive)
    finally:
        await home.close()


async def retold(server: Server) -> NaiveRoom:
    """The naive room of all events that were committed, which takes the soft failures from the server."""
    naive = NaiveRoom(server.version)
    records = [record for done in server.parts.committed for record in done.unit.records]
    committed = [record.stored for record in records if isinstance(record, NewEvent)]
    refusals = await server.refusals([stored.number for stored in committed])
    for stored in committed:
        naive.place(stored.event)
        if stored.soft_failed:
            naive.soft_failed[stored.event.event_id] = refusals[stored.number]
        elif not stored.rejected:
            naive.extremities.difference_update(stored.event.prev_events)
            naive.extremities.add(stored.event.event_id)
    naive.current = naive.resolved(naive.extremities)
    return naive


async def arrives(
    room: RandomRoom, home: DatabaseHome, batches: Sequence[Sequence[Event]], seed: int
) -> NaiveRoom:
    """A room arrives in an order; returns what became of it."""
    server = Server.over(await home.open(), room.version)
    try:
        naive = await follow(server, batches, Random(seed))
        await check_all(server, naive)
        # What comes again changes nothing.
        assert list(await server.receive(batches[-1])) == []
        server.restart()
        await check_now(server, naive)
        await check_all(server, naive)
    finally:
        await home.close()
    return naive


# Whoever hunts a failure adds `Phase.shrink`. It takes minutes: each example has databases of its own.
SETTINGS = settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Homes = Callable[[], DatabaseHome]
SEEDS = st.integers(0, 10_000)


@SETTINGS
@given(room=random_rooms(max_size=40), seed=SEEDS)
def test_a_room_in_any_order(database_homes: Homes, room: RandomRoom, seed: int) -> None:
    orders = valid_orders(room, 2, Random(seed))
    ends = [in_reactor(arrives(room, database_homes(), batches, seed)) for batches in orders]
    for naive in ends:
        assert naive.before == ends[0].before
        assert naive.rejected == ends[0].rejected
    if not any(naive.soft_failed for naive in ends):
        assert all(naive.current == ends[0].current for naive in ends)


@SETTINGS
@given(room=random_rooms(max_size=40), seed=SEEDS)
def test_own_events_in_between(database_homes: Homes, room: RandomRoom, seed: int) -> None:
    (batches,) = valid_orders(room, 1, Random(seed))
    in_reactor(converses(room, database_homes(), batches, seed))


@SETTINGS
@given(room=random_rooms(max_size=40), seed=SEEDS)
def test_batches_and_own_events_at_once(database_homes: Homes, room: RandomRoom, seed: int) -> None:
    (batches,) = valid_orders(room, 1, Random(seed))
    in_reactor(arrives_at_once(room, database_homes(), batches, seed))
