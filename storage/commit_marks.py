# SPDX-License-Identifier: Apache-2.0
"""Marks by which a process finds out whether a commit of its own was done when nobody told it."""

from __future__ import annotations

import os

from storage.engine.database import Database, Transaction
from storage.engine.statement import INTEGER, TEXT, Batch, Row

_SPOILT = -1

# A batch whose number is taken already was looked up and given up: NULL is refused, and all of it with that.
_MARK = Batch(
    "INSERT INTO counters (name, value) SELECT v.name, v.value + v.based * base.value FROM base, v WHERE true"
    " ON CONFLICT (name) DO UPDATE SET value = CASE WHEN counters.value < excluded.value"
    " OR substr(counters.name, 1, 5) = 'base:' THEN excluded.value END",
    columns={"name": TEXT, "value": INTEGER, "based": INTEGER},
)
_READ = "SELECT value FROM counters WHERE name = ?"
_TAKE = (
    "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    " WHERE counters.value < excluded.value RETURNING value"
)
_SPOIL = (
    f"INSERT INTO counters (name, value) VALUES (?, {_SPOILT})"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_FORGET = "DELETE FROM counters WHERE name = ? OR name = ?"


class CommitMarks:
    """Every batch of a process writes its number, counted upwards from 1, and its base."""

    def __init__(self, database: Database) -> None:
        self._database = database
        process = os.urandom(8).hex()
        self._number_mark = f"commit:{process}"
        self._base_mark = f"base:{process}"

    def of(self, number: int) -> tuple[Batch, list[Row]]:
        """The statement and rows that mark the batch `number`."""
        return _MARK, [(self._number_mark, number, 0), (self._base_mark, 0, 1)]

    async def base_of(self, number: int) -> int | None:
        """The base of the batch `number`, which was sent last; None: it is not committed and never will be.

        Raises `DatabaseError` where that cannot be found out at present.
        """
        if self._database.dialect == "sqlite":
            return await self._database.read("find out", lambda txn: self._look_txn(txn, number))
        return await self._database.write("find out", lambda txn: self._settle_txn(txn, number))

    async def forget(self) -> None:
        """Take the marks out of the database. Raises `DatabaseError`."""
        marks = (self._number_mark, self._base_mark)
        await self._database.write("forget marks", lambda txn: txn.execute(_FORGET, marks))

    def _settle_txn(self, txn: Transaction, number: int) -> int | None:
        """Look, and where the batch is not there, take its number away from it.

        The server may still have before it what was sent over a connection that broke. Its commit is waited
        for if it has begun, and fails if it has not.
        """
        if txn.row(_TAKE, (self._number_mark, number)) is not None:
            txn.execute(_SPOIL, (self._base_mark,))
        return self._look_txn(txn, number)

    def _look_txn(self, txn: Transaction, number: int) -> int | None:
        marked, base = txn.row(_READ, (self._number_mark,)), txn.row(_READ, (self._base_mark,))
        if marked is None or base is None or marked[0] != number or base[0] == _SPOILT:
            return None
        return int(base[0])
