# SPDX-License-Identifier: Apache-2.0
"""Account data, global and of rooms; a room's tags are its account data of type `m.tag`.

spec: client-server-api, "Client Config" and "Room Tagging".
"""

from __future__ import annotations

from typing import Any

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, last_of_each

GLOBAL = 0
"""The room number of account data that belongs to no room."""

_UPSERT = Batch(
    "INSERT INTO account_data (account, room, type, content, position)"
    " SELECT v.account, v.room, v.type, v.content, base.value + v.i FROM base, v WHERE true"
    " ON CONFLICT (account, room, type) DO UPDATE SET content = excluded.content,"
    " position = excluded.position",
    columns={"i": INTEGER, "account": INTEGER, "room": INTEGER, "type": BYTES, "content": BYTES},
)
_SELECT = "SELECT account, room, type, content, position FROM account_data"
_GET = f"{_SELECT} WHERE account = ? AND room = ? AND type = ?"
_SINCE = f"{_SELECT} WHERE account = ? AND position > ? ORDER BY position"
_OF_ROOM = f"{_SELECT} WHERE account = ? AND room = ? ORDER BY position"


@attrs.frozen
class AccountData:
    """One type of a user's account data; `content` is JSON of an object.

    As a record to be written, `index` gives its position; as one read, `position` is that of its last change.
    """

    account: int
    room: int
    type: str
    content: bytes
    index: int = 0
    position: int = 0


def _row(i: int, record: AccountData) -> tuple[Any, ...]:
    return (i, record.account, record.room, record.type.encode(), record.content)


WRITINGS = (
    Writing(AccountData, _UPSERT, last_of_each(lambda r: (r.account, r.room, r.type), _row), positioned=True),
)


class AccountDataStore:
    """Reads account data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: int, room: int, type_: str) -> AccountData | None:
        """The user's data of this type in the room (or `GLOBAL`), or None."""
        return await self._database.read("account data", lambda txn: self.get_txn(txn, account, room, type_))

    def get_txn(self, txn: Transaction, account: int, room: int, type_: str) -> AccountData | None:
        """As `get`, inside a transaction of the caller's."""
        row = txn.row(_GET, (account, room, type_.encode()))
        return None if row is None else _account_data(row)

    async def since(self, account: int, position: int) -> list[AccountData]:
        """All of the user's data, of every room, that changed after `position`, in order."""
        return await self._database.read(
            "account data since", lambda txn: self.since_txn(txn, account, position)
        )

    def since_txn(self, txn: Transaction, account: int, position: int) -> list[AccountData]:
        """As `since`, inside a transaction of the caller's."""
        return [_account_data(row) for row in txn.rows(_SINCE, (account, position))]

    async def of_room(self, account: int, room: int) -> list[AccountData]:
        """All of the user's data of one room."""
        rows = await self._database.read("room account data", lambda txn: txn.rows(_OF_ROOM, (account, room)))
        return [_account_data(row) for row in rows]


def _account_data(row: tuple[Any, ...]) -> AccountData:
    account, room, type_, content, position = row
    return AccountData(account, room, type_.decode(), content, position=position)
