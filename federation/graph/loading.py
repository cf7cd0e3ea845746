# SPDX-License-Identifier: Apache-2.0
"""Reads a room from the database into what a hot room needs, in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import attrs

from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.graph_counts import GraphCounts
from federation.rules.room_versions import RoomVersion, room_version
from storage.engine.database import Database, Transaction
from storage.event import StoredEvent
from storage.events import Events
from storage.rooms import Rooms
from storage.state import StateRow, States
from storage.strings import Strings


@attrs.frozen
class LoadedRoom:
    """A room as it is on disk: what `RoomGraph` starts from.

    `revision` is the head of branch 0, `last_branch` the highest number of a branch, `top` the largest
    `topo`.
    """

    version: RoomVersion
    fence: int
    extremities: Sequence[StoredEvent]
    state: CurrentState
    revision: int
    last_branch: int = 0
    top: int = 0

    @classmethod
    def empty(cls, version: RoomVersion) -> LoadedRoom:
        """A room that begins."""
        return cls(version=version, fence=0, extremities=(), state=CurrentState(version), revision=0)


@attrs.frozen
class RoomLoader:
    """Loads rooms, and counts those that there are."""

    database: Database
    strings: Strings
    rooms: Rooms
    events: Events
    states: States
    counts: GraphCounts = attrs.field(factory=GraphCounts)

    async def load(self, room: int) -> LoadedRoom | None:
        """The room with this number, or None where there is none."""
        began = perf_counter()
        loaded = await self.database.read("load room", lambda txn: self._load_txn(txn, room))
        if loaded is not None:
            self.counts.loads.add(perf_counter() - began)
        return loaded

    async def is_stored(self, room: int) -> bool:
        """Whether there is a room with this number."""
        return await self.database.read(
            "look for room", lambda txn: self.rooms.get_txn(txn, room) is not None
        )

    def _load_txn(self, txn: Transaction, room: int) -> LoadedRoom | None:
        row = self.rooms.get_txn(txn, room)
        if row is None:
            return None
        version = room_version(row.version)
        return LoadedRoom(
            version=version,
            fence=row.fence,
            extremities=self.events.get_txn(txn, self.rooms.extremities_txn(txn, room)),
            state=self._state_txn(txn, version, self.states.current_txn(txn, room)),
            revision=self.states.head_txn(txn, room),
            last_branch=self.states.last_branch_txn(txn, room),
            top=self.events.top_txn(txn, room),
        )

    def _state_txn(self, txn: Transaction, version: RoomVersion, rows: Sequence[StateRow]) -> CurrentState:
        names = self.strings.values_txn(txn, {n for row in rows for n in (row.type, row.state_key)})
        entries: dict[Key, StateEntry] = {}
        memberships: dict[str, str] = {}
        kept = []
        for row in rows:
            if row.event is None or row.event_id is None:
                continue
            key = (names[row.type], names[row.state_key])
            entries[key] = StateEntry(row.event, row.event_id, row.membership)
            if row.membership is not None:
                memberships[key[1]] = row.membership
            if CurrentState.keeps_event(*key):
                kept.append(row.event)
        events = [stored.event for stored in self.events.get_txn(txn, kept)]
        return CurrentState.of(version, entries, memberships, events)
