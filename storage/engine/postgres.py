# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: psycopg2 in threads, one for the commits of the write queue, several for everything else.

What can travel together does: BEGIN with the first statement of a transaction, a statement that gives no rows
with the next one, and the whole tail of a commit with COMMIT, so that a process that is stopped between two
statements does not hold the locks that all others need. A commit of the write queue is one message as a rule.
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
from storage.engine.postgres_prepared import PreparedStatements
from storage.engine.postgres_sql import Template, chunks, literals, rendered, single
from storage.engine.statement import INTEGER, Batch, Row, Value, check_parameters
from storage.engine.threaded import ThreadedDatabase
from storage.engine.threads import Mailbox, Observer, Reactor, Threads

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_LOOK = ""
"""A statement by itself is a transaction, for which the session's settings stand."""
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_ATTEMPTS = 5
_LONGEST_MESSAGE = 1 << 20

_FENCE = Batch("", {"room": INTEGER, "expected": INTEGER})
_RAISE_FENCES = Template(
    "SELECT trellis_raise_fences($1, $2)", ("bigint[]", "bigint[]"), title="trellis_raise_fences", silent=True
)
_TAKE_POSITIONS = Template(
    "SELECT trellis_take_positions($1)", ("bigint",), title="trellis_take_positions", silent=True
)
_BASE = "SHOW trellis.base"


class PostgresTransaction:
    """One transaction; BEGIN is sent with its first statement."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: Connection, prepared: PreparedStatements, begin: str) -> None:
        self._connection = connection
        self._prepared = prepared
        self._read_only = begin is not _WRITE
        self._unsent = [begin.encode()] if begin else []
        self._unsent_length = 0
        self._begun = False
        self.failure: Exception | None = None

    @property
    def begun(self) -> bool:
        """Whether there is anything to commit."""
        return self._begun

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
        """Run `statement` over all of `rows`; where it gives none back, with the next message."""
        template = rendered(statement, False)
        results: list[Row] = []
        for arguments in chunks(statement, rows):
            self._add(template, arguments)
            if not template.silent:
                cursor = self.send()
                results += cursor.fetchall() if cursor.description else []
            elif self._unsent_length > _LONGEST_MESSAGE:
                self.send()
        return results

    def add_tail(self, tail: Tail) -> None:
        """Let `tail` go with the next message."""
        expected = [(fence.room, fence.expected) for fence in tail.fences]
        for arguments in chunks(_FENCE, expected):
            self._add(_RAISE_FENCES, arguments)
        self._add(_TAKE_POSITIONS, literals((tail.positions,)))
        for statement, rows in tail.statements:
            for arguments in chunks(statement, rows):
                self._add(rendered(statement, True), arguments)

    def flush(self) -> None:
        """Send what waits for the next message: in a transaction that only reads, there is no other."""
        if self._begun and self._unsent:
            self.send()

    def send(self, *texts: str) -> Cursor:
        """Send all that is unsent and `texts` as one message, and return the result of the last."""
        message = b";\n".join([*self._unsent, *map(str.encode, texts)])
        self._unsent.clear()
        self._unsent_length = 0
        self._begun = True
        cursor = self._connection.cursor()
        try:
            cursor.execute(message)
        except psycopg2.Error as error:
            raise self._failed(error) from error
        return cursor

    def _send_one(self, sql: str, parameters: Sequence[Value]) -> Cursor:
        if not parameters:
            return self.send(sql)
        check_parameters(parameters)
        self._add(single(sql, parameters), literals(parameters))
        return self.send()

    def _add(self, template: Template, arguments: str) -> None:
        """Let a statement go with the next message. Raises `DataError` for text that is no Unicode."""
        try:
            texts = [text.encode() for text in self._prepared.call(template, arguments)]
        except (psycopg2.Error, UnicodeEncodeError) as error:
            raise self._failed(error) from error
        self._unsent += texts
        self._unsent_length += len(arguments)
        self._begun = True

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
        self._prepared: PreparedStatements | None = None

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot, which `settle` gives up."""

        def looked(transaction: PostgresTransaction) -> T:
            result = work(transaction)
            transaction.flush()
            return result

        return self._attempt(_READ, looked)

    def look(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        """The rows of one statement that only reads: without BEGIN and ROLLBACK."""
        return self._attempt(_LOOK, lambda transaction: transaction.rows(sql, parameters))

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
        connection, self._connection, self._prepared = self._connection, None, None
        if connection is not None:
            connection.close()

    def _attempt(self, begin: str, work: Callable[[PostgresTransaction], T]) -> T:
        """Run `work`, again after a conflict, and once more after the connection was lost before COMMIT."""
        lost = False
        for attempt in range(1, _ATTEMPTS + 1):
            transaction = self._begin(begin)
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

    def _connected(self, begin: str) -> Connection:
        """A connection on which to begin; for a write one that the server has not left, as far as is known.

        A read that finds out is repeated, but a commit that is lost with its connection may have been done.
        """
        connection = self._connection
        if connection is not None and (connection.closed or (begin is _WRITE and _has_ended(connection))):
            self.close()
        if self._connection is None:
            self._connection = self._connector.connect()
        return self._connection

    def _begin(self, begin: str) -> PostgresTransaction:
        connection = self._connected(begin)
        if self._prepared is None:
            self._prepared = PreparedStatements(lambda text: connection.cursor().execute(text))
        return PostgresTransaction(connection, self._prepared, begin)

    def _commit(self, transaction: PostgresTransaction) -> None:
        if transaction.failure is not None:
            raise transaction.failure
        if transaction.begun:
            self._send_commit(transaction, "COMMIT")

    def _commit_tail(self, transaction: PostgresTransaction, tail: Tail) -> int:
        if transaction.failure is not None:
            raise transaction.failure
        transaction.add_tail(tail)
        (base,) = self._send_commit(transaction, "COMMIT", _BASE).fetchone() or (None,)
        return int(base)

    def _send_commit(self, transaction: PostgresTransaction, *commit: str) -> Cursor:
        """Send what is unsent and `commit`. Raises `OutcomeUnknown` unless the error came before COMMIT."""
        connection = self._connection
        try:
            return transaction.send(*commit)
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
