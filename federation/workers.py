# SPDX-License-Identifier: Apache-2.0
"""Processor work beside the reactor: a few processes that run functions of `federation/rules`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from time import perf_counter
from typing import Any, Protocol, TypeVar, TypeVarTuple, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from federation.worker_process import WorkerContext, begin_work
from storage.runtime.metrics import Tally

logger = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVarTuple("A")


class Reactor(Protocol):
    """The part of the reactor that is needed to come back from a thread."""

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: A002, N802
        """Call `callable` in the reactor's thread."""

    def getThreadPool(self) -> ThreadPool:  # noqa: N802
        """The threads for what waits."""


class Workers:
    """Runs functions in other processes, which are started when first needed and stay until `close`.

    Functions, arguments and results travel pickled; a function is one of a module that needs no more than
    `federation/rules`.
    """

    def __init__(self, *, processes: int, reactor: Reactor) -> None:
        """`processes` is how many there are at most."""
        self._processes = processes
        self._reactor = reactor
        self._pool: ProcessPoolExecutor | None = None
        self._closed = False
        self.calls = Tally()

    async def run(self, function: Callable[[*A], T], *arguments: *A) -> T:
        """What `function` returns or raises for the arguments.

        A call that lost its process (to want of memory, say) is tried once more, in new processes.
        Raises `BrokenProcessPool` if these are lost too, and `RuntimeError` after `close`.
        """
        began = perf_counter()
        try:
            return await self._attempt(function, *arguments)
        except BrokenProcessPool:
            logger.warning("A worker process ended unexpectedly; %r is tried again", function)
            return await self._attempt(function, *arguments)
        finally:
            self.calls.add(perf_counter() - began)

    async def close(self) -> None:
        """End the processes once what they are at is done; what waits fails with `CancelledError`."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            shutdown = partial(pool.shutdown, cancel_futures=True)
            threads = self._reactor.getThreadPool()
            await deferToThreadPool(cast(IReactorFromThreads, self._reactor), threads, shutdown)

    async def _attempt(self, function: Callable[[*A], T], *arguments: *A) -> T:
        pool = self._started()
        try:
            return await self._result(pool.submit(function, *arguments))
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            raise

    def _started(self) -> ProcessPoolExecutor:
        if self._closed:
            raise RuntimeError("the workers are closed")
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=WorkerContext(), initializer=begin_work
            )
        return self._pool

    def _result(self, future: Future[T]) -> Deferred[T]:
        """The result, in the reactor's thread. Whoever cancels it takes back a call that has not begun."""

        def take_back(_: object) -> None:
            future.cancel()

        result: Deferred[T] = Deferred(take_back)
        future.add_done_callback(partial(self._reactor.callFromThread, _deliver, result))
        return result


def _deliver(result: Deferred[Any], future: Future[Any]) -> None:
    try:
        value = future.result()
    except Exception as error:
        result.errback(error)
    else:
        result.callback(value)
