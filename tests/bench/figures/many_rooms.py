# SPDX-License-Identifier: Apache-2.0
"""One user's initial `/sync` of 3,000 rooms, and what everybody else waits meanwhile."""

from __future__ import annotations

import asyncio
from time import perf_counter

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.client import RefusedError
from tests.bench.load.connection import Address, connections
from tests.bench.load.paced import Actor
from tests.bench.load.percentiles import percentile
from tests.bench.load.requests import User, messages, sync
from tests.bench.stage import Stage

_OTHERS = 10
_INTERVAL = 0.1
MIB = 2**20


class ManyRooms(Figure):
    """After a start ten others send every 100 ms, each in a room of their own, while the large sync runs."""

    name = "many-rooms"
    lines = (
        Line("many-rooms-sync", "initial /sync, 3,000 rooms", "s", "less"),
        Line("many-rooms-others", "p99 of others' sends while 3,000 rooms sync", "ms", "less"),
        Line("many-rooms-memory", "memory that the sync of 3,000 rooms takes per room", "KiB", "less"),
    )
    heavy = True
    repeats = 1

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._user = User("", "")
        self._others: list[tuple[User, str]] = []

    async def prepare(self) -> None:
        self._user = await self._stage.new_user()
        await self._stage.rooms_of(self._user, self._stage.scale.many_rooms)
        for user in await self._stage.people(_OTHERS):
            self._others.append((user, await self._stage.room(user, "Another")))

    async def measure(self) -> Reading:
        server = self._stage.server
        await server.restart()
        await server.quiet(20.0)
        async with connections(server.address, _OTHERS) as acting:
            actors = []
            for connection, (user, room_id) in zip(acting, self._others, strict=True):
                sends = messages(user, room_id)
                actors.append(Actor(connection, sends.__next__, interval=_INTERVAL))
            await self._act(actors, 1.0)
            for actor in actors:
                actor.latencies.clear()
            before = server.process.resident_bytes()
            syncing = asyncio.ensure_future(self._sync(server.address))
            while not syncing.done():
                await self._act(actors, 1.0)
            took, size = await syncing
            grown = server.process.resident_bytes() - before
        values = {
            "many-rooms-sync": took,
            "many-rooms-others": percentile([one for actor in actors for one in actor.latencies], 0.99) * 1e3,
            "many-rooms-memory": grown / 1024 / self._stage.scale.many_rooms,
        }
        return Reading(values, {"size, MiB": size / MIB})

    async def _act(self, actors: list[Actor], seconds: float) -> None:
        phases = [_INTERVAL * index / len(actors) for index in range(len(actors))]
        await asyncio.gather(
            *(actor.act(phase, seconds) for actor, phase in zip(actors, phases, strict=True))
        )

    async def _sync(self, address: Address) -> tuple[float, int]:
        async with connections(address, 1) as (connection,):
            begin = perf_counter()
            answer = await asyncio.wait_for(connection.ask(sync(self._user)), 300)
            took = perf_counter() - begin
        if answer.status != 200:
            raise RefusedError("initial sync", answer)
        return took, len(answer.body)
