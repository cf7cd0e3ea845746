# SPDX-License-Identifier: Apache-2.0
"""States of rooms as readers see them: as of what is committed, cached, by key numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from cachetools import LRUCache

from storage.event import StateAt
from storage.runtime.caches import cache_of_bytes
from storage.state import StateChange, StateRow
from storage.stores import Storage
from storage.write_queue import Committed

StateMap: TypeAlias = Mapping[tuple[int, int], StateRow]
"""The rows of a state by the numbers of type and state key. Never changed once handed out."""

_BYTES_OF_A_ROW = 400
_MOST_NOTED = 1000
"""So many changes are kept for a reader to come."""


class RoomStates:
    """Whole states and what changed between two positions."""

    def __init__(self, *, storage: Storage, cache_bytes: int = 16 * 2**20) -> None:
        self._storage = storage
        self._current: LRUCache[int, StateMap] = cache_of_bytes(cache_bytes, _size)
        self._old: LRUCache[tuple[int, StateAt], StateMap] = cache_of_bytes(cache_bytes, _size)
        self._changed: dict[int, list[StateRow]] = {}

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note what changed of the current states in memory."""
        for committed in batch:
            for record in committed.unit.records:
                if type(record) is StateChange and record.branch == 0:
                    row = StateRow(record.type, record.state_key, record.event, None, record.membership)
                    self._note(record.room, row)

    async def current(self, room: int) -> StateMap:
        """The current state of the room; empty where there is no such room. Rows may lack `event_id`."""
        known = self._current.get(room)
        changed: list[StateRow] | None
        if known is not None:
            changed = self._changed.pop(room, None)
            if not changed:
                return known
        else:
            changed = self._changed.setdefault(room, [])
            rows = await self._storage.database.read(
                "current state", lambda txn: self._storage.states.current_txn(txn, room)
            )
            known = {(row.type, row.state_key): row for row in rows if row.event is not None}
            if self._changed.pop(room, None) is not changed:
                # Another reader ended first, or there was too much to note: what was read may be too old.
                return await self.current(room)
        known = _with(known, changed)
        if _size(known) <= self._current.maxsize:
            self._current[room] = known
        return known

    def _note(self, room: int, row: StateRow) -> None:
        changed = self._changed.get(room)
        if changed is None:
            if room in self._current:
                self._changed[room] = [row]
        elif len(changed) < _MOST_NOTED:
            changed.append(row)
        else:
            del self._changed[room]
            self._current.pop(room, None)

    async def at(self, room: int, state: StateAt) -> StateMap:
        """The state of the room at `state`. Rows may lack `event_id`."""
        return (await self.at_each([(room, state)]))[room]

    async def at_each(self, wanted: Iterable[tuple[int, StateAt]]) -> dict[int, StateMap]:
        """A state of each of several rooms, by room."""
        found: dict[int, StateMap] = {}
        missing = []
        for room, state in wanted:
            known = self._old.get((room, state))
            if known is None:
                missing.append((room, state))
            else:
                found[room] = known
        if missing:
            states = self._storage.states
            read = await self._storage.database.read(
                "states", lambda txn: [states.at_txn(txn, room, state) for room, state in missing]
            )
            for (room, state), rows in zip(missing, read, strict=True):
                found[room] = {(row.type, row.state_key): row for row in rows if row.event is not None}
                if _size(found[room]) <= self._old.maxsize:
                    self._old[room, state] = found[room]
        return found

    async def at_position(self, room: int, position: int) -> StateMap:
        """The state that was the room's current one at `position`."""
        revision = await self._storage.database.read(
            "revision", lambda txn: self._storage.states.revision_at_txn(txn, room, position)
        )
        return await self.at(room, StateAt(0, revision))

    async def changes(self, room: int, *, after: int, upto: int) -> list[StateRow]:
        """What the current state became between two positions: the last value of each key that changed.

        `event` is None where a key was removed.
        """
        states = self._storage.states
        return await self._storage.database.read(
            "state changes",
            lambda txn: states.changes_txn(
                txn, room, states.revision_at_txn(txn, room, after), states.revision_at_txn(txn, room, upto)
            ),
        )


def _with(known: StateMap, changed: Sequence[StateRow]) -> StateMap:
    if not changed:
        return known
    advanced = dict(known)
    for row in changed:
        if row.event is None:
            advanced.pop((row.type, row.state_key), None)
        else:
            advanced[row.type, row.state_key] = row
    return advanced


def _size(state: StateMap) -> int:
    return 1000 + _BYTES_OF_A_ROW * len(state)
