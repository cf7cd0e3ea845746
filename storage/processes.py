# SPDX-License-Identifier: Apache-2.0
"""The processes that serve one homeserver: heartbeats, and secrets that they share. PostgreSQL only."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from storage.engine.database import Database, Transaction

# The statement reads the rows as they were before it, so that it also tells how long the process was not
# heard of. Nobody waits for the disk: what a crash of the server loses is written again a second later.
_BEAT = (
    "WITH beaten AS ("
    "INSERT INTO processes (process, address, draining) VALUES (?, ?, ? = 1)"
    " ON CONFLICT (process) DO UPDATE SET address = excluded.address, draining = excluded.draining,"
    " heartbeat = clock_timestamp()"
    "), forgotten AS ("
    "DELETE FROM processes WHERE process IN (SELECT process FROM processes WHERE process <> ?"
    " AND heartbeat < clock_timestamp() - interval '1 hour' FOR UPDATE SKIP LOCKED)"
    ")"
    "SELECT counters.value, processes.process, processes.address, processes.draining,"
    " extract(epoch FROM clock_timestamp() - processes.heartbeat)::float8,"
    " set_config('synchronous_commit', 'off', true)"
    " FROM counters LEFT JOIN processes ON true WHERE counters.name = 'position'"
)
_REMOVE = "DELETE FROM processes WHERE process = ?"
_ADD_SECRET = "INSERT INTO secrets (secret, value) VALUES (?, ?) ON CONFLICT (secret) DO NOTHING"
_SECRET = "SELECT value FROM secrets WHERE secret = ?"
_SECRET_LENGTH = 32


@attrs.frozen
class ProcessRow:
    """A process, and how many seconds ago it was heard of, by the clock of the database."""

    process: str
    address: str
    draining: bool
    age: float


@attrs.frozen
class Heard:
    """What a heartbeat found: all rows as they were before it, one's own too, and the position counter."""

    rows: Sequence[ProcessRow]
    position: int


class Processes:
    """The table of processes.

    `database` is best one of its own with a single reader, so that a heartbeat never waits for a thread.
    """

    def __init__(self, database: Database) -> None:
        """Raises `ValueError` for SQLite, which one process alone uses."""
        if database.dialect != "postgresql":
            raise ValueError("several processes need PostgreSQL")
        self._database = database

    async def beat(self, process: str, address: str, *, draining: bool) -> Heard:
        """Say that `process` is alive: the first time, and also if somebody took it out, that makes its row.

        Rows that were not heard of for an hour go.
        """

        def beat_txn(txn: Transaction) -> Heard:
            found = txn.rows(_BEAT, (process, address, int(draining), process))
            if not found:
                raise RuntimeError("the counters table has no row for positions")
            rows = tuple(ProcessRow(*row[1:5]) for row in found if row[1] is not None)
            return Heard(rows, position=found[0][0])

        return await self._database.write("heartbeat", beat_txn)

    async def remove(self, process: str) -> None:
        """Take a process out that has ended: said by itself, or by whoever knows that it is dead."""
        await self._database.write("remove process", lambda txn: txn.execute(_REMOVE, (process,)))

    async def secret(self, name: str) -> bytes:
        """32 random bytes, the same for all processes; made when `name` is asked for the first time."""

        def secret_txn(txn: Transaction) -> bytes:
            txn.execute(_ADD_SECRET, (name, os.urandom(_SECRET_LENGTH)))
            row = txn.row(_SECRET, (name,))
            if row is None:
                raise RuntimeError(f"the secret {name} was taken out of the database")
            return bytes(row[0])

        return await self._database.write("secret", secret_txn)
