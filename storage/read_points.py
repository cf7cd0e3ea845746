# SPDX-License-Identifier: Apache-2.0
"""Up to where each local user has read, by thread, with the cumulative counts there.

A point never moves back. spec: client-server-api, "Marking notifications as read".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from storage.engine.database import Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.threads import EVERY_THREAD, CountsAt, pack_thread, unpack_thread
from storage.writing import Indexed, Writing, last_of_each

_KEY = {"account": INTEGER, "room": INTEGER, "thread": BYTES}
_COUNTS = {"notify_count": INTEGER, "highlight_count": INTEGER}
_FORWARD = (
    " ON CONFLICT (account, room, thread) DO UPDATE SET position = excluded.position,"
    " notify_count = excluded.notify_count, highlight_count = excluded.highlight_count"
    " WHERE excluded.position > read_points.position"
)
_UPSERT_HERE = Batch(
    "INSERT INTO read_points (account, room, thread, position, notify_count, highlight_count)"
    " SELECT v.account, v.room, v.thread, base.value + v.i, v.notify_count, v.highlight_count FROM base, v"
    " WHERE true" + _FORWARD,
    columns={"i": INTEGER, **_KEY, **_COUNTS},
)
_UPSERT_UPTO = Batch(
    "INSERT INTO read_points (account, room, thread, position, notify_count, highlight_count)"
    " SELECT v.account, v.room, v.thread, v.position, v.notify_count, v.highlight_count FROM v"
    " WHERE true" + _FORWARD,
    columns={**_KEY, "position": INTEGER, **_COUNTS},
)
# A point of one thread says nothing any more once all of the room is read beyond it.
_DELETE_OVERTAKEN = Batch(
    "DELETE FROM read_points WHERE (account, room, thread) IN (SELECT p.account, p.room, p.thread FROM v"
    " JOIN read_points p ON p.account = v.account AND p.room = v.room AND p.position <= v.position"
    " WHERE v.every_thread = 1 AND length(p.thread) > 0)",
    columns={"account": INTEGER, "room": INTEGER, "position": INTEGER, "every_thread": INTEGER},
)
_POINTS = Batch(
    "SELECT p.room, p.thread, p.position, p.notify_count, p.highlight_count FROM v JOIN read_points p"
    " ON p.account = v.account AND p.room = v.room",
    columns={"account": INTEGER, "room": INTEGER},
)


@attrs.frozen
class ReadHere:
    """The user has read up to the event that the record is written with: they have joined, or sent it.

    `thread` is `EVERY_THREAD` (the counts are the main timeline's then), `MAIN` or a root's event id;
    `index` gives the position.
    """

    account: int
    room: int
    thread: str
    index: int
    notify: int
    highlight: int


@attrs.frozen
class ReadUpTo:
    """The user has read up to an earlier event. `thread` and the counts are as in `ReadHere`."""

    account: int
    room: int
    thread: str
    counts: CountsAt


def _here_row(i: int, r: ReadHere) -> tuple[Any, ...]:
    return (i, r.account, r.room, pack_thread(r.thread), r.notify, r.highlight)


def _furthest(records: Sequence[Indexed[ReadUpTo]]) -> list[ReadUpTo]:
    furthest: dict[tuple[int, int, str], ReadUpTo] = {}
    for _, record in records:
        key = (record.account, record.room, record.thread)
        known = furthest.get(key)
        if known is None or known.counts.position < record.counts.position:
            furthest[key] = record
    return list(furthest.values())


def _upto_rows(records: Sequence[Indexed[ReadUpTo]]) -> list[tuple[Any, ...]]:
    return [(r.account, r.room, pack_thread(r.thread), *r.counts) for r in _furthest(records)]


def _overtaken_rows(records: Sequence[Indexed[ReadUpTo]]) -> list[tuple[Any, ...]]:
    return [(r.account, r.room, r.counts.position, int(r.thread == EVERY_THREAD)) for r in _furthest(records)]


WRITINGS = (
    Writing(ReadUpTo, _UPSERT_UPTO, _upto_rows),
    Writing(ReadUpTo, _DELETE_OVERTAKEN, _overtaken_rows),
    Writing(
        ReadHere,
        _UPSERT_HERE,
        last_of_each(lambda r: (r.account, r.room, r.thread), _here_row),
        positioned=True,
    ),
)


class ReadPoints:
    """Reads how far users have read."""

    def of_rooms_txn(
        self, txn: Transaction, account: int, rooms: Iterable[int]
    ) -> dict[int, dict[str, CountsAt]]:
        """The user's points in each of the rooms, by thread."""
        found: dict[int, dict[str, CountsAt]] = {room: {} for room in rooms}
        for room, thread, *counts in txn.batch(_POINTS, [(account, room) for room in found]):
            found[room][unpack_thread(thread)] = CountsAt(*counts)
        return found
