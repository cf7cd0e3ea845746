# SPDX-License-Identifier: Apache-2.0
"""Events: each PDU kept once, what this server knows of it beside it, and the order of a room."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.event import Event, StateAt, StoredEvent
from storage.event_ids import pack_event_id, unpack_event_id
from storage.event_records import REJECTED, SOFT_FAILED
from storage.runtime.caches import Cache, Caches, cache_of_bytes
from storage.strings import Strings

_WAITING_REDACTIONS = Batch(
    "SELECT r.target, r.event, e.event_id FROM v JOIN redactions r ON r.target = v.target AND r.applied = 0"
    " JOIN events e ON e.event = r.event ORDER BY r.event",
    columns={"target": BYTES},
)
_SELECT = (
    "SELECT e.event, e.event_id, e.room, e.status, e.position, e.topo, e.before_branch, e.before_revision,"
    " e.after_branch, e.after_revision, e.thread, e.notify_count, e.highlight_count, j.json,"
    " (SELECT min(r.event) FROM redactions r WHERE r.target = e.event_id AND r.applied = 1)"
)
_BY_NUMBER = Batch(
    _SELECT + " FROM v JOIN events e ON e.event = v.event JOIN event_json j ON j.event = e.event",
    columns={"event": INTEGER},
)
_NUMBERS_BY_ID = Batch(
    "SELECT e.event_id, e.event FROM v JOIN events e ON e.event_id = v.event_id",
    columns={"event_id": BYTES},
)
_GRAPH_ROWS = Batch(
    "SELECT e.event_id, e.event, e.position, e.topo, e.before_branch, e.before_revision, e.after_branch,"
    " e.after_revision, e.status, e.room FROM v JOIN events e ON e.event_id = v.event_id",
    columns={"event_id": BYTES},
)
_IDS_BY_NUMBER = Batch(
    "SELECT e.event, e.event_id FROM v JOIN events e ON e.event = v.event",
    columns={"event": INTEGER},
)
# What clients may be shown: neither rejected nor soft-failed, and in the graph with a known state before it.
_SHOWN = "status = 0 AND before_branch IS NOT NULL"
_BACKWARDS_FROM = (
    " FROM events WHERE room = ? AND (topo, position) < (?, ?)"
    f" AND (topo, position) > (?, ?) AND {_SHOWN} ORDER BY topo DESC, position DESC LIMIT ?"
)
_FORWARDS_FROM = (
    " FROM events WHERE room = ? AND (topo, position) > (?, ?)"
    f" AND (topo, position) < (?, ?) AND {_SHOWN} ORDER BY topo, position LIMIT ?"
)
_SELECT_PLACE = "SELECT event, topo, position"
_BACKWARDS = _SELECT_PLACE + _BACKWARDS_FROM
_FORWARDS = _SELECT_PLACE + _FORWARDS_FROM
_SELECT_STATES = "SELECT event, topo, position, before_branch, before_revision, after_revision"
_STATES_BACKWARDS = _SELECT_STATES + _BACKWARDS_FROM
_STATES_FORWARDS = _SELECT_STATES + _FORWARDS_FROM
_BETWEEN = (
    "SELECT event, topo, position FROM events WHERE room = ? AND position > ? AND position <= ?"
    f" AND {_SHOWN} ORDER BY position DESC LIMIT ?"
)
_LATEST_COLUMNS = {"room": INTEGER, "after": INTEGER, "upto": INTEGER}
# One index look-up per room.
_TOP = "SELECT max(topo) FROM events WHERE room = ?"
_LAST_POSITIONS = (
    "SELECT r.room, (SELECT max(e.position) FROM events e WHERE e.room = r.room AND e.position > 0)"
    " FROM rooms r"
)


@functools.lru_cache(maxsize=1024)
def _latest(limit: int) -> Batch:
    """The latest `limit` events of many rooms: the place of the earliest of them, then all from there on."""
    return Batch(
        "SELECT e.room, e.event, e.topo, e.position FROM v JOIN events e ON e.room = v.room"
        " AND e.position > v.after AND e.position <= v.upto AND e.status = 0 AND e.before_branch IS NOT NULL"
        " AND e.position >= coalesce((SELECT x.position FROM events x WHERE x.room = v.room"
        " AND x.position > v.after AND x.position <= v.upto AND x.status = 0 AND x.before_branch IS NOT NULL"
        f" ORDER BY x.position DESC LIMIT 1 OFFSET {limit - 1}), 0)"
        " ORDER BY e.room, e.position DESC",
        columns=_LATEST_COLUMNS,
    )


class Place(NamedTuple):
    """A place in the order of a room: between events, after the one with this `topo` and `position`."""

    topo: int
    position: int


BEGINNING = Place(-(2**62), -(2**62))
END = Place(2**62, 2**62)


class Placed(NamedTuple):
    """An event's number and its place in the room."""

    number: int
    place: Place


class PlacedState(NamedTuple):
    """An event's number and place, the state before it if that is known, and whether it changes the state."""

    number: int
    place: Place
    before: StateAt | None
    changes_state: bool


@attrs.frozen
class GraphRow:
    """What the graph asks of an event that others refer to, without reading it; as in `StoredEvent`."""

    room: int
    number: int
    position: int | None
    topo: int | None
    before: StateAt | None
    after: StateAt | None
    rejected: bool
    soft_failed: bool


@attrs.define(eq=False)
class _Reading:
    """A look at the database that is under way, and the events that were committed or changed meanwhile."""

    changed: set[int] = attrs.field(factory=set)


class Events:
    """Reads events, and keeps those used last within `cache_bytes` of memory."""

    def __init__(self, database: Database, strings: Strings, *, cache_bytes: int) -> None:
        self._database = database
        self._strings = strings
        self._cache: Cache[int, StoredEvent] = cache_of_bytes(cache_bytes, _memory_of)
        self._readings: list[_Reading] = []

    @property
    def caches(self) -> Caches:
        """What is kept, by name."""
        return {"events": self._cache}

    def cached(self, number: int) -> StoredEvent | None:
        """The event with this number if it is in memory."""
        return self._cache.get(number)

    def remember(self, stored: StoredEvent) -> None:
        """Keep an event that was just committed, or that just got its place."""
        known = self._cache.get(stored.number)
        if known is not None and known.redacted_by is not None:
            stored = attrs.evolve(stored, redacted_by=known.redacted_by)
        self._cache[stored.number] = stored
        for reading in self._readings:
            reading.changed.add(stored.number)

    def redacted(self, number: int, redaction_id: str) -> None:
        """The event with this number is redacted from now on."""
        stored = self._cache.get(number)
        if stored is not None and stored.redacted_by is None:
            self._cache[number] = attrs.evolve(stored, redacted_by=redaction_id)
        for reading in self._readings:
            reading.changed.add(number)

    async def get(self, numbers: Iterable[int]) -> dict[int, StoredEvent]:
        """The events with these numbers; those that are not stored are left out."""
        found: dict[int, StoredEvent] = {}
        missing = self._recall(numbers, found)
        while missing:
            # What changed while it was read may have been read as it was before.
            missing = self._recall(await self._read(missing, found), found)
        return found

    def _recall(self, numbers: Iterable[int], found: dict[int, StoredEvent]) -> list[int]:
        """Add those that are in memory to `found`; returns the others."""
        missing: list[int] = []
        for number in numbers:
            stored = self._cache.get(number)
            if stored is None:
                missing.append(number)
            else:
                found[number] = stored
        return missing

    async def _read(self, numbers: Sequence[int], found: dict[int, StoredEvent]) -> set[int]:
        """Add what is stored to `found` and to memory, but for what changed meanwhile, which is returned."""
        reading = _Reading()
        self._readings.append(reading)
        try:
            read = await self._database.read("read events", lambda txn: self.get_txn(txn, numbers))
        finally:
            self._readings.remove(reading)
        for stored in read:
            if stored.number not in reading.changed:
                found[stored.number] = stored
                self._cache[stored.number] = stored
        return reading.changed.intersection(numbers)

    def get_txn(self, txn: Transaction, numbers: Iterable[int]) -> list[StoredEvent]:
        """As `get`, inside a transaction of the caller's and leaving the cache as it is; in no order."""
        rows = txn.batch(_BY_NUMBER, [(number,) for number in set(numbers)])
        rooms = self._strings.values_txn(txn, {row[2] for row in rows})
        ids = self.ids_txn(txn, (row[14] for row in rows if row[14] is not None))
        return [_stored(row, rooms[row[2]], ids) for row in rows]

    async def by_id(self, event_ids: Iterable[str]) -> dict[str, StoredEvent]:
        """The stored events among these ids."""
        numbers = await self.numbers(event_ids)
        stored = await self.get(numbers.values())
        return {event_id: stored[number] for event_id, number in numbers.items() if number in stored}

    async def numbers(self, event_ids: Iterable[str]) -> dict[str, int]:
        """The numbers of those of `event_ids` that are stored."""
        return await self._database.read("find events", lambda txn: self.numbers_txn(txn, event_ids))

    def numbers_txn(self, txn: Transaction, event_ids: Iterable[str]) -> dict[str, int]:
        """As `numbers`, inside a transaction of the caller's."""
        found = txn.batch(_NUMBERS_BY_ID, [(pack_event_id(event_id),) for event_id in set(event_ids)])
        return {unpack_event_id(packed): number for packed, number in found}

    def ids_txn(self, txn: Transaction, numbers: Iterable[int]) -> dict[int, str]:
        """The ids of the events with these numbers; those that are not stored are left out."""
        found = txn.batch(_IDS_BY_NUMBER, [(number,) for number in set(numbers)])
        return {number: unpack_event_id(packed) for number, packed in found}

    def graph_rows_txn(self, txn: Transaction, event_ids: Iterable[str]) -> dict[str, GraphRow]:
        """Where those of `event_ids` that are stored stand in the graph."""
        found = txn.batch(_GRAPH_ROWS, [(pack_event_id(event_id),) for event_id in set(event_ids)])
        return {unpack_event_id(row[0]): _graph_row(row) for row in found}

    def waiting_redactions_txn(
        self, txn: Transaction, event_ids: Iterable[str]
    ) -> dict[str, list[tuple[int, str]]]:
        """The redactions (number, id) of each of `event_ids` that are not applied to it.

        Where the event was known when one came, it may not be applied; else it waits for the event.
        """
        waiting: dict[str, list[tuple[int, str]]] = {}
        targets = [(pack_event_id(event_id),) for event_id in set(event_ids)]
        for target, number, packed in txn.batch(_WAITING_REDACTIONS, targets):
            waiting.setdefault(unpack_event_id(target), []).append((number, unpack_event_id(packed)))
        return waiting

    async def backwards(self, room: int, *, before: Place, after: Place, limit: int) -> list[Placed]:
        """At most `limit` events between two places, the latest first. Both ends are left out."""
        parameters = (room, *before, *after, limit)
        return _placed(await self._database.look("page back", _BACKWARDS, parameters))

    async def forwards(self, room: int, *, after: Place, before: Place, limit: int) -> list[Placed]:
        """At most `limit` events between two places, the earliest first. Both ends are left out."""
        parameters = (room, *after, *before, limit)
        return _placed(await self._database.look("page forward", _FORWARDS, parameters))

    async def states_between(
        self, room: int, *, after: Place, before: Place, backwards: bool, limit: int
    ) -> list[PlacedState]:
        """As `backwards` or `forwards`, with what tells who may see the events before any is read."""
        near, far = (before, after) if backwards else (after, before)
        sql = _STATES_BACKWARDS if backwards else _STATES_FORWARDS
        rows = await self._database.look("page", sql, (room, *near, *far, limit))
        return [
            PlacedState(
                number,
                Place(topo, position),
                None if branch is None else StateAt(branch, revision),
                after_revision is not None,
            )
            for number, topo, position, branch, revision, after_revision in rows
        ]

    async def between(self, room: int, *, after: int, upto: int, limit: int) -> list[Placed]:
        """The latest `limit` events of the room with `after` < position <= `upto`, the latest first."""
        return await self._database.read(
            "events since", lambda txn: self.between_txn(txn, room, after=after, upto=upto, limit=limit)
        )

    def between_txn(self, txn: Transaction, room: int, *, after: int, upto: int, limit: int) -> list[Placed]:
        """As `between`, inside a transaction of the caller's."""
        return _placed(txn.rows(_BETWEEN, (room, after, upto, limit)))

    def latest_txn(
        self, txn: Transaction, wanted: Iterable[tuple[int, int, int]], limit: int
    ) -> dict[int, list[Placed]]:
        """For each (room, after, upto) what `between` gives, by room; `limit` is above 0."""
        found: dict[int, list[Placed]] = {}
        for room, number, topo, position in txn.batch(_latest(limit), list(wanted)):
            found.setdefault(room, []).append(Placed(number, Place(topo, position)))
        return found

    def top_txn(self, txn: Transaction, room: int) -> int:
        """The largest `topo` of the room's events; 0 where there is none."""
        row = txn.row(_TOP, (room,))
        return row[0] if row and row[0] is not None else 0

    def last_positions_txn(self, txn: Transaction) -> dict[int, int]:
        """For every room that has events, the position of the latest."""
        return {room: position for room, position in txn.rows(_LAST_POSITIONS) if position is not None}


def _placed(rows: Sequence[tuple[Any, ...]]) -> list[Placed]:
    return [Placed(number, Place(topo, position)) for number, topo, position in rows]


def _graph_row(row: tuple[Any, ...]) -> GraphRow:
    number, position, topo, *states, status, room = row[1:]
    before_branch, before_revision, after_branch, after_revision = states
    return GraphRow(
        room=room,
        number=number,
        position=position,
        topo=topo,
        before=None if before_branch is None else StateAt(before_branch, before_revision),
        after=None if after_branch is None else StateAt(after_branch, after_revision),
        rejected=bool(status & REJECTED),
        soft_failed=bool(status & SOFT_FAILED),
    )


def _memory_of(stored: StoredEvent) -> int:
    """About how many bytes a cached event holds: the JSON, its decoded content, and the records."""
    return 2 * len(stored.event.json) + 1000


def _stored(row: tuple[Any, ...], room_id: str, ids: dict[int, str]) -> StoredEvent:
    status = row[3]
    return StoredEvent(
        event=Event.decode(row[13], unpack_event_id(row[1]), room_id),
        number=row[0],
        position=row[4],
        topo=row[5],
        before=None if row[6] is None else StateAt(row[6], row[7]),
        after=None if row[8] is None else StateAt(row[8], row[9]),
        rejected=bool(status & REJECTED),
        soft_failed=bool(status & SOFT_FAILED),
        thread=None if row[10] is None else unpack_event_id(row[10]),
        notify_count=row[11],
        highlight_count=row[12],
        redacted_by=None if row[14] is None else ids.get(row[14]),
    )
