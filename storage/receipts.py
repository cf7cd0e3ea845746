# SPDX-License-Identifier: Apache-2.0
"""Read receipts, public and private, threaded and not.

spec: client-server-api, "Receipts".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.event_ids import pack_event_id, unpack_event_id
from storage.writing import Writing, last_of_each

_COLUMNS = {
    "i": INTEGER,
    "room": INTEGER,
    "reader": INTEGER,
    "private": INTEGER,
    "thread": BYTES,
    "event_id": BYTES,
    "received_ts": INTEGER,
}
_UPSERT = Batch(
    "INSERT INTO receipts (room, reader, private, thread, event_id, received_ts, position)"
    " SELECT v.room, v.reader, v.private, v.thread, v.event_id, v.received_ts, base.value + v.i FROM base, v"
    " WHERE true ON CONFLICT (room, reader, private, thread) DO UPDATE SET event_id = excluded.event_id,"
    " received_ts = excluded.received_ts, position = excluded.position",
    columns=_COLUMNS,
)
_FIELDS = "r.room, r.reader, r.private, r.thread, r.event_id, r.received_ts, r.position"
_SINCE = Batch(
    f"SELECT {_FIELDS} FROM v JOIN receipts r ON r.room = v.room AND r.position > v.position",
    columns={"room": INTEGER, "position": INTEGER},
)
_OF_READER = f"SELECT {_FIELDS} FROM receipts r WHERE r.room = ? AND r.reader = ?"
_LAST_POSITIONS = "SELECT room, max(position) FROM receipts GROUP BY room"


@attrs.frozen
class Receipt:
    """A user has read up to the event `event_id`.

    `thread` is None (unthreaded), "main", or a root's event id. `received_ts` in milliseconds.
    As a record to be written, `index` gives its position; as one read, `position` is that of its last change.
    """

    room: int
    reader: int
    private: bool
    thread: str | None
    event_id: str
    received_ts: int
    index: int = 0
    position: int = 0


def _row(i: int, r: Receipt) -> tuple[Any, ...]:
    thread = (r.thread or "").encode()
    return (i, r.room, r.reader, int(r.private), thread, pack_event_id(r.event_id), r.received_ts)


WRITINGS = (
    Writing(
        Receipt,
        _UPSERT,
        last_of_each(lambda r: (r.room, r.reader, r.private, r.thread), _row),
        positioned=True,
    ),
)


class Receipts:
    """Reads receipts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, rooms: Iterable[tuple[int, int]]) -> list[Receipt]:
        """For each (room, position): the receipts in it that changed after the position; in no order."""
        rows = list(rooms)
        found = await self._database.read("receipts", lambda txn: txn.batch(_SINCE, rows))
        return [_receipt(row) for row in found]

    async def of_reader(self, room: int, reader: int) -> list[Receipt]:
        """All receipts of one user in one room."""
        return await self._database.read("own receipts", lambda txn: self.of_reader_txn(txn, room, reader))

    def of_reader_txn(self, txn: Transaction, room: int, reader: int) -> list[Receipt]:
        """As `of_reader`, inside a transaction of the caller's."""
        return [_receipt(row) for row in txn.rows(_OF_READER, (room, reader))]

    def last_positions_txn(self, txn: Transaction) -> dict[int, int]:
        """For every room that has receipts, the position of the latest."""
        return dict(txn.rows(_LAST_POSITIONS))


def _receipt(row: tuple[Any, ...]) -> Receipt:
    room, reader, private, thread, event_id, received_ts, position = row
    return Receipt(
        room=room,
        reader=reader,
        private=bool(private),
        thread=thread.decode() or None,
        event_id=unpack_event_id(event_id),
        received_ts=received_ts,
        position=position,
    )
