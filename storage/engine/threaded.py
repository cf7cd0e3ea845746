# SPDX-License-Identifier: Apache-2.0
"""A database whose work runs in threads: what both engines have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

from twisted.internet.defer import Deferred, gatherResults

from storage.engine.database import Dialect, PoolUse, T, Tail, Transaction
from storage.engine.errors import DatabaseUnavailable, OutcomeUnknown
from storage.engine.statement import Row, Value
from storage.engine.threads import S, Threads


class ThreadedDatabase(Generic[S]):
    """A `Database`: commits go to one thread, reads to several, writes to either kind."""

    def __init__(
        self,
        *,
        dialect: Dialect,
        committer: Threads[S],
        writers: Threads[S],
        readers: Threads[S],
        grace: float,
        after_close: Callable[[], Awaitable[None]],
    ) -> None:
        """`writers` are the same threads as `committer` or as `readers`.

        `grace` is how many seconds `close` waits for work under way before it interrupts it, and
        then again before it leaves it behind; `after_close` is called when all threads have ended.
        """
        self._dialect = dialect
        self._committer = committer
        self._writers = writers
        self._readers = readers
        self._grace = grace
        self._after_close = after_close

    @property
    def dialect(self) -> Dialect:
        """Which engine it is."""
        return self._dialect

    async def read(self, name: str, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot in a reader thread."""
        return await self._readers.run(name, lambda session: session.read(work), DatabaseUnavailable)

    async def look(self, name: str, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Run one statement that only reads."""
        return await self._readers.run(
            name, lambda session: session.look(sql, parameters), DatabaseUnavailable
        )

    async def write(self, name: str, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction of its own."""
        return await self._writers.run(name, lambda session: session.write(work), OutcomeUnknown)

    async def commit(self, name: str, head: Callable[[Transaction], None], tail: Tail) -> int:
        """Commit `head` and `tail` in one transaction."""
        return await self._committer.run(name, lambda session: session.commit(head, tail), OutcomeUnknown)

    def pools(self) -> Sequence[PoolUse]:
        """What its threads are at now."""
        return self._committer.use(), self._readers.use()

    async def close(self) -> None:
        """Finish what is queued, interrupt what does not end, and end the threads."""
        await gatherResults(
            [
                Deferred.fromCoroutine(threads.close(self._grace))
                for threads in (self._committer, self._readers)
            ]
        )
        await self._after_close()
