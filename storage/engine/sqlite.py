# SPDX-License-Identifier: Apache-2.0
"""SQLite: one thread writes, several read, each with a connection of its own, in WAL mode.

The module `sqlite3` gives up the interpreter lock at every step of a statement, and beside a busy reactor it
takes milliseconds to get it back. So a batch is one statement that ends in one step, and what can be counted
is not asked for.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

from storage.engine.checkpoints import Checkpoints
from storage.engine.database import DatabaseSettings, Dialect, Fence, T, Tail, Transaction
from storage.engine.errors import (
    DatabaseError,
    DatabaseUnavailable,
    DataError,
    FenceLost,
    OutcomeUnknown,
    UnsuitableDatabase,
)
from storage.engine.statement import INTEGER, Batch, Row, Value, check_parameters
from storage.engine.threaded import ThreadedDatabase
from storage.engine.threads import Mailbox, Observer, Reactor, Threads

logger = logging.getLogger(__name__)

_OLDEST = (3, 35, 0)
_BUSY_MILLISECONDS = 5_000
_WRITER_CACHE_KIB = 8_192
_READER_CACHE_KIB = 4_096
_STATEMENTS = 512
_WAL_BYTES_KEPT = 64 * 1024 * 1024
# Where the log outruns the checkpoints beside the commits, a commit runs one itself.
_WAL_PAGES_AT_MOST = 16_384

# Numbers of rows for which a batch is prepared, so that few statements serve all sizes.
# Rows are filled up with NULLs to the next size and cut off again by LIMIT.
_SIZES = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512)

_RAISE_FENCES = Batch(
    "UPDATE rooms SET fence = fence + 1 FROM v WHERE rooms.room = v.room AND rooms.fence = v.expected",
    {"room": INTEGER, "expected": INTEGER},
)
_LOST_FENCES = Batch(
    "SELECT v.room FROM v LEFT JOIN rooms ON rooms.room = v.room WHERE rooms.fence IS NOT v.expected",
    {"room": INTEGER, "expected": INTEGER},
)
_TAKE_POSITIONS = "UPDATE counters SET value = value + ? WHERE name = 'position' RETURNING value"

# Primary result codes after which a later attempt may succeed.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOTADB,
    }
)
# Those after which the connection is not trusted any more.
_BREAKING = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_NOMEM,
    }
)
_REFUSED = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError)


def _primary_code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _translated(error: Exception) -> Exception:
    """The domain error for what `sqlite3` raised; `error` itself where it shows a mistake in a statement."""
    if isinstance(error, _REFUSED):
        return DataError(str(error))
    if _primary_code(error) in _PASSING:
        return DatabaseUnavailable(f"SQLite: {error}")
    return error


@functools.lru_cache(maxsize=4096)
def _rendered(statement: Batch, size: int, with_base: bool) -> str:
    row = f"({', '.join('?' * len(statement.columns))})"
    values = ", ".join([row] * size)
    tables = f"v({statement.quoted_columns()}) AS (SELECT * FROM (VALUES {values}) LIMIT ?)"
    if with_base:
        tables += ", base(value) AS (VALUES (?))"
    return statement.after(tables)


class SqliteTransaction:
    """What runs inside of a transaction of one connection."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection, *, writes: bool) -> None:
        self._connection = connection
        self._writes = writes
        self.failure: Exception | None = None
        self._most_parameters = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) - 2

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """All rows that `sql` gives."""
        check_parameters(parameters)
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except (sqlite3.Error, *_REFUSED) as error:
            raise self._failed(error) from error

    def row(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row that `sql` gives, or None."""
        check_parameters(parameters)
        try:
            first: Row | None = self._connection.execute(sql, parameters).fetchone()
        except (sqlite3.Error, *_REFUSED) as error:
            raise self._failed(error) from error
        return first

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run `sql` and return the number of rows that it inserted, changed or deleted."""
        # Not the cursor's count, which is missing for a statement that begins with WITH.
        before = self._connection.total_changes
        self.rows(sql, parameters)
        return self._connection.total_changes - before

    def batch(self, statement: Batch, rows: Sequence[tuple[Value, ...]]) -> list[Row]:
        """Run `statement` over all of `rows`."""
        return self.batch_with_base(statement, rows, None)

    def batch_with_base(
        self, statement: Batch, rows: Sequence[tuple[Value, ...]], base: int | None
    ) -> list[Row]:
        """The same, with the table `base` beside `v` unless it is None."""
        if not rows:
            return []
        statement.transposed(rows)
        width = len(statement.columns)
        largest = max(size for size in _SIZES if size * width <= self._most_parameters or size == 1)
        results: list[Row] = []
        for start in range(0, len(rows), largest):
            results += self._chunk(statement, rows[start : start + largest], largest, base)
        return results

    def _chunk(
        self, statement: Batch, rows: Sequence[tuple[Value, ...]], largest: int, base: int | None
    ) -> list[Row]:
        size = min(next(size for size in _SIZES if size >= len(rows)), largest)
        parameters: list[Value] = list(chain.from_iterable(rows))
        parameters += [None] * ((size - len(rows)) * len(statement.columns))
        parameters.append(len(rows))
        if base is not None:
            parameters.append(base)
        try:
            return self._connection.execute(
                _rendered(statement, size, base is not None), parameters
            ).fetchall()
        except (sqlite3.Error, *_REFUSED) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> Exception:
        may_write = self._writes or _primary_code(error) != sqlite3.SQLITE_READONLY
        self.failure = _translated(error) if may_write else error
        return self.failure


class SqliteSession:
    """One thread's connection."""

    def __init__(self, connection: sqlite3.Connection, *, writes: bool, checkpoints: Checkpoints) -> None:
        """`writes`: the connection can write."""
        self._connection = connection
        self._writes = writes
        self._checkpoints = checkpoints
        self._usable = True

    @property
    def usable(self) -> bool:
        """False after an error of the disk."""
        return self._usable

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot, which `settle` gives up."""
        try:
            transaction = self._begin("BEGIN")
            result = work(transaction)
            if transaction.failure is not None:
                raise transaction.failure
            return result
        except Exception as error:
            self._roll_back(error)
            raise

    def look(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        """The rows of one statement that only reads."""
        return self.read(lambda transaction: transaction.rows(sql, parameters))

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and commit."""
        try:
            transaction = self._begin("BEGIN IMMEDIATE")
            result = work(transaction)
            self._commit(transaction)
        except Exception as error:
            self._roll_back(error)
            raise
        return result

    def commit(self, head: Callable[[Transaction], None], tail: Tail) -> int:
        """Run `head` and `tail`, commit, and return the position before the first new one."""
        try:
            transaction = self._begin("BEGIN IMMEDIATE")
            head(transaction)
            self._raise_fences(transaction, tail.fences)
            base = _take_positions(transaction, tail.positions)
            for statement, rows in tail.statements:
                transaction.batch_with_base(statement, rows, base)
            self._commit(transaction)
        except Exception as error:
            self._roll_back(error)
            raise
        return base

    def settle(self) -> None:
        """End the snapshot of the last read, or shorten the log after a write."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        elif self._writes:
            self._checkpoints.catch_up(self._connection)

    def interrupt(self) -> None:
        """Make the statement that runs fail."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _run(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except sqlite3.Error as error:
            raise _translated(error) from error

    def _begin(self, sql: str) -> SqliteTransaction:
        self._run(sql)
        return SqliteTransaction(self._connection, writes=self._writes)

    def _commit(self, transaction: SqliteTransaction) -> None:
        if transaction.failure is not None:
            raise transaction.failure
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if _primary_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
                # The frame that makes the transaction count comes last and was not written.
                raise _translated(error) from error
            raise OutcomeUnknown(f"SQLite: {error}") from error
        self._checkpoints.written()

    def _raise_fences(self, transaction: SqliteTransaction, fences: Sequence[Fence]) -> None:
        expected = [(fence.room, fence.expected) for fence in fences]
        before = self._connection.total_changes
        transaction.batch(_RAISE_FENCES, expected)
        if self._connection.total_changes - before < len(expected):
            self._run("ROLLBACK")
            lost = self._begin("BEGIN").batch(_LOST_FENCES, expected)
            raise FenceLost(room for (room,) in lost)

    def _roll_back(self, error: Exception) -> None:
        """End the transaction that `error` broke off."""
        cause = error.__cause__ if isinstance(error, DatabaseError) else error
        if cause is not None and _primary_code(cause) in _BREAKING:
            self._usable = False
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            logger.exception("SQLite could not roll back")
            self._usable = False


def _take_positions(transaction: SqliteTransaction, count: int) -> int:
    row = transaction.row(_TAKE_POSITIONS, (count,))
    if row is None:
        raise LookupError("the table counters has no row for 'position'")
    return int(row[0]) - count


def connect(path: str, *, synchronous: Literal["FULL", "NORMAL"], writes: bool) -> sqlite3.Connection:
    """A connection to the file `path`, for one thread.

    Raises `DatabaseUnavailable` when the file cannot be opened, `UnsuitableDatabase` when it cannot be used.
    """
    try:
        connection = sqlite3.connect(
            path,
            isolation_level=None,
            timeout=_BUSY_MILLISECONDS / 1000,
            cached_statements=_STATEMENTS,
            check_same_thread=False,  # `interrupt` comes from another thread
        )
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"cannot open the SQLite database {path}: {error}") from error
    try:
        _set_up(connection, path, synchronous, writes)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise DatabaseUnavailable(f"cannot open the SQLite database {path}: {error}") from error
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: str, synchronous: str, writes: bool) -> None:
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise UnsuitableDatabase(
            f"SQLite cannot keep a write-ahead log beside {path}: the file must be on a local file system"
        )
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB if writes else _READER_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES_AT_MOST}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")


def _check_suitable(path: str) -> None:
    if sqlite3.sqlite_version_info < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise UnsuitableDatabase(f"SQLite {sqlite3.sqlite_version} is too old: {oldest} or newer is needed")
    if not path or path.startswith((":memory:", "file:")):
        raise UnsuitableDatabase(f"the SQLite database must be the path of a file, not {path!r}")
    directory = Path(path).absolute().parent
    if not directory.is_dir():
        raise UnsuitableDatabase(f"the directory {directory} of the SQLite database does not exist")


def open_sqlite(
    settings: DatabaseSettings, *, reactor: Reactor, grace: float, observe: Observer | None
) -> ThreadedDatabase[SqliteSession]:
    """The database in the file `settings.path`, made if it is not there; its schema is not looked at.

    Raises `UnsuitableDatabase`.
    """
    path = settings.path
    _check_suitable(path)
    mailbox = Mailbox(reactor)
    checkpoints = Checkpoints(
        connect=lambda: connect(path, synchronous=settings.synchronous, writes=True), mailbox=mailbox
    )

    def open_session(writes: bool) -> SqliteSession:
        connection = connect(path, synchronous=settings.synchronous, writes=writes)
        return SqliteSession(connection, writes=writes, checkpoints=checkpoints)

    writer: Threads[SqliteSession] = Threads(
        name="sqlite-writer",
        count=1,
        open_session=lambda: open_session(True),
        mailbox=mailbox,
        reactor=reactor,
        observe=observe,
    )
    readers: Threads[SqliteSession] = Threads(
        name="sqlite-reader",
        count=settings.readers,
        open_session=lambda: open_session(False),
        mailbox=mailbox,
        reactor=reactor,
        observe=observe,
    )
    return ThreadedDatabase(
        dialect="sqlite",
        committer=writer,
        writers=writer,
        readers=readers,
        grace=grace,
        after_close=checkpoints.close,
    )
