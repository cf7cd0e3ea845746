# SPDX-License-Identifier: Apache-2.0
"""The interface to a database, which both engines implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, TypeVar

import attrs

from storage.engine.statement import Batch, Row, Value

T = TypeVar("T")

Dialect: TypeAlias = Literal["sqlite", "postgresql"]


class Transaction(Protocol):
    """The inside of one transaction; used only in the call that it was given to.

    After an error the transaction is over: whoever catches one must not go on with it.
    """

    @property
    def dialect(self) -> Dialect:
        """Which engine runs it."""

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """All rows that `sql` gives; `?` stands for a parameter."""

    def row(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row that `sql` gives, or None."""

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run `sql` and return the number of rows that it inserted, changed or deleted."""

    def batch(self, statement: Batch, rows: Sequence[tuple[Value, ...]]) -> list[Row]:
        """Run `statement` over all of `rows` and return what it returns; nothing is run for no rows."""


@attrs.frozen
class Fence:
    """The version that a room must still have; the commit raises it by one."""

    room: int
    expected: int


@attrs.frozen
class Tail:
    """The end of a commit of the write queue.

    At most one fence for each room; the number of positions that it takes; the statements whose rows bear
    them.
    """

    fences: Sequence[Fence] = ()
    positions: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    statements: Sequence[tuple[Batch, Sequence[tuple[Value, ...]]]] = ()


@attrs.frozen
class PoolUse:
    """Some threads of a database: how many there are, how many work now, and how much work waits for one."""

    name: str
    threads: int
    busy: int
    waiting: int


class Database(Protocol):
    """One database, used from the reactor's thread; the work runs in a thread of the database.

    Every method raises `DatabaseUnavailable` when the database cannot be reached and `DataError` when it
    refuses what it is given; what `work` raises is raised again. Work may be run more than once, when the
    engine asks for it (a deadlock, a connection lost before anything was committed), so it must have no
    other effects.
    """

    @property
    def dialect(self) -> Dialect:
        """Which engine it is."""

    async def read(self, name: str, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot, beside other reads and writes. It cannot write."""

    async def look(self, name: str, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """All rows that `sql` gives: what `read` of this one statement returns, for less."""

    async def write(self, name: str, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction of its own, for what is outside of the write queue.

        Raises `OutcomeUnknown` when the database failed during the commit.
        """

    async def commit(self, name: str, head: Callable[[Transaction], None], tail: Tail) -> int:
        """Commit `head` and `tail` in one transaction and return the position before the first new one.

        For the write queue alone. Raises `FenceLost` and `OutcomeUnknown` besides.
        """

    def pools(self) -> Sequence[PoolUse]:
        """What its threads are at now."""

    async def close(self) -> None:
        """Finish or fail what is under way, and end the threads."""


@attrs.frozen
class DatabaseSettings:
    """Which database to open, and how.

    `path` is SQLite's file; `arguments` are what `psycopg2.connect` takes. `readers` is the number of
    threads, each with its connection, that read. `synchronous` is SQLite's setting: with NORMAL a loss of
    power can take back the latest commits, a crash of the program cannot.
    """

    engine: Dialect
    path: str = ""
    arguments: Mapping[str, str | int] = attrs.field(factory=dict, repr=False)
    readers: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
