# SPDX-License-Identifier: Apache-2.0
"""Leases: work that one process does at a time, and that its writes ask for. PostgreSQL only."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, last_of_each

_TAKE = (
    "INSERT INTO leases (lease, process, generation) VALUES (?, ?, 1) ON CONFLICT (lease) DO UPDATE"
    " SET process = excluded.process, generation = leases.generation + 1 RETURNING generation"
)
# NULL for a process is refused, and all of the transaction with it: at once where the lease has another
# generation or is not there, else once its row is locked, so that whoever takes it over waits for the commit.
_HELD = Batch(
    "INSERT INTO leases (lease, process, generation) SELECT v.lease,"
    " (SELECT held.process FROM leases held WHERE held.lease = v.lease AND held.generation = v.generation),"
    " v.generation FROM v WHERE true"
    " ON CONFLICT (lease) DO UPDATE SET process ="
    " CASE WHEN leases.generation = excluded.generation THEN leases.process END",
    columns={"lease": BYTES, "generation": INTEGER},
)
_GENERATIONS = Batch(
    "SELECT leases.lease, leases.generation FROM v JOIN leases ON leases.lease = v.lease",
    columns={"lease": BYTES},
)


@attrs.frozen
class HeldLease:
    """A lease as it was taken, and a record that makes a unit depend on it.

    The unit is refused with `DataError` unless the lease has this generation until it is committed.
    """

    name: str
    generation: int


# Several units of a batch may ask for one lease. Of two generations, one is refused before it meets the row.
WRITINGS = (
    Writing(
        HeldLease,
        _HELD,
        last_of_each(lambda r: (r.name, r.generation), lambda _i, r: (r.name.encode(), r.generation)),
    ),
)


class Leases:
    """Takes leases."""

    def __init__(self, database: Database) -> None:
        """Raises `ValueError` for SQLite, which one process alone uses."""
        if database.dialect != "postgresql":
            raise ValueError("leases need PostgreSQL")
        self._database = database

    async def take(self, name: str, process: str) -> HeldLease:
        """Take the lease over for `process`, after a commit under way that asks for it.

        From now on, whoever had it before cannot write.
        """
        row = await self._database.write("take lease", lambda txn: txn.row(_TAKE, (name.encode(), process)))
        if row is None:
            raise RuntimeError(f"the lease {name} was not written")
        return HeldLease(name, generation=row[0])

    async def generations(self, names: Sequence[str]) -> dict[str, int]:
        """The generations of those of the leases that somebody has ever taken."""
        asked = [(name.encode(),) for name in names]
        rows = await self._database.read("leases", lambda txn: txn.batch(_GENERATIONS, asked))
        return {name.decode(): generation for name, generation in rows}
