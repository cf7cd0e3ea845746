# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: psycopg2 in threads, one for the commits of the write queue, several for everything else.

What can travel together does: BEGIN with the first statement of a transaction, and the whole tail of a commit
with COMMIT, so that a process that is stopped between two statements does not hold the locks that all others
need.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from storage.engine.database import DatabaseSettings, Dialect, T, Tail, Transaction
from storage.engine.errors import OutcomeUnknown
from storage.engine.postgres_connections import Connector
from storage.engine.postgres_errors import Conflict, ConnectionLost, is_broken, translated
from storage.engine.postgres_sql import ROWS_AT_ONCE, arrays, rendered, with_placeholders
from storage.engine.statement import INTEGER, Batch, Row, Value, check_parameters
from storage.engine.threaded import ThreadedDatabase
from storage.engine.threads import Mailbox, Observer, Reactor, Threads

_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_ATTEMPTS = 5

_FENCE = Batch("", {"room": INTEGER, "expected": INTEGER})
_RAISE_FENCES = "SELECT trellis_raise_fences(%s::bigint[], %s::bigint[])"
_TAKE_POSITIONS = "SELECT trellis_take_positions(%s)"
_BASE = b"SELECT current_setting('trellis.base')"


class PostgresTransaction:
    """One transaction; BEGIN is sent with its first statement."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: Connection, begin: bytes) -> None:
        self._connection = connection
        self._begin = begin
        self._read_only = begin is _READ
        self._begun = False
        self.failure: Exception | None = None

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """All rows that `sql` gives."""
        cursor = self._send_one(sql, parameters)
        return cursor.fetchall() if cursor.description else []

    def row(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """The first row that `sql` gives, or None."""
        cursor = self._send_one(sql, parameters)
        return cursor.fetchone() if cursor.description else None

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run `sql` and return the number of rows that it inserted, changed or deleted."""
        cursor = self._send_one(sql, parameters)
        changed = (cursor.statusmessage or "").startswith(("INSERT", "UPDATE", "DELETE", "MERGE"))
        return cursor.rowcount if changed else 0

    def batch(self, statement: Batch, rows: Sequence[tuple[Value, ...]]) -> list[Row]:
        """Run `statement` over all of `rows`."""
        results: list[Row] = []
        for text in self.chunks(statement, rows, with_base=False):
            cursor = self.send(text)
            if cursor.description:
                results += cursor.fetchall()
        return results

    def chunks(self, statement: Batch, rows: Sequence[tuple[Value, ...]], *, with_base: bool) -> list[bytes]:
        """The texts of `statement` over `rows`, a limited number of rows in each."""
        template = rendered(statement, with_base)
        return [
            self.composed(template, arrays(statement, rows[start : start + ROWS_AT_ONCE]))
            for start in range(0, len(rows), ROWS_AT_ONCE)
        ]

    def composed(self, template: str, parameters: Sequence[Value]) -> bytes:
        """`template` with its placeholders filled. Raises `DataError` for text that is no Unicode."""
        try:
            return self._connection.cursor().mogrify(template, parameters)
        except (psycopg2.Error, UnicodeEncodeError) as error:
            raise self._failed(error) from error

    def send(self, text: bytes) -> Cursor:
        """Send `text`, one or several statements, as one message, and return the result of the last."""
        message = text if self._begun else self._begin + b";\n" + text
        self._begun = True
        cursor = self._connection.cursor()
        try:
            cursor.execute(message)
        except psycopg2.Error as error:
            raise self._failed(error) from error
        return cursor

    def _send_one(self, sql: str, parameters: Sequence[Value]) -> Cursor:
        if not parameters:
            return self.send(sql.encode())
        check_parameters(parameters)
        values = [int(value) if isinstance(value, bool) else value for value in parameters]
        return self.send(self.composed(with_placeholders(sql), values))

    def _failed(self, error: Exception) -> Exception:
        connected = not self._connection.closed
        self.failure = translated(error, connected=connected, read_only=self._read_only)
        return self.failure


class PostgresSession:
    """One thread's connection, made anew when it is lost."""

    usable = True

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._connection: Connection | None = None

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot, which `settle` gives up."""
        return self._attempt(_READ, work)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and commit."""

        def committed(transaction: PostgresTransaction) -> T:
            result = work(transaction)
            self._commit(transaction)
            return result

        return self._attempt(_WRITE, committed)

    def commit(self, head: Callable[[Transaction], None], tail: Tail) -> int:
        """Run `head` and `tail`, commit, and return the position before the first new one."""

        def committed(transaction: PostgresTransaction) -> int:
            head(transaction)
            return self._commit_tail(transaction, tail)

        return self._attempt(_WRITE, committed)

    def settle(self) -> None:
        """End the transaction that is still open, if one is."""
        connection = self._connection
        if connection is None:
            return
        try:
            if not connection.closed and connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
                connection.cursor().execute(b"ROLLBACK")
        except psycopg2.Error:
            self.close()

    def interrupt(self) -> None:
        """Make the statement that runs fail."""
        connection = self._connection
        if connection is not None and not connection.closed:
            connection.cancel()

    def close(self) -> None:
        """Close the connection; the next call makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _attempt(self, begin: bytes, work: Callable[[PostgresTransaction], T]) -> T:
        """Run `work`, again after a conflict, and once more after the connection was lost before COMMIT."""
        lost = False
        for attempt in range(1, _ATTEMPTS + 1):
            transaction = PostgresTransaction(self._connected(begin), begin)
            try:
                result = work(transaction)
                if transaction.failure is not None:
                    raise transaction.failure
                return result
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
            except ConnectionLost:
                if lost:
                    raise
                lost = True
                self.close()
            self.settle()
        raise AssertionError("unreachable")

    def _connected(self, begin: bytes) -> Connection:
        """A connection on which to begin; for a write one that the server has not left, as far as is known.

        A read that finds out is repeated, but a commit that is lost with its connection may have been done.
        """
        connection = self._connection
        if connection is not None and (connection.closed or (begin is _WRITE and _has_ended(connection))):
            self.close()
        if self._connection is None:
            self._connection = self._connector.connect()
        return self._connection

    def _commit(self, transaction: PostgresTransaction) -> None:
        if transaction.failure is not None:
            raise transaction.failure
        connection = self._connection
        if connection is None or connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
            return  # nothing was done
        self._send_commit(transaction, b"COMMIT")

    def _commit_tail(self, transaction: PostgresTransaction, tail: Tail) -> int:
        if transaction.failure is not None:
            raise transaction.failure
        message = b";\n".join([*_tail_texts(transaction, tail), b"COMMIT", _BASE])
        (base,) = self._send_commit(transaction, message).fetchone() or (None,)
        return int(base)

    def _send_commit(self, transaction: PostgresTransaction, message: bytes) -> Cursor:
        """Send what ends in COMMIT. Raises `OutcomeUnknown` unless the error came before it."""
        connection = self._connection
        try:
            return transaction.send(message)
        except Exception as error:
            cause = error.__cause__
            if (
                connection is None
                or connection.closed
                or (isinstance(cause, psycopg2.Error) and is_broken(cause))
                or connection.get_transaction_status() != TRANSACTION_STATUS_INERROR
            ):
                transaction.failure = OutcomeUnknown(str(error))
                raise transaction.failure from error
            raise


def _has_ended(connection: Connection) -> bool:
    """Whether the server said something while nothing was asked, as it does when it goes."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _tail_texts(transaction: PostgresTransaction, tail: Tail) -> list[bytes]:
    texts = []
    if tail.fences:
        expected = [(fence.room, fence.expected) for fence in tail.fences]
        texts.append(transaction.composed(_RAISE_FENCES, arrays(_FENCE, expected)))
    texts.append(transaction.composed(_TAKE_POSITIONS, (tail.positions,)))
    for statement, rows in tail.statements:
        texts += transaction.chunks(statement, rows, with_base=True)
    return texts


def open_postgres(
    settings: DatabaseSettings, *, reactor: Reactor, grace: float, observe: Observer | None
) -> ThreadedDatabase[PostgresSession]:
    """The database that `settings.arguments` lead to; connections are made when they are first needed."""
    connector = Connector(settings.arguments)
    mailbox = Mailbox(reactor)

    def threads(name: str, count: int) -> Threads[PostgresSession]:
        return Threads(
            name=name,
            count=count,
            open_session=lambda: PostgresSession(connector),
            mailbox=mailbox,
            reactor=reactor,
            observe=observe,
        )

    pool = threads("postgresql", settings.readers)
    return ThreadedDatabase(
        dialect="postgresql",
        committer=threads("postgresql-committer", 1),
        writers=pool,
        readers=pool,
        grace=grace,
        after_close=connector.close,
    )
