# SPDX-License-Identifier: Apache-2.0
"""Memberships of rooms that this server is not in: what stands beside their row in `memberships`.

A row says that the membership of its account and room came without the room, as an outlier: what the room
looks like to whoever is invited to it or knocks on it, and when that began. Every other membership of the
same account and room, such as the join that takes the invite up, deletes it in the same commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, TEXT, Batch
from storage.memberships import Membership
from storage.writing import Writing, last_of_each

_COLUMNS = {
    "i": INTEGER,
    "account": INTEGER,
    "room": INTEGER,
    "event": INTEGER,
    "version": TEXT,
    "stripped_state": BYTES,
}
# Comes before the rows of the same commit. Who forgets a room that they have left does not leave it anew.
_DELETE = Batch(
    "DELETE FROM out_of_band_memberships WHERE (account, room) IN (SELECT o.account, o.room FROM v"
    " JOIN out_of_band_memberships o ON o.account = v.account AND o.room = v.room"
    " WHERE o.event <> v.event OR v.forgotten = 0)",
    columns=dict.fromkeys(("account", "room", "event", "forgotten"), INTEGER),
)
_UPSERT = Batch(
    "INSERT INTO out_of_band_memberships (account, room, event, version, stripped_state, position)"
    " SELECT v.account, v.room, v.event, v.version, v.stripped_state, base.value + v.i FROM base, v"
    " WHERE true ON CONFLICT (account, room) DO UPDATE SET event = excluded.event,"
    " version = excluded.version, stripped_state = excluded.stripped_state, position = excluded.position",
    columns=_COLUMNS,
)
_OF_ROOMS = Batch(
    "SELECT o.account, o.room, o.event, o.version, o.stripped_state, o.position FROM v"
    " JOIN out_of_band_memberships o ON o.account = v.account AND o.room = v.room",
    columns={"account": INTEGER, "room": INTEGER},
)
_VERSION = (
    "SELECT version FROM out_of_band_memberships WHERE room = ? ORDER BY position DESC, account LIMIT 1"
)


@attrs.frozen
class OutOfBandMembership:
    """What was told from outside of a room in which a local user has an invite, a knock or a leave.

    `event` is the number of the member event, `version` the room's, `stripped_state` a JSON array. A
    `Membership` of the same event belongs into the same unit. As a record to be written, `index` gives its
    position; as one read, `position` is that of the change.
    """

    account: int
    room: int
    event: int
    version: str
    stripped_state: bytes = b"[]"
    position: int = 0
    index: int = 0


def _row(i: int, record: OutOfBandMembership) -> tuple[Any, ...]:
    return (i, record.account, record.room, record.event, record.version, record.stripped_state)


def _ended(_i: int, record: Membership) -> tuple[Any, ...]:
    return (record.account, record.room, record.event, int(record.forgotten))


WRITINGS = (
    Writing(Membership, _DELETE, last_of_each(lambda r: (r.account, r.room), _ended)),
    Writing(OutOfBandMembership, _UPSERT, last_of_each(lambda r: (r.account, r.room), _row), positioned=True),
)


class OutOfBandStore:
    """Reads what was told of rooms that this server is not in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_rooms(self, account: int, rooms: Iterable[int]) -> dict[int, OutOfBandMembership]:
        """The user's rows of those of the rooms that have one, by room."""
        wanted = list(rooms)
        return await self._database.read(
            "out-of-band memberships", lambda txn: self.of_rooms_txn(txn, account, wanted)
        )

    def of_rooms_txn(
        self, txn: Transaction, account: int, rooms: Iterable[int]
    ) -> dict[int, OutOfBandMembership]:
        """As `of_rooms`, inside a transaction of the caller's."""
        rows = txn.batch(_OF_ROOMS, [(account, room) for room in set(rooms)])
        return {row[1]: OutOfBandMembership(*row) for row in rows}

    def version_txn(self, txn: Transaction, room: int) -> str | None:
        """The version that was told last of a room; None where none was told."""
        row = txn.row(_VERSION, (room,))
        return None if row is None else row[0]
