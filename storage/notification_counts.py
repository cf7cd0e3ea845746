# SPDX-License-Identifier: Apache-2.0
"""Cumulative counts of notifying events: of the threads of a room, and of any thread at any position.

An event carries the counts of its own thread (`StoredEvent`); they are read from there. What was backfilled
counts for nobody.

spec: client-server-api, "Receiving notifications".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.event_ids import pack_event_id, unpack_event_id
from storage.threads import MAIN, NO_COUNTS, CountsAt, pack_thread
from storage.writing import Writing, last_of_each

LATEST_THREADS: Final = 1_000
"""So many threads of a room are read where those of many rooms are."""

_LATEST_EVENTS: Final = 200

_UPSERT_THREAD = Batch(
    "INSERT INTO thread_counts (room, thread, position, notify_count, highlight_count)"
    " SELECT v.room, v.thread, base.value + v.i, v.notify_count, v.highlight_count FROM base, v WHERE true"
    " ON CONFLICT (room, thread) DO UPDATE SET position = excluded.position,"
    " notify_count = excluded.notify_count, highlight_count = excluded.highlight_count",
    columns={
        "i": INTEGER, "room": INTEGER, "thread": BYTES, "notify_count": INTEGER, "highlight_count": INTEGER,
    },
)  # fmt: skip
_THREADS_OF_ROOMS = Batch(
    "SELECT t.room, t.thread, t.position, t.notify_count, t.highlight_count FROM v JOIN thread_counts t"
    " ON t.room = v.room AND t.position > coalesce((SELECT x.position FROM thread_counts x"
    f" WHERE x.room = v.room ORDER BY x.position DESC LIMIT 1 OFFSET {LATEST_THREADS}), 0)"
    " ORDER BY t.room, t.position",
    columns={"room": INTEGER},
)
_THREADS = (
    "SELECT thread, position, notify_count, highlight_count FROM thread_counts WHERE room = ?"
    " ORDER BY position DESC LIMIT ?"
)
_MAIN_AT = Batch(
    "SELECT e.room, e.position, e.notify_count, e.highlight_count FROM v JOIN events e ON e.room = v.room"
    " AND e.position = (SELECT x.position FROM events x WHERE x.room = v.room AND x.position > 0"
    " AND x.position <= v.position AND x.thread IS NULL AND x.status = 0 ORDER BY x.position DESC LIMIT 1)",
    columns={"room": INTEGER, "position": INTEGER},
)
_THREAD_AT = Batch(
    "SELECT e.room, e.thread, e.position, e.notify_count, e.highlight_count FROM v JOIN events e"
    " ON e.room = v.room AND e.position = (SELECT x.position FROM events x WHERE x.room = v.room"
    " AND x.thread = v.thread AND x.position > 0 AND x.position <= v.position AND x.status = 0"
    " ORDER BY x.position DESC LIMIT 1)",
    columns={"room": INTEGER, "thread": BYTES, "position": INTEGER},
)
_LATEST_THREADED = (
    "SELECT event_id, thread FROM (SELECT event_id, thread, position FROM events WHERE room = ?"
    f" AND position > 0 ORDER BY position DESC LIMIT {_LATEST_EVENTS}) AS latest"
    " WHERE thread IS NOT NULL ORDER BY position"
)
_NOW = 2**62


@attrs.frozen
class ThreadCounts:
    """The counts of a thread of the room, other than the main timeline, at an event that notifies."""

    room: int
    thread: str
    index: int
    notify: int
    highlight: int


def _thread_row(i: int, r: ThreadCounts) -> tuple[Any, ...]:
    return (i, r.room, pack_thread(r.thread), r.notify, r.highlight)


WRITINGS = (
    Writing(
        ThreadCounts,
        _UPSERT_THREAD,
        last_of_each(lambda r: (r.room, r.thread), _thread_row),
        positioned=True,
    ),
)


class ThreadCountsStore:
    """Reads counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def at(self, room: int, thread: str, position: int) -> CountsAt:
        """The counts of a thread of the room, `MAIN` or a root's event id, as they were at `position`."""
        wanted = [(room, thread, position)]

        def read(txn: Transaction) -> CountsAt:
            if thread == MAIN:
                return self.main_at_txn(txn, [(room, position)])[room]
            return self.threads_at_txn(txn, wanted).get((room, thread), NO_COUNTS)

        return await self._database.read("counts", read)

    async def threads_at(self, wanted: Iterable[tuple[int, str, int]]) -> Mapping[tuple[int, str], CountsAt]:
        """For each (room, root's event id, position): the counts there, under the first two."""
        rows = list(wanted)
        return await self._database.read("counts", lambda txn: self.threads_at_txn(txn, rows))

    def threads_at_txn(
        self, txn: Transaction, wanted: Sequence[tuple[int, str, int]]
    ) -> dict[tuple[int, str], CountsAt]:
        """As `threads_at`, inside a transaction of the caller's."""
        rows = [(room, pack_event_id(thread), position) for room, thread, position in wanted]
        found = {(room, thread): NO_COUNTS for room, thread, _ in wanted}
        for room, thread, *counts in txn.batch(_THREAD_AT, rows):
            found[room, unpack_event_id(thread)] = CountsAt(*counts)
        return found

    def main_at_txn(self, txn: Transaction, wanted: Sequence[tuple[int, int]]) -> dict[int, CountsAt]:
        """For each (room, position): the counts of the room's main timeline there."""
        found = {room: NO_COUNTS for room, _ in wanted}
        for room, *counts in txn.batch(_MAIN_AT, wanted):
            found[room] = CountsAt(*counts)
        return found

    def main_now_txn(self, txn: Transaction, rooms: Iterable[int]) -> dict[int, CountsAt]:
        """The counts of the main timeline of each of the rooms."""
        return self.main_at_txn(txn, [(room, _NOW) for room in rooms])

    def threads_of_rooms_txn(self, txn: Transaction, rooms: Iterable[int]) -> dict[int, dict[str, CountsAt]]:
        """The `LATEST_THREADS` threads of each room that notified last, by root, the latest at the end."""
        found: dict[int, dict[str, CountsAt]] = {room: {} for room in rooms}
        for room, thread, *counts in txn.batch(_THREADS_OF_ROOMS, [(room,) for room in found]):
            found[room][unpack_event_id(thread)] = CountsAt(*counts)
        return found

    def threads_txn(self, txn: Transaction, room: int, *, most: int) -> dict[str, CountsAt]:
        """The `most` threads of the room that notified last, by root, the latest first."""
        rows = txn.rows(_THREADS, (room, most))
        return {unpack_event_id(thread): CountsAt(*counts) for thread, *counts in rows}

    def latest_threaded_txn(self, txn: Transaction, room: int) -> dict[str, str]:
        """Of the latest events of the room those in threads: the root by the event's id, oldest first."""
        return {unpack_event_id(e): unpack_event_id(t) for e, t in txn.rows(_LATEST_THREADED, (room,))}
