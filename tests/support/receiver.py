# SPDX-License-Identifier: Apache-2.0
"""A server that receives a room which a test builds, and what it then has of it on disk and in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from federation.graph.batches import Incoming
from federation.graph.contributors import Appended, Contribution, Resolved
from federation.graph.current_state import CurrentState, Key
from federation.graph.drafts import Draft
from federation.graph.room import RoomGraph
from federation.rules.event_format import parse_pdu
from federation.rules.identifiers import server_of
from federation.rules.signing import sign_event
from storage.engine.database import Database, Transaction
from storage.event import Event, StateAt, StoredEvent
from storage.gaps import Gap
from storage.rejections import Rejection
from tests.support.graphs import Graphs, graphs_over, just
from tests.support.rooms import Room, pdu_of, signing_key

Ids = dict[Key, str]
"""A state: event id by key."""


class Told:
    """A contributor that writes down what it is told."""

    def __init__(self) -> None:
        self.appended: list[Appended] = []
        self.resolved_changes: list[Resolved] = []

    async def load(self, room: int, room_id: str, state: CurrentState) -> None:
        """It remembers nothing of a room."""

    def contribute(self, memory: None, appended: Appended) -> Contribution:
        """Write down an event."""
        self.appended.append(appended)
        return Contribution()

    def resolved(self, memory: None, resolved: Resolved) -> Contribution:
        """Write down changes without an event."""
        self.resolved_changes.append(resolved)
        return Contribution()


def ids_of(state: Mapping[Key, Event]) -> Ids:
    """A state of a built room as what `Receiver` reads."""
    return {key: event.event_id for key, event in state.items()}


@attrs.define
class Receiver:
    """A server that receives `room`; `restart` leaves it with what is on disk."""

    room: Room
    database: Database
    parts: Graphs
    told: Told

    @classmethod
    def over(cls, room: Room, database: Database) -> Receiver:
        """A server that has nothing of the room yet."""
        told = Told()
        return cls(room, database, graphs_over(database, [told]), told)

    @classmethod
    async def of(cls, room: Room, database: Database) -> Receiver:
        """A server that has received all that the room has by now."""
        receiver = cls.over(room, database)
        await receiver.begin(Incoming(room.events))
        return receiver

    @classmethod
    async def joined(cls, room: Room, join: Event, database: Database) -> Receiver:
        """A server that came into the room with `join`: it has the state before, and nothing else."""
        receiver = cls.over(room, database)
        await receiver.begin(await receiver.given_with(join))
        return receiver

    async def begin(self, incoming: Incoming) -> list[StoredEvent]:
        """Begin the room."""
        _, received = await self.parts.graphs.begin_remote(self.room.room_id, self.room.version, incoming)
        assert not received.lacking
        return list(received.stored)

    def restart(self) -> None:
        """Go on with what is on disk."""
        self.told = Told()
        self.parts = graphs_over(self.database, [self.told])

    async def graph(self) -> RoomGraph:
        """The room's graph."""
        return await self.parts.graphs.get(self.room.room_id)

    async def receive(self, *events: Event, **options: Any) -> list[StoredEvent]:
        """Receive events of which nothing is lacking; `options` are those of `Incoming`."""
        received = await (await self.graph()).receive(Incoming(events, **options))
        assert not received.lacking
        return list(received.stored)

    async def lacking(self, *events: Event, **options: Any) -> Mapping[str, frozenset[str]]:
        """Receive events none of which can be placed; returns what they lack."""
        received = await (await self.graph()).receive(Incoming(events, **options))
        assert not received.stored
        return received.lacking

    async def send(self, *drafts: Draft) -> list[StoredEvent]:
        """Send events of this server's own."""
        return await (await self.graph()).append(just(*drafts))

    async def learn(self, *events: Event) -> None:
        """Learn events without a place in the graph, together with all that they cite."""
        learnt = await self.parts.graphs.learn(
            self.room.room_id, self.room.version, with_auth_chains(self.room, events)
        )
        assert not learnt.lacking

    async def given_with(
        self, *events: Event, state: Mapping[Key, Event] | None = None, **options: Any
    ) -> Incoming:
        """The batch of `events` with the state before the first: that of the room, unless it is `state`."""
        first = events[0]
        if state is None:
            known = {event.event_id: event for event in self.room.events}
            state = self.room.state_before([known[event_id] for event_id in first.prev_events])
        cited = [event for event in self.room.events if event.event_id in first.auth_events]
        learnt = await self.parts.graphs.learn(
            self.room.room_id, self.room.version, with_auth_chains(self.room, [*state.values(), *cited])
        )
        assert not learnt.lacking
        given = learnt.state([event.event_id for event in state.values()])
        return Incoming(events, given={first.event_id: given}, **options)

    async def stored(self, event: Event) -> StoredEvent:
        """What is known of a stored event."""
        return (await self.parts.storage.events.by_id([event.event_id]))[event.event_id]

    async def is_stored(self, event: Event) -> bool:
        """Whether the event is stored, as an outlier at least."""
        return event.event_id in await self.parts.storage.events.by_id([event.event_id])

    async def state(self, at: StateAt | None) -> Ids:
        """A state on disk."""
        assert at is not None, "the state is unknown"
        room = (await self.graph()).room
        return await self.database.read("state", lambda txn: self._state_txn(txn, room, at))

    async def head(self) -> StateAt:
        """The revision at which the current state on disk is."""
        room = (await self.graph()).room
        head = await self.database.read("head", lambda txn: self.parts.storage.states.head_txn(txn, room))
        return StateAt(0, head)

    async def current(self) -> Ids:
        """The current state on disk, after looking that memory has the same."""
        on_disk = await self.state(await self.head())
        in_memory: Ids = {}

        def look(state: CurrentState) -> tuple[()]:
            for key in list(state.keys()):
                entry = state.get(*key)
                assert entry is not None
                in_memory[key] = entry.event_id
            return ()

        await (await self.graph()).append(look)
        assert in_memory == on_disk
        return on_disk

    async def extremities(self) -> set[str]:
        """The forward extremities on disk."""
        room = (await self.graph()).room
        storage = self.parts.storage
        numbers = await self.database.read("extremities", lambda t: storage.rooms.extremities_txn(t, room))
        return {stored.event.event_id for stored in (await storage.events.get(numbers)).values()}

    async def gaps(self) -> list[Gap]:
        """The room's gaps."""
        room = (await self.graph()).room
        return await self.database.read("gaps", lambda t: self.parts.storage.gaps.of_room_txn(t, room))

    async def refusal(self, event: Event) -> Rejection | None:
        """Why an event was refused."""
        number = (await self.stored(event)).number
        return await self.database.read(
            "why", lambda txn: self.parts.storage.rejections.of_event_txn(txn, number)
        )

    def _state_txn(self, txn: Transaction, room: int, at: StateAt) -> Ids:
        storage = self.parts.storage
        rows = storage.states.at_txn(txn, room, at)
        names = storage.strings.values_txn(txn, {n for row in rows for n in (row.type, row.state_key)})
        return {(names[row.type], names[row.state_key]): row.event_id or "" for row in rows}


def with_auth_chains(room: Room, events: Iterable[Event]) -> Sequence[Event]:
    """Events of the room and all that they cite, and what that cites."""
    known = {event.event_id: event for event in room.events}
    found: dict[str, Event] = {}
    waiting = [room.create, *events]
    while waiting:
        event = waiting.pop()
        if event.event_id not in found:
            found[event.event_id] = event
            waiting.extend(known[event_id] for event_id in event.auth_events if event_id in known)
    return list(found.values())


def bent(room: Room, event: Event, **members: Any) -> Event:
    """The event with other members, signed anew; the room itself knows nothing of it.

    `prev_events` and `auth_events` are ids; where the version writes hashes beside them, these are wrong.
    """
    version = room.version
    for name in ("prev_events", "auth_events"):
        if name in members and version.references_have_hashes:
            members[name] = [[event_id, {"sha256": "x"}] for event_id in members[name]]
    pdu = {**pdu_of(event), **members}
    del pdu["signatures"]
    server = server_of(event.sender)
    return parse_pdu(sign_event(pdu, server, signing_key(server), version), version)
