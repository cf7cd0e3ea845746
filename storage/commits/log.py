# SPDX-License-Identifier: Apache-2.0
"""The log of commits, by which the processes of one homeserver learn of each other's changes.

A commit that others must take note of takes at least one position and writes one row in its own transaction,
so the rows form a chain: what follows upon position p is the row whose `base` is p.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from storage.commits.records import pack_events, pack_jsons, stored_numbers
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
"""So many commits are read at once."""

MOST_EVENTS = 1000
"""Of what is read at once, no more commits are returned than hold this many events, but at least one."""

MOST_BYTES = 4 * 2**20
"""The same for the sum of the sizes of packed records."""


@attrs.frozen
class LogEntry:
    """A commit that took the positions `base` + 1 to `upto`, made by the process with the id `process`.

    `records` are what others take note of, packed by `storage.commits.records`; `events` the JSON of the
    events among them, packed likewise, or None where it must be read.
    """

    base: int
    upto: int
    process: str
    records: bytes = attrs.field(repr=False)
    events: bytes | None = attrs.field(default=None, repr=False)


class CommitLog:
    """Reads and writes the log. `process` is the writer's id; programs beside the servers have a name.

    No two processes that run at a time may have the same id.
    """

    def __init__(self, database: Database, *, process: str) -> None:
        self._database = database
        self.process = process

    def writing(self, records: bytes, positions: int) -> tuple[Batch, Sequence[Row]]:
        """The statement that notes a commit which takes so many positions (at least one)."""
        return _INSERT, [(positions, self.process, records)]

    def entry(self, base: int, units: Iterable[Unit], records: bytes, positions: int) -> LogEntry:
        """The entry of a commit of one's own, with the events."""
        return LogEntry(base, base + positions, self.process, records, pack_events(units))

    async def since(self, position: int) -> list[LogEntry]:
        """What was committed after `position`, in order, with the events: the first of it, if it is much.

        Empty where nothing was, or where `forget` has taken it all. Raises `DatabaseError`.
        """

        def read(txn: Transaction) -> list[LogEntry]:
            entries = [LogEntry(*row) for row in txn.rows(_SINCE, (position, MOST_ROWS))]
            numbered = _first_of([(entry, stored_numbers(entry.records)) for entry in entries])
            numbers = sorted({number for _, of_entry in numbered for number in of_entry})
            jsons: dict[int, bytes] = dict(txn.batch(_JSON, [(number,) for number in numbers]))
            return [_with_events(entry, of_entry, jsons) for entry, of_entry in numbered]

        return await self._database.read("commit log", read)

    async def forget(self, before: int) -> None:
        """Delete what was committed up to the position `before`.

        Whoever has taken in less than that can never catch up and has to start again.
        """
        await self._database.write("forget the commit log", lambda txn: txn.execute(_DELETE, (before,)))


_Numbered: TypeAlias = tuple[LogEntry, list[int]]
"""An entry and the numbers of its events."""


def _first_of(entries: Sequence[_Numbered]) -> Sequence[_Numbered]:
    """As many as may be returned at once."""
    events = size = 0
    for count, (entry, numbers) in enumerate(entries):
        events += len(numbers)
        size += len(entry.records)
        if count and (events > MOST_EVENTS or size > MOST_BYTES):
            return entries[:count]
    return entries


def _with_events(entry: LogEntry, numbers: Sequence[int], jsons: Mapping[int, bytes]) -> LogEntry:
    events = pack_jsons({number: jsons[number] for number in numbers if number in jsons})
    return LogEntry(entry.base, entry.upto, entry.process, entry.records, events)
