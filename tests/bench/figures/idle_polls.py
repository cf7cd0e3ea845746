# SPDX-License-Identifier: Apache-2.0
"""10,000 clients that hang on `/sync` and hear nothing, and their return after a restart."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from time import perf_counter

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.client import RefusedError, each
from tests.bench.load.connection import Connection, connect, connections
from tests.bench.load.long_poll import LongPoll
from tests.bench.load.percentiles import percentile
from tests.bench.load.requests import User, message, sync
from tests.bench.stage import Stage

_MINUTES_5 = 300_000
#: How many connections knock at the same moment; a listen queue holds no more.
_AT_ONCE = 200
_numbers = itertools.count()


class _Crowd(Figure):
    """Every poll is another user's."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._clients: list[tuple[User, str]] = []
        self._active: tuple[User, User, str] | None = None

    async def prepare(self) -> None:
        people = await self._stage.people(self._stage.scale.polls)
        sender, reader = await each(range(2), lambda _: self._stage.new_user())
        self._active = sender, reader, await self._stage.room(sender, "Awake", [reader])
        tokens = await each(people, self._stage.position)
        self._clients = list(zip(people, tokens, strict=True))


class IdlePolls(_Crowd):
    """The polls are set up, then a room of two goes on talking among them."""

    name = "idle-polls"
    lines = (
        Line("idle-polls-memory", "memory of each of 10,000 idle long polls", "KiB", "less"),
        Line("idle-polls-seen", "send until seen among 10,000 idle long polls, p50", "ms", "less"),
    )
    heavy = True
    repeats = 1

    async def measure(self) -> Reading:
        assert self._active is not None
        server = self._stage.server
        await server.restart()
        await server.quiet(20.0)
        before = server.process.resident_bytes()
        begin = perf_counter()
        async with connections(server.address, len(self._clients)) as waiting:
            polls = self._park(waiting)
            await server.quiet(60.0)
            parked = perf_counter() - begin
            grown = server.process.resident_bytes() - before
            times = await self._talk(*self._active)
            woken = sum(poll.answers for poll in polls)
            for poll in polls:
                poll.stop()
        if broken := [poll.broken for poll in polls if poll.broken is not None]:
            raise ValueError(f"{len(broken)} long polls broke, one by {broken[0]}")
        values = {
            "idle-polls-memory": grown / 1024 / len(self._clients),
            "idle-polls-seen": percentile(times, 0.5) * 1e3,
        }
        return Reading(values, {"until all wait, s": parked, "idle polls that were answered": float(woken)})

    def _park(self, waiting: Sequence[Connection]) -> list[LongPoll]:
        polls = [
            LongPoll(connection, user, token, _MINUTES_5)
            for connection, (user, token) in zip(waiting, self._clients, strict=True)
        ]
        for poll in polls:
            poll.poll()
        return polls

    async def _talk(self, sender: User, reader: User, room_id: str) -> list[float]:
        since = await self._stage.position(reader)
        times = []
        async with connections(self._stage.server.address, 2) as (sending, waiting):
            poll = LongPoll(waiting, reader, since)
            poll.poll()
            for _ in range(self._stage.scale.rounds):
                await self._stage.server.quiet(3.0)
                number = next(_numbers)
                marker = f"the waking message {number}."
                seen = poll.watch(marker.encode())
                begin = perf_counter()
                await sending.ask(message(sender, room_id, f"waking{number}", marker))
                times.append(await asyncio.wait_for(seen, 30) - begin)
            poll.stop()
        return times


class Reconnect(_Crowd):
    """The server restarts; all clients come back at once with their tokens and want an answer."""

    name = "reconnect"
    lines = (
        Line("reconnect-all", "10,000 clients return after a restart: all answered", "s", "less"),
        Line("reconnect-p99", "10,000 clients return after a restart: p99 of a /sync", "ms", "less"),
    )
    heavy = True
    repeats = 1

    async def measure(self) -> Reading:
        await self._stage.server.restart()
        latencies: list[float] = []

        async def come_back(client: tuple[User, str]) -> None:
            user, token = client
            begin = perf_counter()
            connection = await connect(self._stage.server.address)
            try:
                answer = await asyncio.wait_for(connection.ask(sync(user, since=token)), 120)
            finally:
                connection.close()
            if answer.status != 200:
                raise RefusedError("sync", answer)
            latencies.append(perf_counter() - begin)

        begin = perf_counter()
        await each(self._clients, come_back, _AT_ONCE)
        values = {"reconnect-all": perf_counter() - begin, "reconnect-p99": percentile(latencies, 0.99) * 1e3}
        return Reading(values)
