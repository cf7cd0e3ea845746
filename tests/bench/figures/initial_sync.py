# SPDX-License-Identifier: Apache-2.0
"""The initial `/sync` of a user with 300 rooms: the first after a start, and the one after it."""

from __future__ import annotations

from time import perf_counter

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.client import RefusedError
from tests.bench.load.connection import connections
from tests.bench.load.requests import User, sync
from tests.bench.stage import Stage


class InitialSync(Figure):
    """Restarts the server, so that its memory holds nothing of the rooms, and syncs twice without a token.

    The second is another device's, since a server may keep a whole answer for the device that asks again.
    """

    name = "initial-sync"
    lines = (
        Line("initial-sync-first", "initial /sync, 300 rooms, first after a start", "s", "less", 0.2, 5),
        Line("initial-sync-again", "initial /sync, 300 rooms, again", "s", "less", 0.08, 0.7 / 0.08),
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._devices: list[User] = []

    async def prepare(self) -> None:
        owner = (await self._stage.owned_rooms()).owner
        self._devices = [owner, await self._stage.new_device(owner)]

    async def measure(self) -> Reading:
        await self._stage.server.restart()
        await self._stage.server.quiet()
        first, size = await self._sync(self._devices[0])
        again, _ = await self._sync(self._devices[1])
        values = {"initial-sync-first": first, "initial-sync-again": again}
        return Reading(values, {"size, KiB": size / 1024})

    async def _sync(self, device: User) -> tuple[float, int]:
        async with connections(self._stage.server.address, 1) as (connection,):
            begin = perf_counter()
            answer = await connection.ask(sync(device))
            took = perf_counter() - begin
        if answer.status != 200:
            raise RefusedError("initial sync", answer)
        return took, len(answer.body)
