# SPDX-License-Identifier: Apache-2.0
"""From sending a message until it has been read in the others' `/sync`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from time import perf_counter

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.client import RefusedError, each
from tests.bench.load.connection import Connection, connections
from tests.bench.load.long_poll import LongPoll
from tests.bench.load.percentiles import percentile
from tests.bench.load.requests import User, message
from tests.bench.stage import Stage

_markers = itertools.count()


class _Propagation(Figure):
    """One sender, and watchers whose long polls wait. Time ends when the last of them has the message."""

    name = ""
    rounds_per_watcher = 1

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._sender = User("", "")
        self._watchers: Sequence[User] = ()
        self._room_id = ""

    async def _set(self, watchers: int) -> None:
        self._sender, *self._watchers = await self._stage.people(watchers + 1)
        self._room_id = await self._stage.room(self._sender, f"Watched by {watchers}", self._watchers)

    async def measure(self) -> Reading:
        tokens = await each(self._watchers, self._stage.position)
        async with connections(self._stage.server.address, len(self._watchers) + 1) as (sending, *waiting):
            polls = [
                LongPoll(connection, watcher, since)
                for connection, watcher, since in zip(waiting, self._watchers, tokens, strict=True)
            ]
            for poll in polls:
                poll.poll()
            await self._round(sending, polls)
            times = [await self._round(sending, polls) for _ in range(self._stage.scale.rounds)]
            for poll in polls:
                poll.stop()
        details = {"p90, ms": percentile(times, 0.9) * 1e3}
        return Reading({self.name: percentile(times, 0.5) * 1e3}, details)

    async def _round(self, sending: Connection, polls: Sequence[LongPoll]) -> float:
        """One message; the seconds until every poll has answered with it."""
        await self._stage.server.quiet(3.0)
        number = next(_markers)
        marker = f"the marked message {number}."
        seen = [poll.watch(marker.encode()) for poll in polls]
        begin = perf_counter()
        sent = sending.ask(message(self._sender, self._room_id, f"marked{number}", marker))
        answer, times = await asyncio.wait_for(asyncio.gather(sent, asyncio.gather(*seen)), 60)
        if answer.status != 200:
            raise RefusedError("send", answer)
        return max(times) - begin


class SeenByOne(_Propagation):
    """A room of two."""

    name = "seen"
    lines = (Line("seen", "send until seen in the other's /sync, p50", "ms", "less", 2, 9),)

    async def prepare(self) -> None:
        await self._set(1)


class SeenByAll(_Propagation):
    """A room of 101."""

    name = "seen-by-100"
    lines = (
        Line("seen-by-100", "send until seen in all of 100 others' /sync, p50", "ms", "less", 30, 234 / 30),
    )

    async def prepare(self) -> None:
        await self._set(self._stage.scale.watchers)
