# SPDX-License-Identifier: Apache-2.0
"""One run on one database engine: all servers side by side, their measurements interleaved."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import attrs

from tests.bench.figures.figure import Figure, Reading
from tests.bench.machine import Cores, busy_seconds, wait_for_calm
from tests.bench.results import EngineResults, Outcome
from tests.bench.scale import Scale
from tests.bench.servers.database import DatabasePlace, PostgresCluster, SqliteFile, free_port
from tests.bench.servers.process import ChildProcess
from tests.bench.servers.recipe import Place, Recipe
from tests.bench.servers.server import Server
from tests.bench.stage import Stage

#: Seconds that a preparation and a measurement may take: of an ordinary figure, of a heavy one.
_PREPARE = {False: 900.0, True: 3600.0}
_MEASURE = {False: 600.0, True: 1200.0}
#: Seconds that a measurement waits for others to leave the machine alone.
_PATIENCE = 5.0
#: Seconds below which the kernel's ticks say nothing of who used the cores.
_SHORTEST = 0.5

Say = Callable[[str], None]


class _Contestant:
    """A figure on one server while it is measured."""

    def __init__(self, figure: Figure, stage: Stage) -> None:
        self.figure = figure
        self.stage = stage
        self.readings: list[Reading] = []
        self.disturbance: list[float | None] = []
        self.error: str | None = None

    def outcome(self) -> Outcome:
        values = {}
        if self.error is None:
            for line in self.figure.lines:
                values[line.key] = self.figure.combine([one.values[line.key] for one in self.readings])
        return Outcome(
            figure=self.figure.name,
            server=self.stage.server.name,
            values=values,
            readings=[one.values for one in self.readings],
            details=[one.details for one in self.readings],
            disturbance=self.disturbance,
            error=self.error,
        )


@attrs.frozen
class EngineRun:
    """What to measure, on what. `say` is told of progress."""

    engine: str
    recipes: Sequence[Recipe]
    figures: Sequence[type[Figure]]
    scale: Scale
    cores: Cores
    directory: Path
    say: Say

    async def measure(self) -> EngineResults:
        """Start everything, measure everything, end everything."""
        with contextlib.ExitStack() as ending:
            cluster = self._cluster(ending)
            stages, absent = await self._start(cluster, ending)
            outcomes: list[Outcome] = []
            for figure in self.figures:
                outcomes += await self._measure_figure(figure, stages, cluster)
            return EngineResults(
                engine=self.engine,
                database=cluster.version() if cluster is not None else "SQLite, a file for each server",
                versions={stage.server.name: stage.server.version for stage in stages},
                absent=absent,
                outcomes=outcomes,
            )

    def _cluster(self, ending: contextlib.ExitStack) -> PostgresCluster | None:
        if self.engine != "postgresql":
            return None
        cluster = PostgresCluster(self.directory / "postgresql", cores=self.cores.database)
        ending.callback(cluster.end)
        return cluster

    async def _start(
        self, cluster: PostgresCluster | None, ending: contextlib.ExitStack
    ) -> tuple[list[Stage], dict[str, str]]:
        stages: list[Stage] = []
        absent: dict[str, str] = {}
        for recipe in self.recipes:
            try:
                version = await asyncio.get_running_loop().run_in_executor(None, recipe.version)
                server = Server(recipe, self._place(recipe, cluster), version=version, cores=self.cores)
                ending.callback(server.end)
                await server.start()
            except (RuntimeError, OSError) as error:
                absent[recipe.name] = str(error)
                self.say(f"{recipe.name} is left out: {error}")
                continue
            await server.quiet()
            server.process.halt()
            stages.append(Stage(server, self.scale))
            self.say(f"{version} is there")
        return stages, absent

    def _place(self, recipe: Recipe, cluster: PostgresCluster | None) -> Place:
        directory = self.directory / recipe.name
        directory.mkdir()
        database: DatabasePlace = SqliteFile(directory / "homeserver.db")
        if cluster is not None:
            database = cluster.create(recipe.name)
        return Place(directory=directory, port=free_port(), database=database)

    async def _measure_figure(
        self, kind: type[Figure], stages: Sequence[Stage], cluster: PostgresCluster | None
    ) -> list[Outcome]:
        contestants = [
            _Contestant(kind(stage), stage) for stage in stages if _can_be_asked(kind, stage.server.name)
        ]
        for contestant in contestants:
            await self._try(contestant, self._prepare(contestant))
        for repeat in range(kind.repeats or self.scale.repeats):
            turn = repeat % max(1, len(contestants))
            for contestant in contestants[turn:] + contestants[:turn]:
                if contestant.error is None:
                    await self._try(contestant, self._measure_once(contestant, cluster))
        outcomes = [contestant.outcome() for contestant in contestants]
        for outcome in outcomes:
            self.say(_progress(outcome))
        return outcomes

    async def _try(self, contestant: _Contestant, step: Awaitable[None]) -> None:
        """Do one step; what goes wrong is the outcome of this figure on this server, and the others go on."""
        server = contestant.stage.server
        printed = server.process.log_size()
        try:
            await step
        except Exception as error:
            contestant.error = f"{type(error).__name__}: {error}"[:600]
            self.say(f"{server.name}: {contestant.figure.name}: {contestant.error}")
            self.say(server.process.log_tail(since=printed) or "(it printed nothing)")
            if not server.process.running:
                await server.start()
                server.process.halt()

    async def _prepare(self, contestant: _Contestant) -> None:
        async with _awake(contestant.stage):
            contestant.stage.server.use_all_cores()
            await asyncio.wait_for(contestant.figure.prepare(), _PREPARE[contestant.figure.heavy])

    async def _measure_once(self, contestant: _Contestant, cluster: PostgresCluster | None) -> None:
        server = contestant.stage.server
        wait_for_calm(self.cores, patience=_PATIENCE)
        async with _awake(contestant.stage):
            server.use_own_core()
            gc.collect()
            watched = [server.process, *([cluster.process] if cluster is not None else [])]
            clock = _Disturbance(self.cores, watched)
            reading = await asyncio.wait_for(contestant.figure.measure(), _MEASURE[contestant.figure.heavy])
            contestant.readings.append(reading)
            # A process of its own, which some figures are measured in, cannot be told from others.
            contestant.disturbance.append(None if contestant.figure.ours else clock.read())


def _can_be_asked(kind: type[Figure], server: str) -> bool:
    return server == "trellis" or (not kind.ours and (kind.limit or server != "bare"))


@contextlib.asynccontextmanager
async def _awake(stage: Stage) -> AsyncIterator[None]:
    """Only one server runs at a time; what it left to do it does in its own time."""
    stage.server.process.resume()
    try:
        yield
    finally:
        stage.client.close()
        if stage.server.process.running:
            await stage.server.quiet(10.0)
            stage.server.process.halt()


class _Disturbance:
    """How much of the cores goes to processes that are no part of this run."""

    def __init__(self, cores: Cores, processes: Sequence[ChildProcess]) -> None:
        self._cores = cores
        self._processes = processes
        self._begin = time.perf_counter()
        self._busy, self._ours = self._now()

    def read(self) -> float | None:
        """The share since the beginning; None where it is not known."""
        elapsed = time.perf_counter() - self._begin
        restarted = not all(process.running for process in self._processes)
        if restarted or elapsed < _SHORTEST:
            return None
        busy, ours = self._now()
        return max(0.0, busy - self._busy - (ours - self._ours)) / (elapsed * len(self._cores.all))

    def _now(self) -> tuple[float, float]:
        ours = time.process_time() + sum(process.cpu_seconds() for process in self._processes)
        return busy_seconds(self._cores.all), ours


def _progress(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.server:>8}  {outcome.figure}: {outcome.error}"
    values = ", ".join(f"{key} {value:.4g}" for key, value in outcome.values.items())
    return f"{outcome.server:>8}  {values}"
