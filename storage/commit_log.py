# SPDX-License-Identifier: Apache-2.0
"""The log of commits, by which the processes of one homeserver learn of each other's changes.

A commit that others must take note of takes at least one position and writes one row in its own transaction,
so the rows form a chain: what follows upon position p is the row whose `base` is p.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import msgspec

from storage.commit_records import pack_events, stored_numbers
from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, TEXT, Batch, Row
from storage.persist import Unit

_INSERT = Batch(
    "INSERT INTO commit_log (base, upto, process, records)"
    " SELECT base.value, base.value + v.taken, v.process, v.records FROM base, v",
    columns={"taken": INTEGER, "process": TEXT, "records": BYTES},
)
_SINCE = "SELECT base, upto, process, records FROM commit_log WHERE base >= ? ORDER BY base LIMIT ?"
_JSON = Batch(
    "SELECT v.event, j.json FROM v JOIN event_json j ON j.event = v.event", columns={"event": INTEGER}
)
_DELETE = "DELETE FROM commit_log WHERE base < ?"

MOST_ROWS = 100
"""So many rows are read at once."""


@attrs.frozen
class LogEntry:
    """A commit that took the positions `base` + 1 to `upto`.

    `records` are what others take note of, packed; `events` the JSON of the events among them, packed, or
    None where it must be read.
    """

    base: int
    upto: int
    process: str
    records: bytes = attrs.field(repr=False)
    events: bytes | None = attrs.field(default=None, repr=False)


class CommitLog:
    """Reads and writes the log. `process` is the writer's id; programs beside the servers have a name."""

    def __init__(self, database: Database, *, process: str) -> None:
        self._database = database
        self.process = process

    def writing(self, records: bytes, positions: int) -> tuple[Batch, Sequence[Row]]:
        """The statement that notes a commit which takes so many positions."""
        return _INSERT, [(positions, self.process, records)]

    def entry(self, base: int, units: Sequence[tuple[int, Unit]], records: bytes, positions: int) -> LogEntry:
        """The entry of a commit of one's own, with the events."""
        return LogEntry(base, base + positions, self.process, records, pack_events(unit for _, unit in units))

    async def since(self, position: int) -> list[LogEntry]:
        """What was committed after `position`, in order, at most `MOST_ROWS` entries, with their events."""

        def read(txn: Transaction) -> tuple[list[LogEntry], dict[int, bytes]]:
            entries = [LogEntry(*row) for row in txn.rows(_SINCE, (position, MOST_ROWS))]
            numbers = sorted({n for entry in entries for n in stored_numbers(entry.records)})
            return entries, dict(txn.batch(_JSON, [(number,) for number in numbers]))

        entries, jsons = await self._database.read("commit log", read)
        return [_with_events(entry, jsons) for entry in entries]

    async def forget(self, before: int) -> None:
        """Delete what was committed before the position `before`."""
        await self._database.write("forget the commit log", lambda txn: txn.execute(_DELETE, (before,)))


def _with_events(entry: LogEntry, jsons: dict[int, bytes]) -> LogEntry:
    numbers = stored_numbers(entry.records)
    found = {number: jsons[number] for number in numbers if number in jsons}
    return attrs.evolve(entry, events=msgspec.msgpack.encode(found))
