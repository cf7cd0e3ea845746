# SPDX-License-Identifier: Apache-2.0
"""States of rooms as readers see them: as of what is committed, cached, by key numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from homeserver.rooms.state_changes import Change, RecentStateChanges
from storage.engine.database import Transaction
from storage.event import StateAt
from storage.runtime.caches import Cache, Caches, cache_of_bytes
from storage.state import StateRow
from storage.state_records import GivenRow, StateChange
from storage.stores import Storage
from storage.write_queue import Committed

StateMap: TypeAlias = Mapping[tuple[int, int], StateRow]
"""The rows of a state by the numbers of type and state key. Never changed once handed out."""

_BYTES_OF_A_ROW = 400
_MOST_NOTED = 1000
"""So many changes are kept for a reader to come."""
_NOW = 2**62


@attrs.frozen(eq=False)
class _Current:
    """A current state, which is revision `revision` of branch 0."""

    revision: int
    state: StateMap


class RoomStates:
    """Whole states and what changed between two positions."""

    def __init__(self, *, storage: Storage, cache_bytes: int = 16 * 2**20) -> None:
        self._storage = storage
        self._current: Cache[int, _Current] = cache_of_bytes(cache_bytes, lambda c: _size(c.state))
        self._old: Cache[tuple[int, StateAt], StateMap] = cache_of_bytes(cache_bytes, _size)
        self._changed: dict[int, list[StateChange]] = {}
        self._recent = RecentStateChanges()

    @property
    def caches(self) -> Caches:
        """What is kept, by name."""
        return {"current_states": self._current, "old_states": self._old}

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Note what changed of the current states in memory."""
        self._recent.on_commit(batch)
        for committed in batch:
            for record in committed.unit.records:
                if type(record) is StateChange and record.branch == 0:
                    self._note(record)
                elif type(record) is GivenRow and record.branch == 0:
                    # The room begins; what was read of it before is nothing.
                    self._forget(record.room)

    async def currents(self, rooms: Iterable[int]) -> dict[int, StateMap]:
        """The current state of each of the rooms; what is not in memory comes out of one look.

        Empty where there is no such room. Rows may lack `event_id`.
        """
        found: dict[int, StateMap] = {}
        missing: set[int] = set()
        for room in rooms:
            known = self._in_memory(room)
            if known is None:
                missing.add(room)
            else:
                found[room] = known.state
        while missing:
            for room, read in (await self._read_current(missing)).items():
                found[room] = read.state
                missing.discard(room)
        return found

    async def _read_current(self, rooms: set[int]) -> dict[int, _Current]:
        """Those of the rooms for which what was read is not too old by now."""
        changed = {room: self._changed.setdefault(room, []) for room in rooms}
        states = self._storage.states

        def read(txn: Transaction) -> tuple[dict[int, list[StateRow]], dict[tuple[int, int], int]]:
            heads = states.revisions_at_txn(txn, [(room, _NOW) for room in rooms])
            return states.current_of_rooms_txn(txn, rooms), heads

        rows_of, heads = await self._storage.database.read("current states", read)
        found = {}
        for room, rows in rows_of.items():
            if self._changed.pop(room, None) is not changed[room]:
                # Another reader ended first, or there was too much to note.
                known = self._in_memory(room)
                if known is not None:
                    found[room] = known
                continue
            current = _Current(heads[room, _NOW], {(row.type, row.state_key): row for row in rows})
            found[room] = self._keep(room, _with(current, changed[room]))
        return found

    def _in_memory(self, room: int) -> _Current | None:
        known = self._current.get(room)
        if known is None:
            return None
        changed = self._changed.pop(room, None)
        return self._keep(room, _with(known, changed)) if changed else known

    def _keep(self, room: int, current: _Current) -> _Current:
        if _size(current.state) <= self._current.maxsize:
            self._current[room] = current
        else:
            self._current.pop(room, None)
        return current

    def _note(self, change: StateChange) -> None:
        room = change.room
        changed = self._changed.get(room)
        if changed is None:
            if room in self._current:
                self._changed[room] = [change]
        elif len(changed) < _MOST_NOTED:
            changed.append(change)
        else:
            self._forget(room)

    def _forget(self, room: int) -> None:
        """The current state must be read again, by whoever reads it just now, too."""
        self._changed.pop(room, None)
        self._current.pop(room, None)

    async def at_each(self, wanted: Iterable[tuple[int, StateAt]]) -> dict[int, StateMap]:
        """A state of each of several rooms, by room; what is not in memory comes out of one look.

        It may be on any branch. Rows may lack `event_id`.
        """
        found: dict[int, StateMap] = {}
        missing = []
        for room, state in wanted:
            known = self._known_at(room, state)
            if known is None:
                missing.append((room, state))
            else:
                found[room] = known
        if missing:
            states = self._storage.states
            read = await self._storage.database.read("states", lambda txn: states.at_each_txn(txn, missing))
            for (room, state), rows in read.items():
                found[room] = {(row.type, row.state_key): row for row in rows}
                if _size(found[room]) <= self._old.maxsize:
                    self._old[room, state] = found[room]
        return found

    def _known_at(self, room: int, state: StateAt) -> StateMap | None:
        if state.branch == 0:
            current = self._in_memory(room)
            if current is not None and current.revision == state.revision:
                return current.state
        return self._old.get((room, state))

    async def at_positions(self, wanted: Sequence[tuple[int, int]]) -> dict[int, StateMap]:
        """The state that was the current one of each room at a position, by room."""
        if not wanted:
            return {}
        states = self._storage.states
        revisions = await self._storage.database.read(
            "revisions", lambda txn: states.revisions_at_txn(txn, wanted)
        )
        return await self.at_each([(room, StateAt(0, revision)) for (room, _), revision in revisions.items()])

    async def starts(
        self, spans: Mapping[int, tuple[int, int]]
    ) -> dict[int, tuple[StateMap, Sequence[Change]]]:
        """For each room the state at the first of two positions, and what changed of it up to the second."""
        if not spans:
            return {}
        heads = await self._heads(spans)
        revisions: dict[int, int] = {}
        changes: dict[int, Sequence[Change]] = {}
        missing: dict[int, tuple[int, int]] = {}
        for room, (after, upto) in spans.items():
            revision = self._recent.revision_at(room, after, heads[room])
            recent = self._recent.between(room, after, upto)
            if revision is None or revision < 0 or recent is None:
                missing[room] = (after, upto)
            else:
                revisions[room], changes[room] = revision, recent
        if missing:
            await self._read_starts(missing, revisions, changes)
        maps = await self.at_each([(room, StateAt(0, revision)) for room, revision in revisions.items()])
        return {room: (maps[room], changes[room]) for room in spans}

    async def _heads(self, rooms: Iterable[int]) -> dict[int, int]:
        """The latest revision of each of the rooms, as of the moment when this returns."""
        wanted = list(rooms)
        await self.currents(wanted)
        heads = {room: known.revision for room in wanted if (known := self._in_memory(room)) is not None}
        # -1: it is not known, since so many states do not fit into memory.
        return {room: heads.get(room, -1) for room in wanted}

    async def _read_starts(
        self,
        spans: Mapping[int, tuple[int, int]],
        revisions: dict[int, int],
        changes: dict[int, Sequence[Change]],
    ) -> None:
        states = self._storage.states
        starts = [(room, after) for room, (after, _) in spans.items()]
        rows = [(room, after, upto) for room, (after, upto) in spans.items()]

        def read(
            txn: Transaction,
        ) -> tuple[dict[tuple[int, int], int], dict[int, list[tuple[int, int, StateRow]]]]:
            return states.revisions_at_txn(txn, starts), states.changes_of_rooms_txn(txn, rows)

        found, changed = await self._storage.database.read("states at", read)
        for room, (after, upto) in spans.items():
            revisions[room] = found[room, after]
            changes[room] = [Change(*change) for change in changed.get(room, ())]
            latest = changes[room][-1].revision if changes[room] else revisions[room]
            current = self._in_memory(room)
            self._recent.learn(
                room,
                changes[room],
                floor=after,
                upto=upto,
                is_latest=current is not None and current.revision == latest,
            )

    async def changes(self, spans: Mapping[int, tuple[int, int]]) -> dict[int, Sequence[Change]]:
        """What changed of current states, by room, in order; `spans` are positions (after, upto] by room.

        Comes from memory where that reaches back so far, the rest out of one look.
        """
        found: dict[int, Sequence[Change]] = {}
        missing = []
        for room, (after, upto) in spans.items():
            recent = self._recent.between(room, after, upto) if upto > after else []
            if recent is None:
                missing.append((room, after, upto))
            else:
                found[room] = recent
        if missing:
            states = self._storage.states
            read = await self._storage.database.read(
                "state changes", lambda txn: states.changes_of_rooms_txn(txn, missing)
            )
            for room, _, _ in missing:
                found[room] = [Change(*change) for change in read.get(room, ())]
        return found


def _with(known: _Current, changed: Sequence[StateChange]) -> _Current:
    """The state with changes noted since, which it may hold already."""
    if not changed:
        return known
    state = dict(known.state)
    for change in changed:
        key = (change.type, change.state_key)
        if change.event is None:
            state.pop(key, None)
        else:
            state[key] = StateRow(*key, change.event, None, change.membership)
    return _Current(max(known.revision, changed[-1].revision), state)


def _size(state: StateMap) -> int:
    return 1000 + _BYTES_OF_A_ROW * len(state)
