# SPDX-License-Identifier: Apache-2.0
"""A server under test: a recipe at a place, running, halted, restarted."""

from __future__ import annotations

import asyncio
import contextlib
import time

from tests.bench.load.connection import Address, connect
from tests.bench.load.requests import request
from tests.bench.machine import Cores
from tests.bench.servers.process import ChildProcess, wait_until_quiet
from tests.bench.servers.recipe import Place, Recipe

_VERSIONS = request("GET", "/_matrix/client/versions")


class Server:
    """Runs one recipe. Start it before anything else."""

    def __init__(self, recipe: Recipe, place: Place, *, version: str, cores: Cores) -> None:
        self.name = recipe.name
        self.version = version
        self.place = place
        self.address = Address("127.0.0.1", place.port)
        self._cores = cores
        self._command = recipe.command(place)
        self._process: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess:
        """The process that runs now."""
        assert self._process is not None
        return self._process

    async def start(self, patience: float = 90.0) -> float:
        """Start it; the seconds until its first answer. RuntimeError with its log where there is none."""
        begin = time.perf_counter()
        log = self.place.directory / "output.log"
        self._process = ChildProcess(self._command, cores=self._cores.server, log=log)
        while not await self._answers():
            if not self.process.running or time.perf_counter() - begin > patience:
                self.end()
                raise RuntimeError(f"{self.name} does not start:\n{self._process.log_tail()}")
            await asyncio.sleep(0.005)
        return time.perf_counter() - begin

    async def restart(self) -> float:
        """End it in order and start it again; the seconds from the start until its first answer."""
        self.end()
        return await self.start()

    def end(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            self._process.end()

    def use_all_cores(self) -> None:
        """For setting the stage, which is not measured."""
        self.process.pin(self._cores.all)

    @property
    def all_cores(self) -> frozenset[int]:
        """What there is for all."""
        return self._cores.all

    @property
    def database_cores(self) -> frozenset[int]:
        """What the database has when a server is measured on a core of its own."""
        return self._cores.database

    def use_own_core(self) -> None:
        """For measuring."""
        self.process.pin(self._cores.server)

    async def quiet(self, patience: float = 5.0) -> float:
        """Wait until it has finished what it does behind its answers; the seconds that took."""
        return await asyncio.get_running_loop().run_in_executor(
            None, lambda: wait_until_quiet(self.process, patience=patience)
        )

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            connection = await connect(self.address)
            try:
                return (await asyncio.wait_for(connection.ask(_VERSIONS), 10)).status == 200
            finally:
                connection.close()
        return False
