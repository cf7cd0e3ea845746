# SPDX-License-Identifier: Apache-2.0
"""The threads in which a database works, and the way of a request to them and back.

One hop there (a queue) and one hop back (`callFromThread`, several results at once where they come close).
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import Deferred

from storage.engine.database import PoolUse, T, Tail, Transaction
from storage.engine.errors import DatabaseError, DatabaseUnavailable
from storage.engine.statement import Row, Value
from storage.engine.warm_queue import WarmQueue
from storage.runtime.clock import Clock

logger = logging.getLogger(__name__)


class Reactor(Clock, Protocol):
    """The part of the reactor that a database needs."""

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: A002, N802
        """Call `callable` in the reactor's thread."""


class Session(Protocol):
    """A connection of one thread; every method but `interrupt` is called in that thread alone."""

    @property
    def usable(self) -> bool:
        """False once it must be replaced by a new one."""

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one snapshot."""

    def look(self, sql: str, parameters: Sequence[Value]) -> list[Row]:
        """The rows of one statement that only reads."""

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and commit."""

    def commit(self, head: Callable[[Transaction], None], tail: Tail) -> int:
        """Run `head` and `tail`, commit, and return the position before the first new one."""

    def settle(self) -> None:
        """Do what the last call left to be done after its result was handed over."""

    def interrupt(self) -> None:
        """Make what runs in the session end early; called from another thread."""

    def close(self) -> None:
        """Give the connection back."""


S = TypeVar("S", bound=Session)

Observer: TypeAlias = Callable[[str, float, float], None]
"""Told in the reactor's thread of each piece of work: its name, the seconds it waited, the seconds it ran."""


@attrs.define(eq=False)
class Job(Generic[S]):
    """What one request wants of a thread, and when the thread began and ended it (seconds, monotonic)."""

    call: Callable[[S], Any]
    abandoned: type[DatabaseError]
    context: contextvars.Context
    answer: Deferred[Any]
    began: float = 0.0
    ended: float = 0.0


class Mailbox:
    """Results on their way to the reactor's thread: one wake-up delivers all that have gathered."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._waiting: deque[tuple[Deferred[Any], Any, BaseException | None]] = deque()
        self._called = False

    def send(self, answer: Deferred[Any], result: Any, error: BaseException | None = None) -> None:
        """Fire `answer` with `result`, or with `error` if there is one; called in any thread."""
        self._waiting.append((answer, result, error))
        if not self._called:
            self._called = True
            self._reactor.callFromThread(self._deliver)

    def _deliver(self) -> None:
        # Before the queue is emptied: whoever appends later sees it and calls again.
        self._called = False
        while self._waiting:
            answer, result, error = self._waiting.popleft()
            if answer.called:  # cancelled, or failed by `close`
                continue
            if error is None:
                answer.callback(result)
            else:
                answer.errback(error)


class Threads(Generic[S]):
    """`count` threads with a session each, which take their work from one queue.

    A session is opened by the first job that needs it, and again after it became unusable.
    """

    def __init__(
        self,
        *,
        name: str,
        count: int,
        open_session: Callable[[], S],
        mailbox: Mailbox,
        reactor: Reactor,
        observe: Observer | None,
    ) -> None:
        self._name = name
        self._observe = observe
        self._open_session = open_session
        self._mailbox = mailbox
        self._reactor = reactor
        self._jobs: WarmQueue[Job[S] | None] = WarmQueue()
        self._running: dict[int, Job[S]] = {}
        self._sessions: dict[int, S] = {}
        self._closing = False
        self._ends: list[Deferred[None]] = [Deferred() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._run, args=(index, end), name=f"{name}-{index}", daemon=True)
            for index, end in enumerate(self._ends)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, name: str, call: Callable[[S], T], abandoned: type[DatabaseError]) -> T:
        """Run `call` with a session in one of the threads.

        Raises `DatabaseUnavailable` after `close`, and `abandoned` when `close` could not wait for its end.
        """
        if self._closing:
            raise DatabaseUnavailable("the database is closed")
        answer: Deferred[T] = Deferred()
        job: Job[S] = Job(call, abandoned, contextvars.copy_context(), answer)
        asked = monotonic()
        self._jobs.put(job)
        try:
            return await answer
        finally:
            if self._observe is not None and job.ended:
                self._observe(name, job.began - asked, job.ended - job.began)

    def use(self) -> PoolUse:
        """What the threads are at now."""
        return PoolUse(self._name, len(self._threads), len(self._running), len(self._jobs))

    async def close(self, grace: float) -> None:
        """Finish what is queued; what is not done after `grace` seconds is interrupted and fails.

        A thread that does not end in as much time again, because the network holds it, is left behind.
        """
        if not self._closing:
            self._closing = True
            for _ in self._threads:
                self._jobs.put(None)
        if not await self._ended(grace):
            logger.warning("Interrupting the work of %s", self._name)
            self._fail_waiting()
            threading.Thread(target=self._interrupt, name=f"{self._name}-interrupt", daemon=True).start()
            if not await self._ended(grace):
                self._fail_running()
                return
        for thread in self._threads:
            thread.join()

    async def _ended(self, seconds: float) -> bool:
        """Whether all threads have ended within so many seconds."""
        waiting: Deferred[None] = Deferred()
        timeout = self._reactor.callLater(seconds, waiting.callback, None)

        def one_ended(result: None) -> None:
            if not waiting.called and all(end.called for end in self._ends):
                timeout.cancel()
                waiting.callback(None)
            return result

        for end in self._ends:
            end.addCallback(one_ended)
        await waiting
        return all(end.called for end in self._ends)

    def _fail_waiting(self) -> None:
        for job in self._take_all():
            if not job.answer.called:
                job.answer.errback(DatabaseUnavailable("the database is being closed"))

    def _take_all(self) -> list[Job[S]]:
        """The jobs that no thread has taken; the marks of the end stay in the queue."""
        jobs = [job for job in self._jobs.take_all() if job is not None]
        for _ in self._threads:
            self._jobs.put(None)
        return jobs

    def _fail_running(self) -> None:
        for job in list(self._running.values()):
            if not job.answer.called:
                job.answer.errback(job.abandoned("the database was closed and the work did not end"))

    def _interrupt(self) -> None:
        for session in list(self._sessions.values()):
            try:
                session.interrupt()
            except Exception as error:  # it ended by itself meanwhile, or its server is away
                logger.warning("A session of %s could not be interrupted: %s", self._name, error)

    def _run(self, index: int, end: Deferred[None]) -> None:
        while (job := self._jobs.get()) is not None:
            self._running[index] = job
            self._do(index, job)
            del self._running[index], job
            self._settle(index)
        self._drop_session(index)
        self._mailbox.send(end, None)

    def _do(self, index: int, job: Job[S]) -> None:
        if job.answer.called:  # whoever asked has given up
            return
        result, failure = None, None
        began = monotonic()
        try:
            result = job.context.run(job.call, self._session(index))
        except BaseException as error:
            failure = error
        job.began, job.ended = began, monotonic()
        self._mailbox.send(job.answer, result, failure)

    def _session(self, index: int) -> S:
        session = self._sessions.get(index)
        if session is None:
            session = self._sessions[index] = self._open_session()
        return session

    def _settle(self, index: int) -> None:
        session = self._sessions.get(index)
        if session is None:
            return
        try:
            session.settle()
        except Exception:
            logger.exception("A session of %s could not be settled", self._name)
            self._drop_session(index)
        else:
            if not session.usable:
                self._drop_session(index)

    def _drop_session(self, index: int) -> None:
        session = self._sessions.pop(index, None)
        if session is not None:
            try:
                session.close()
            except Exception:
                logger.exception("A session of %s could not be closed", self._name)
