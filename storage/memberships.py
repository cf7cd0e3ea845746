# SPDX-License-Identifier: Apache-2.0
"""Where each local user stands in each room now, and since which position."""

from __future__ import annotations

from typing import Any

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import INTEGER, Batch
from storage.state import MEMBERSHIPS
from storage.writing import Writing, last_of_each

_COLUMNS = ("i", "account", "room", "membership", "event", "forgotten")
_UPSERT = Batch(
    "INSERT INTO memberships (account, room, membership, event, forgotten, position)"
    " SELECT v.account, v.room, v.membership, v.event, v.forgotten, base.value + v.i FROM base, v WHERE true"
    " ON CONFLICT (account, room) DO UPDATE SET membership = excluded.membership, event = excluded.event,"
    " forgotten = excluded.forgotten, position = excluded.position",
    columns=dict.fromkeys(_COLUMNS, INTEGER),
)
_SELECT = "SELECT account, room, membership, event, forgotten, position FROM memberships"
_OF_ACCOUNT = f"{_SELECT} WHERE account = ?"
_OF_ROOM = f"{_SELECT} WHERE room = ?"
_OF = f"{_SELECT} WHERE account = ? AND room = ?"
_ANYBODY_JOINED = (
    f"SELECT 1 FROM memberships WHERE room = ? AND membership = {MEMBERSHIPS.index('join')} LIMIT 1"
)
_SINCE = f"{_SELECT} WHERE position > ? ORDER BY position"


@attrs.frozen
class Membership:
    """A local user's membership of a room; `event` is the number of the member event.

    `forgotten` once the user has asked to forget a room that they have left. As a record to be written,
    `index` gives its position; as one read, `position` is that of the change.
    """

    account: int
    room: int
    membership: str
    event: int
    forgotten: bool = False
    position: int = 0
    index: int = 0


def _row(i: int, record: Membership) -> tuple[Any, ...]:
    membership = MEMBERSHIPS.index(record.membership)
    return (i, record.account, record.room, membership, record.event, int(record.forgotten))


WRITINGS = (Writing(Membership, _UPSERT, last_of_each(lambda r: (r.account, r.room), _row), positioned=True),)


class Memberships:
    """Reads memberships of local users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_account(self, account: int) -> list[Membership]:
        """All rooms that the user has a membership of, forgotten ones included."""
        return await self._database.read("memberships", lambda txn: self.of_account_txn(txn, account))

    def of_account_txn(self, txn: Transaction, account: int) -> list[Membership]:
        """As `of_account`, inside a transaction of the caller's."""
        return [_membership(row) for row in txn.rows(_OF_ACCOUNT, (account,))]

    def get_txn(self, txn: Transaction, account: int, room: int) -> Membership | None:
        """The user's membership of the room."""
        row = txn.row(_OF, (account, room))
        return None if row is None else _membership(row)

    def is_anybody_joined_txn(self, txn: Transaction, room: int) -> bool:
        """Whether a local user is joined to the room, and so this server is in it."""
        return txn.row(_ANYBODY_JOINED, (room,)) is not None

    def of_room_txn(self, txn: Transaction, room: int) -> list[Membership]:
        """The local users who have a membership of the room."""
        return [_membership(row) for row in txn.rows(_OF_ROOM, (room,))]

    def since_txn(self, txn: Transaction, position: int) -> list[Membership]:
        """Memberships that changed after `position`, in order."""
        return [_membership(row) for row in txn.rows(_SINCE, (position,))]


def _membership(row: tuple[Any, ...]) -> Membership:
    account, room, membership, event, forgotten, position = row
    return Membership(account, room, MEMBERSHIPS[membership], event, bool(forgotten), position)
