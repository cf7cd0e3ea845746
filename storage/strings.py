# SPDX-License-Identifier: Apache-2.0
"""Interned strings: types, state keys and the ids of users and rooms are numbers in every other table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, each

_FIND = Batch(
    "SELECT s.string, s.value FROM v JOIN strings s ON s.value = v.value",
    columns={"value": BYTES},
)
_FIND_NUMBERS = Batch(
    "SELECT s.string, s.value FROM v JOIN strings s ON s.string = v.string",
    columns={"string": INTEGER},
)
_INSERT = Batch(
    "INSERT INTO strings (value) SELECT value FROM v WHERE true ORDER BY value ON CONFLICT DO NOTHING",
    columns={"value": BYTES},
)
_INSERT_NUMBERED = Batch(
    "INSERT INTO strings (string, value) SELECT string, value FROM v WHERE true ON CONFLICT DO NOTHING",
    columns={"string": INTEGER, "value": BYTES},
)
# A server numbers strings in memory, upwards: numbers below zero are never its own.
_INSERT_BELOW_ZERO = (
    "INSERT INTO strings (string, value) SELECT min(coalesce(min(string), 0), 0) - 1, ? FROM strings"
    " WHERE true ON CONFLICT DO NOTHING"
)
_HIGHEST = "SELECT coalesce(max(string), 0) FROM strings"


@attrs.frozen
class NewString:
    """A string that got its number in memory and waits for the next commit (SQLite, one process)."""

    string: int
    value: bytes


WRITINGS = (Writing(NewString, _INSERT_NUMBERED, each(lambda r: (r.string, r.value))),)


class Strings:
    """Numbers of strings and strings of numbers, kept in memory once seen.

    Each of the two maps drops what it learnt first when it holds more than `limit` strings.
    """

    def __init__(self, database: Database, *, limit: int = 200_000) -> None:
        self._database = database
        self._limit = limit
        self._numbers: dict[str, int] = {}
        self._values: dict[int, str] = {}
        self._unwritten: dict[str, NewString] = {}
        self._highest: int | None = None

    def known(self, value: str) -> int | None:
        """The number of `value` if it is in memory."""
        return self._numbers.get(value)

    def known_value(self, number: int) -> str | None:
        """The string with this number if it is in memory."""
        return self._values.get(number)

    async def intern(self, values: Iterable[str]) -> dict[str, int]:
        """The number of each of `values`, given to it now where it had none."""
        wanted = set(values)
        found = await self.find(wanted)
        missing = sorted(wanted - found.keys(), key=str.encode)
        if not missing:
            return found
        if self._database.dialect == "sqlite":
            return found | await self._number_in_memory(missing)
        rows = [(value.encode(),) for value in missing]
        await self._database.write("intern strings", lambda txn: txn.batch(_INSERT, rows))
        return found | await self.find(missing)

    async def intern_beside(self, value: str) -> int:
        """As `intern`, for another program while a server may run on the same database."""
        if self._database.dialect == "sqlite":
            packed = value.encode()
            await self._database.write("intern", lambda txn: txn.execute(_INSERT_BELOW_ZERO, (packed,)))
        return (await self.intern((value,)))[value]

    async def find(self, values: Iterable[str]) -> dict[str, int]:
        """The numbers of those of `values` that have one."""
        found: dict[str, int] = {}
        unknown: set[str] = set()
        for value in values:
            number = self._numbers.get(value)
            if number is None:
                unknown.add(value)
            else:
                found[value] = number
        if not unknown:
            return found
        rows = [(value.encode(),) for value in sorted(unknown)]
        for number, packed in await self._database.read("find strings", lambda txn: txn.batch(_FIND, rows)):
            found[self._learn(number, packed.decode())] = number
        for value in unknown & self._unwritten.keys():
            found[value] = self._unwritten[value].string
        return found

    async def values(self, numbers: Iterable[int]) -> dict[int, str]:
        """The strings with these numbers."""
        wanted = set(numbers)
        found = {number: self._values[number] for number in wanted if number in self._values}
        missing = wanted - found.keys()
        if missing:
            found |= await self._database.read("read strings", lambda txn: self.values_txn(txn, missing))
        return found

    def values_txn(self, txn: Transaction, numbers: Iterable[int]) -> dict[int, str]:
        """As `values`, inside a transaction of the caller's and leaving memory as it is."""
        found = {}
        missing = []
        for number in set(numbers):
            value = self._values.get(number)
            if value is None:
                missing.append((number,))
            else:
                found[number] = value
        for number, packed in txn.batch(_FIND_NUMBERS, missing):
            found[number] = packed.decode()
        return found

    def unwritten(self) -> Sequence[NewString]:
        """Strings that must be written with the next commit."""
        return tuple(self._unwritten.values())

    def written(self, strings: Iterable[NewString]) -> None:
        """These are on disk now."""
        for string in strings:
            self._unwritten.pop(string.value.decode(), None)

    async def _number_in_memory(self, values: Sequence[str]) -> dict[str, int]:
        if self._highest is None:
            row = await self._database.read("highest string", lambda txn: txn.row(_HIGHEST))
            self._highest = max(self._highest or 0, row[0] if row else 0)
        numbers: dict[str, int] = {}
        for value in values:
            known = self._numbers.get(value)
            if known is None and value in self._unwritten:
                known = self._unwritten[value].string
            if known is None:
                self._highest += 1
                known = self._highest
                self._unwritten[value] = NewString(string=known, value=value.encode())
                self._learn(known, value)
            numbers[value] = known
        return numbers

    def _learn(self, number: int, value: str) -> str:
        if len(self._numbers) >= self._limit:
            oldest = next(iter(self._numbers))
            del self._values[self._numbers.pop(oldest)]
        self._numbers[value] = number
        self._values[number] = value
        return value
