# SPDX-License-Identifier: Apache-2.0
"""A connection to PostgreSQL that the reactor reads from and writes to, for LISTEN and NOTIFY.

It is an asynchronous connection of psycopg2 (libpq's non-blocking calls). A thread looks up the server's
name, which libpq does in a blocking way; all else happens in the reactor's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_WRITE
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as NoAnswer
from twisted.internet.threads import deferToThreadPool

from storage.notices.reconnection import MediumAway

_ANSWER_SECONDS = 10.0


class _Watched:
    """What the reactor watches: a socket under a number of its own.

    libpq closes its own number as it likes, and another thread may get the same one a moment later.
    """

    def __init__(self, fileno: int, ready: Callable[[], None]) -> None:
        self._fileno = os.dup(fileno)
        self._ready = ready

    def fileno(self) -> int:
        return self._fileno

    def doRead(self) -> None:  # noqa: N802
        self._ready()

    def doWrite(self) -> None:  # noqa: N802
        self._ready()

    def connectionLost(self, _reason: Any) -> None:  # noqa: N802
        self._ready()  # what libpq then reads tells why

    def logPrefix(self) -> str:  # noqa: N802
        return "notices"

    def close(self) -> None:
        os.close(self._fileno)


class PostgresLine:
    """One connection, on which one statement runs at a time. `hear` is called with each payload."""

    def __init__(self, connection: Connection, *, hear: Callable[[str], None], reactor: Any) -> None:
        self.lost: Deferred[str] = Deferred()
        self._connection = connection
        self._hear = hear
        self._reactor = reactor
        self._cursor: Cursor | None = None
        self._established = False
        self._watched: _Watched | None = None
        self._writing = False
        self._answer: Deferred[None] | None = None

    async def establish(self) -> None:
        """Come to an end with the connection that was begun. Raises `MediumAway`."""
        await self._answered()
        self._established = True

    async def run(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement whose rows nobody wants. Raises `MediumAway`; the connection is lost then."""
        try:
            self._cursor = self._connection.cursor()  # psycopg2 wants it to live until the answer
            self._cursor.execute(statement, parameters or None)
        except psycopg2.Error as error:
            self._break(error)
            raise MediumAway(_one_line(error)) from error
        await self._answered()

    async def close(self) -> None:
        """Close the connection; a statement that runs has failed."""
        self._break(MediumAway("the connection was closed"))

    async def _answered(self) -> None:
        answer: Deferred[None] = Deferred()
        answer.addTimeout(_ANSWER_SECONDS, self._reactor)
        self._answer = answer
        self._go_on()
        try:
            await answer
        except NoAnswer as error:
            away = MediumAway(f"no answer in {_ANSWER_SECONDS:g} seconds")
            self._break(away)
            raise away from error

    def _go_on(self) -> None:
        """Do what can be done without waiting, and have the reactor call again."""
        if self._connection.closed:
            return
        if not self._established:
            self._unwatch()  # libpq may go on with another socket
        try:
            state = self._connection.poll()
            self._watch(writing=state == POLL_WRITE)
        except (psycopg2.Error, OSError) as error:
            self._break(error)
            return
        self._deliver()
        if state == POLL_OK and self._answer is not None:
            answer, self._answer = self._answer, None
            answer.callback(None)

    def _deliver(self) -> None:
        notifies = self._connection.notifies
        while notifies:
            self._hear(notifies.pop(0).payload)

    def _watch(self, *, writing: bool) -> None:
        if self._watched is None:
            self._watched = _Watched(self._connection.fileno(), self._go_on)
        elif writing == self._writing:
            return
        self._writing = writing
        if writing:
            self._reactor.removeReader(self._watched)
            self._reactor.addWriter(self._watched)
        else:
            self._reactor.removeWriter(self._watched)
            self._reactor.addReader(self._watched)

    def _unwatch(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            self._reactor.removeReader(watched)
            self._reactor.removeWriter(watched)
            watched.close()

    def _break(self, error: Exception) -> None:
        self._unwatch()
        self._connection.close()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.called:
            answer.errback(MediumAway(_one_line(error)))
        if not self.lost.called:
            self.lost.callback(_one_line(error))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


async def open_line(
    parameters: Mapping[str, Any], *, hear: Callable[[str], None], reactor: Any
) -> PostgresLine:
    """A new connection. Raises `MediumAway`."""
    # A name that is still looked up when nobody waits any more: what comes of it is closed when it is freed.
    begun = deferToThreadPool(reactor, reactor.getThreadPool(), psycopg2.connect, **parameters, async_=1)
    try:
        connection: Connection = await begun
    except psycopg2.Error as error:
        raise MediumAway(_one_line(error)) from error
    line = PostgresLine(connection, hear=hear, reactor=reactor)
    try:
        await line.establish()
    except BaseException:
        await line.close()
        raise
    return line
