# SPDX-License-Identifier: Apache-2.0
"""The latest changes of the current states of rooms, in memory, in the order of positions."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple

from storage.state import StateRow
from storage.state_records import NewRevision, StateChange
from storage.write_queue import Committed

_NOW = 2**62


class Change(NamedTuple):
    """A key of a current state took the value `row`; `row.event` None: it was removed.

    That was revision `revision` of branch 0, at `position`.
    """

    position: int
    revision: int
    row: StateRow


class RecentStateChanges:
    """At most `depth` changes of each of the `limit` rooms that changed last.

    It knows of every change since the first commit that it hears of.
    """

    def __init__(self, *, depth: int = 50, limit: int = 5_000) -> None:
        self._depth = depth
        self._limit = limit
        self._rings: OrderedDict[int, _Ring] = OrderedDict()
        self._forgotten_upto: int | None = None

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Take in a batch of the write queue's."""
        if self._forgotten_upto is None and batch:
            self._forgotten_upto = batch[0].base
        for committed in batch:
            positions: dict[tuple[int, int], int] = {}
            for record in committed.unit.records:
                if type(record) is NewRevision:
                    positions[record.room, record.revision] = committed.base + record.index
            if not positions:
                continue
            for record in committed.unit.records:
                if type(record) is StateChange and record.branch == 0:
                    row = StateRow(record.type, record.state_key, record.event, None, record.membership)
                    position = positions[record.room, record.revision]
                    change = Change(position, record.revision, row)
                    self._append(record.room, change, floor=committed.base)

    def between(self, room: int, after: int, upto: int) -> list[Change] | None:
        """What changed after `after`, up to `upto`; None where memory may lack some of it."""
        ring = self._rings.get(room)
        floor = self._forgotten_upto if ring is None else ring.floor
        if floor is None or after < floor:
            return None
        if ring is None or not ring.changes or ring.changes[-1].position <= after:
            return []
        return [change for change in ring.changes if after < change.position <= upto]

    def revision_at(self, room: int, position: int, head: int) -> int | None:
        """The revision of branch 0 that held at `position`, `head` being the latest; None as in `between`."""
        later = self.between(room, position, _NOW)
        if later is None:
            return None
        return later[0].revision - 1 if later else head

    def learn(self, room: int, changes: Sequence[Change], *, floor: int, upto: int, is_latest: bool) -> None:
        """What was read of a room: all its changes with `floor` < position <= `upto`, in order.

        `is_latest`: nothing has changed in the room since.
        """
        ring = self._rings.get(room)
        if ring is None:
            if not is_latest:
                return
            ring = self._ring(room, floor=upto)
        older = [change for change in changes if change.position <= ring.floor]
        if floor < ring.floor <= upto and len(older) + len(ring.changes) <= self._depth:
            ring.changes.extendleft(reversed(older))
            ring.floor = floor

    def _append(self, room: int, change: Change, floor: int) -> None:
        ring = self._rings.get(room)
        if ring is None:
            ring = self._ring(room, floor)
        self._rings.move_to_end(room)
        ring.changes.append(change)
        if len(ring.changes) > self._depth:
            ring.floor = ring.changes.popleft().position

    def _ring(self, room: int, floor: int) -> _Ring:
        ring = self._rings[room] = _Ring(floor)
        if len(self._rings) > self._limit:
            _, dropped = self._rings.popitem(last=False)
            last = dropped.changes[-1].position if dropped.changes else dropped.floor
            self._forgotten_upto = max(self._forgotten_upto or 0, last)
        return ring


class _Ring:
    """The changes of one room after the position `floor`."""

    __slots__ = ("changes", "floor")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.changes: deque[Change] = deque()
