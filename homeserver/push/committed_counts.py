# SPDX-License-Identifier: Apache-2.0
"""Unread counts of everyone, as of the latest commit: in memory for rooms and users that are busy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs

from homeserver.push.reading import Reading, RoomLines
from homeserver.push.unread import RoomUnread
from storage.engine.database import Database, Transaction
from storage.event_records import NewEvent, OutlierPlaced
from storage.notification_counts import ThreadCountsStore
from storage.notification_exceptions import NotificationException, NotificationExceptions
from storage.read_points import ReadHere, ReadPoints, ReadUpTo
from storage.threads import CountsAt
from storage.write_queue import Committed

_POSITION = "SELECT value FROM counters WHERE name = 'position'"

K = TypeVar("K")
V = TypeVar("V")


@attrs.define(eq=False)
class _Memory:
    """Rooms by number, readings by account and room. Commits advance what is here."""

    rooms: OrderedDict[int, RoomLines] = attrs.field(factory=OrderedDict)
    readings: OrderedDict[tuple[int, int], Reading] = attrs.field(factory=OrderedDict)

    def event(self, record: NewEvent | OutlierPlaced, base: int) -> None:
        stored = record.stored
        room = self.rooms.get(record.room)
        if room is None or stored.rejected or stored.soft_failed:
            return
        room.advance(
            stored.thread, CountsAt(base + record.index, stored.notify_count, stored.highlight_count)
        )

    def exception(self, record: NotificationException, base: int) -> None:
        reading = self.readings.get((record.account, record.room))
        if reading is not None:
            reading.add(attrs.evolve(record, position=base + record.index))

    def read_here(self, record: ReadHere, base: int) -> None:
        reading = self.readings.get((record.account, record.room))
        if reading is not None:
            reading.read(record.thread, CountsAt(base + record.index, record.notify, record.highlight))

    def read_up_to(self, record: ReadUpTo, _base: int) -> None:
        reading = self.readings.get((record.account, record.room))
        if reading is not None:
            reading.read(record.thread, record.counts)


_ADVANCE: dict[type[Any], Callable[[_Memory, Any, int], None]] = {
    NewEvent: _Memory.event,
    OutlierPlaced: _Memory.event,
    NotificationException: _Memory.exception,
    ReadHere: _Memory.read_here,
    ReadUpTo: _Memory.read_up_to,
}


@attrs.define(eq=False)
class _Looking:
    """What one look at the database brings, and what was committed meanwhile."""

    memory: _Memory = attrs.field(factory=_Memory)
    meanwhile: list[Committed] = attrs.field(factory=list)


class CommittedCounts:
    """The `UnreadCounts` of this process, at most `most_rooms` and `most_readings` of them in memory.

    `on_commit` must hear of a batch before whoever wakes the readers does.
    """

    def __init__(
        self,
        *,
        database: Database,
        thread_counts: ThreadCountsStore,
        exceptions: NotificationExceptions,
        read_points: ReadPoints,
        most_rooms: int = 5_000,
        most_readings: int = 100_000,
    ) -> None:
        self._database = database
        self._thread_counts = thread_counts
        self._exceptions = exceptions
        self._read_points = read_points
        self._most_rooms = most_rooms
        self._most_readings = most_readings
        self._kept = _Memory()
        self._looking: list[_Looking] = []

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Take in a batch of the write queue's."""
        _advance(self._kept, batch)
        for looking in self._looking:
            looking.meanwhile.extend(batch)

    async def unread(self, account: int, rooms: Sequence[int]) -> dict[int, RoomUnread]:
        """The user's counts in each of the rooms that they are in; zeros where they have never joined."""
        wanted = set(rooms)
        found: dict[int, RoomUnread] = {}
        memory = await self._look(account, wanted)
        while wanted:
            unknown: list[tuple[int, str, int]] = []
            for room in wanted:
                reading = memory.readings[account, room]
                unread = reading.unread(memory.rooms[room])
                if isinstance(unread, RoomUnread):
                    found[room] = unread
                elif reading.floor is not None:
                    unknown.extend((room, root, reading.floor.position) for root in unread)
            wanted -= found.keys()
            if unknown:
                await self._look_up_bases(account, memory, unknown)
        return found

    async def _look(self, account: int, rooms: set[int]) -> _Memory:
        """Rooms and readings, those that are not kept from the database; they are kept from now on."""
        asked = _Memory()
        for room in rooms:
            _recall(self._kept.rooms, room, asked.rooms)
            _recall(self._kept.readings, (account, room), asked.readings)
        cold_rooms = [room for room in rooms if room not in asked.rooms]
        cold_readings = [room for room in rooms if (account, room) not in asked.readings]
        if cold_rooms or cold_readings:
            looking = _Looking()
            self._looking.append(looking)
            try:
                new = await self._database.read(
                    "unread counts", lambda txn: self._read_txn(txn, account, cold_rooms, cold_readings)
                )
            finally:
                self._looking.remove(looking)
            _advance(new, looking.meanwhile)
            _keep(self._kept.rooms, new.rooms, asked.rooms, self._most_rooms)
            _keep(self._kept.readings, new.readings, asked.readings, self._most_readings)
        return asked

    def _read_txn(
        self, txn: Transaction, account: int, rooms: Sequence[int], reading: Sequence[int]
    ) -> _Memory:
        row = txn.row(_POSITION)
        as_of = row[0] if row else 0
        main = self._thread_counts.main_now_txn(txn, rooms)
        threads = self._thread_counts.threads_of_rooms_txn(txn, rooms)
        points = self._read_points.of_rooms_txn(txn, account, reading)
        exceptions = self._exceptions.of_rooms_txn(txn, account, reading)
        memory = _Memory()
        for room in rooms:
            memory.rooms[room] = RoomLines(main[room], threads[room])
        for room in reading:
            memory.readings[account, room] = Reading.of(as_of, points[room], exceptions[room])
        return memory

    async def _look_up_bases(
        self, account: int, memory: _Memory, unknown: Sequence[tuple[int, str, int]]
    ) -> None:
        found = await self._thread_counts.threads_at(unknown)
        for room, root, position in unknown:
            reading = memory.readings[account, room]
            if reading.floor is not None and reading.floor.position == position:
                reading.bases[root] = found[room, root]


def _advance(memory: _Memory, batch: Sequence[Committed]) -> None:
    for committed in batch:
        for record in committed.unit.records:
            advance = _ADVANCE.get(type(record))
            if advance is not None:
                advance(memory, record, committed.base)


def _recall(kept: OrderedDict[K, V], key: K, asked: OrderedDict[K, V]) -> None:
    """Add the kept value of `key`, if there is one, to `asked`."""
    value = kept.get(key)
    if value is not None:
        kept.move_to_end(key)
        asked[key] = value


def _keep(kept: OrderedDict[K, V], new: OrderedDict[K, V], asked: OrderedDict[K, V], most: int) -> None:
    """Keep and add to `asked` what is new, unless another look has kept it meanwhile; drop the oldest."""
    for key, value in new.items():
        asked[key] = kept.setdefault(key, value)
    while len(kept) > most:
        kept.popitem(last=False)
