# SPDX-License-Identifier: Apache-2.0
"""An open loop: actors that act by the clock, however slow the server is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from tests.bench.load.client import RefusedError
from tests.bench.load.connection import Connection


class Actor:
    """Asks once per interval. Where the answer is late, the next request counts from when it was due."""

    def __init__(
        self, connection: Connection, next_request: Callable[[], bytes | None], *, interval: float
    ) -> None:
        self.latencies: list[float] = []
        self._connection = connection
        self._next_request = next_request
        self._interval = interval

    async def act(self, phase: float, seconds: float) -> None:
        """Act for `seconds`, the first time after `phase`. `RefusedError` for an answer that is not 200."""
        begin = perf_counter()
        due = begin + phase
        while due < begin + seconds:
            wait = due - perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            asked_at = perf_counter() if wait > 0 else due
            request = self._next_request()
            if request is None:
                return
            answer = await asyncio.wait_for(self._connection.ask(request), 60)
            if answer.status != 200:
                raise RefusedError(request.partition(b" HTTP")[0].decode(), answer)
            self.latencies.append(perf_counter() - asked_at)
            due += self._interval


async def act_together(actors: list[Actor], *, seconds: float, interval: float) -> None:
    """Let all act, their first moments spread over one interval."""
    tasks = [
        asyncio.ensure_future(actor.act(interval * index / len(actors), seconds))
        for index, actor in enumerate(actors)
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
