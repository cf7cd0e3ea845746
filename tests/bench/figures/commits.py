# SPDX-License-Identifier: Apache-2.0
"""How many commits the position counter lets through, from one, two and three processes at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.scaling.committing import Task
from tests.bench.servers.database import PostgresDatabase
from tests.bench.servers.process import ChildProcess, Command
from tests.bench.stage import Stage

_TREE = Path(__file__).parents[3]
_PROCESSES = (1, 2, 3)
_IN_FLIGHT = (4, 50)
_START_SECONDS = 2.5
_SLOW_DISK = (("commit_delay", 5000), ("commit_siblings", 0))


class ScalingCommits(Figure):
    """Processes without a homeserver commit rows of messages, each with few or many in flight.

    The second time each commit waits 5 ms more before it syncs (PostgreSQL's `commit_delay`, in microseconds,
    whoever else is active), which is what a slower disk does: the lock of the counter is held meanwhile.
    """

    name = "scaling-commits"
    group = "scaling"
    ours = True
    heavy = True
    by_name = True
    repeats = 1
    lines = tuple(
        Line(f"scaling-commits-{kind}{count}", f"commits from {count} processes, {title}", "/s", "more")
        for kind, title in (("", "this disk"), ("slow-", "5 ms per sync"))
        for count in _PROCESSES
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._directory = stage.server.place.directory / self.name
        self._in_use: PostgresDatabase | None = None

    @property
    def _database(self) -> PostgresDatabase:
        assert self._in_use is not None
        return self._in_use

    async def prepare(self) -> None:
        """The schema: by a process that commits next to nothing."""
        database = self._stage.server.place.database.beside("commits")
        if not isinstance(database, PostgresDatabase):
            raise RuntimeError("several processes need --engine postgresql")
        self._in_use = database
        self._directory.mkdir()
        await self._run(1, 1, 0.1)

    async def measure(self) -> Reading:
        database = self._database.process
        database.pin(self._stage.server.all_cores)
        try:
            values, details = await self._rounds("")
            self._slow_down()
            slow_values, slow_details = await self._rounds("slow-")
        finally:
            database.pin(self._stage.server.database_cores)
        return Reading({**values, **slow_values}, {**details, **slow_details})

    async def _rounds(self, kind: str) -> tuple[dict[str, float], dict[str, float]]:
        """In turns: the medians, and of them those with few in flight as the values."""
        found: dict[tuple[int, int], list[Mapping[str, float]]] = {}
        for _ in range(self._stage.scale.repeats):
            for in_flight in _IN_FLIGHT:
                for count in _PROCESSES:
                    read = await self._run(count, in_flight, self._stage.scale.window)
                    found.setdefault((count, in_flight), []).append(read)
        values, details = {}, {}
        for (count, in_flight), readings in found.items():
            for key in readings[0]:
                median = statistics.median(one[key] for one in readings)
                details[f"{kind}{count} processes, {in_flight} in flight each: {key}"] = median
            if in_flight == _IN_FLIGHT[0]:
                values[f"scaling-commits-{kind}{count}"] = statistics.median(
                    one["commits per second"] for one in readings
                )
        return values, details

    def _slow_down(self) -> None:
        with contextlib.closing(self._database.connect()) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SELECT current_database()")
            name = cursor.fetchone()[0]
            for setting, value in _SLOW_DISK:
                cursor.execute(f"ALTER DATABASE {name} SET {setting} = {value}")

    async def _run(self, count: int, in_flight: int, seconds: float) -> Mapping[str, float]:
        """Let `count` processes commit at once."""
        begin = time.time() + _START_SECONDS
        results = [self._directory / f"result{number}.json" for number in range(count)]
        for result in results:
            result.unlink(missing_ok=True)
        processes = [
            self._start(
                Task(
                    process=number,
                    database=self._database.configuration(),
                    begin=begin,
                    seconds=seconds,
                    in_flight=in_flight,
                ),
                result,
            )
            for number, result in enumerate(results)
        ]
        try:
            await asyncio.sleep(max(0.0, begin - time.time()))
            before = self._database.process.cpu_seconds()
            await asyncio.sleep(seconds)
            spent = self._database.process.cpu_seconds() - before
            while any(process.running for process in processes):
                await asyncio.sleep(0.02)
        finally:
            for process in processes:
                process.end()
        if missing := [number for number, result in enumerate(results) if not result.exists()]:
            raise RuntimeError(f"a process failed:\n{processes[missing[0]].log_tail()}")
        read = [json.loads(result.read_text()) for result in results]
        total = {key: sum(one[key] for one in read) for key in read[0]}
        return {
            "commits per second": total["commits"] / seconds,
            "units per second": total["units"] / seconds,
            "units per commit": total["units"] / max(1.0, total["commits"]),
            "a commit takes, ms": total["seconds in commits"] / max(1.0, total["commits"]) * 1e3,
            "database per commit, ms": spent / max(1.0, total["commits"]) * 1e3,
            "database per unit, ms": spent / max(1.0, total["units"]) * 1e3,
        }

    def _start(self, task: Task, result: Path) -> ChildProcess:
        path = f"{self._stage.server.place.directory / 'tree'}:{_TREE}"
        command = Command(
            [sys.executable, "-m", "tests.bench.scaling", task.encode(), str(result)],
            self._directory,
            environment={"PYTHONPATH": path},
        )
        log = self._directory / f"output{task.process}.log"
        return ChildProcess(command, cores=self._stage.server.all_cores, log=log)
