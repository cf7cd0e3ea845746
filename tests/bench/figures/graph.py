# SPDX-License-Identifier: Apache-2.0
"""What the room graph costs: rooms that fork, are joined late, or are large.

Servers that would send what these figures need are not there, so it is done in a process of its own, over the
parts that the composition root builds (`tests.bench.graph`), from the same tree and with all cores.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.graph.task import Task
from tests.bench.servers.database import DatabasePlace
from tests.bench.servers.process import ChildProcess, Command
from tests.bench.stage import Stage

_TREE = Path(__file__).parents[3]
_STALL = "longest stall by own processor time, ms"


class GraphFigure(Figure):
    """One scenario over a database that is empty at first; `reads` says what of it each line shows."""

    group = "graph"
    ours = True
    heavy = True
    repeats = 1
    scenario: ClassVar[str]
    reads: ClassVar[Mapping[str, str]]

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._directory = stage.server.place.directory / self.name
        self._directory.mkdir()

    async def prepare(self) -> None:
        """Every scenario sets its own stage."""

    async def measure(self) -> Reading:
        return self._reading(await self._run(self.scenario, self._database(self.scenario)))

    def _reading(self, read: Mapping[str, float]) -> Reading:
        values = {key: read[name] for key, name in self.reads.items()}
        return Reading(values, {name: value for name, value in read.items() if name not in values})

    def _database(self, name: str) -> DatabasePlace:
        return self._stage.server.place.database.beside(f"{self.name}_{name}".replace("-", "_"))

    async def _run(self, scenario: str, database: DatabasePlace) -> Mapping[str, float]:
        """What the scenario reads. RuntimeError with what it printed where it fails."""
        result = self._directory / f"{scenario}.json"
        task = Task(
            scenario=scenario,
            database=database.configuration(),
            directory=str(self._directory),
            share=self._stage.scale.graph_share,
        )
        path = f"{self._stage.server.place.directory / 'tree'}:{_TREE}"
        command = Command(
            [sys.executable, "-m", "tests.bench.graph", task.encode(), str(result)],
            self._directory,
            environment={"PYTHONPATH": path},
        )
        process = ChildProcess(
            command, cores=self._stage.server.all_cores, log=self._directory / "output.log"
        )
        try:
            while process.running:
                await asyncio.sleep(0.05)
        finally:
            process.end()
        if not result.exists():
            raise RuntimeError(f"{scenario} failed:\n{process.log_tail()}")
        read: Mapping[str, float] = json.loads(result.read_text())
        return read


class Split(GraphFigure):
    """5,000 join on the far side of a split, in transactions of 50; then an event joins both sides."""

    name = "graph-split"
    scenario = "split"
    lines = (
        Line("graph-split", "5,000 joins beyond a split, and the merge", "s", "less"),
        Line("graph-split-cpu", "the same, processor time", "s", "less"),
        Line("graph-split-rows", "the same, rows of states", "rows", "less", 10_100),
        Line("graph-split-bytes", "the same, growth of the database", "MiB", "less"),
        Line("graph-split-stall", "the same, longest stall (processor time)", "ms", "less"),
        Line("graph-split-sends", "the same, p99 of a send into another room", "ms", "less"),
    )
    reads: ClassVar[Mapping[str, str]] = {
        "graph-split": "seconds",
        "graph-split-cpu": "processor seconds",
        "graph-split-rows": "rows",
        "graph-split-bytes": "MiB",
        "graph-split-stall": _STALL,
        "graph-split-sends": "local send p99, ms",
    }


class SplitAtOnce(GraphFigure):
    """The same in one batch."""

    name = "graph-split-at-once"
    scenario = "split-at-once"
    lines = (
        Line("graph-split-at-once", "5,000 joins beyond a split as one batch", "s", "less"),
        Line("graph-split-at-once-cpu", "the same, processor time", "s", "less"),
        Line("graph-split-at-once-stall", "the same, longest stall (processor time)", "ms", "less"),
    )
    reads: ClassVar[Mapping[str, str]] = {
        "graph-split-at-once": "seconds",
        "graph-split-at-once-cpu": "processor seconds",
        "graph-split-at-once-stall": _STALL,
    }


class Backfill(GraphFigure):
    """10,000 state changes of 1,000 keys in a line below a join, in chunks of 100 with the states below."""

    name = "graph-backfill"
    scenario = "backfill"
    lines = (
        Line("graph-backfill", "backfill of 10,000 state changes", "s", "less"),
        Line("graph-backfill-cpu", "the same, processor time", "s", "less"),
        Line("graph-backfill-rows", "the same, rows of states", "rows", "less", 10_100),
        Line("graph-backfill-stall", "the same, longest stall (processor time)", "ms", "less"),
        Line("graph-backfill-sends", "the same, p99 of a send into another room", "ms", "less"),
    )
    reads: ClassVar[Mapping[str, str]] = {
        "graph-backfill": "seconds",
        "graph-backfill-cpu": "processor seconds",
        "graph-backfill-rows": "rows",
        "graph-backfill-stall": _STALL,
        "graph-backfill-sends": "local send p99, ms",
    }


class Churn(GraphFigure):
    """A room of 10,000 with 20 forward extremities, each going on: members leave, join, take names."""

    name = "graph-churn"
    scenario = "churn"
    lines = (
        Line("graph-churn", "20 extremities, 10,000 members: events taken in", "/s", "more"),
        Line("graph-churn-p50", "the same, a transaction of 5 events, p50", "ms", "less"),
        Line("graph-churn-p99", "the same, a transaction of 5 events, p99", "ms", "less"),
        Line("graph-churn-stall", "the same, longest stall (processor time)", "ms", "less"),
        Line("graph-churn-sends", "the same, p99 of a send into another room", "ms", "less"),
        Line("graph-churn-own", "the same, p50 of a send into this room", "ms", "less"),
        Line("graph-churn-own-p99", "the same, p99 of a send into this room", "ms", "less"),
    )
    reads: ClassVar[Mapping[str, str]] = {
        "graph-churn": "events per second",
        "graph-churn-p50": "transaction p50, ms",
        "graph-churn-p99": "transaction p99, ms",
        "graph-churn-stall": _STALL,
        "graph-churn-sends": "local send p99, ms",
        "graph-churn-own": "in the room itself: local send p50, ms",
        "graph-churn-own-p99": "in the room itself: local send p99, ms",
    }


class JoinLarge(GraphFigure):
    """The server joins a room of 10,000 members: their state is learnt, then the join enters the room."""

    name = "graph-join"
    scenario = "join"
    lines = (
        Line("graph-join", "join of a room of 10,000, without the network and signatures", "s", "less"),
        Line("graph-join-cpu", "the same, processor time", "s", "less"),
        Line("graph-join-stall", "the same, longest stall (processor time)", "ms", "less"),
        Line("graph-join-sends", "the same, p99 of a send into another room", "ms", "less"),
    )
    reads: ClassVar[Mapping[str, str]] = {
        "graph-join": "seconds",
        "graph-join-cpu": "processor seconds",
        "graph-join-stall": _STALL,
        "graph-join-sends": "local send p99, ms",
    }


class Tangle(GraphFigure):
    """Batches of 50 state events, each of which follows on two whose states differ."""

    name = "graph-tangle"
    scenario = "tangle"
    lines = (
        Line("graph-tangle", "events that each merge two lines, taken in", "/s", "more"),
        Line("graph-tangle-p50", "the same, a batch of 50, p50", "ms", "less"),
        Line("graph-tangle-stall", "the same, longest stall (processor time)", "ms", "less"),
    )
    reads: ClassVar[Mapping[str, str]] = {
        "graph-tangle": "events per second",
        "graph-tangle-p50": "batch p50, ms",
        "graph-tangle-stall": _STALL,
    }


class OldState(GraphFigure):
    """The state at a random event of a room of 100,000 state changes of 10,000 keys."""

    name = "graph-old-state"
    scenario = "old-state"
    lines = (
        Line("graph-old-state", "state of long ago, all of 10,000 keys, p50", "ms", "less"),
        Line("graph-old-state-two", "state of long ago, two keys, p50", "ms", "less"),
    )
    reads: ClassVar[Mapping[str, str]] = {
        "graph-old-state": "whole state p50, ms",
        "graph-old-state-two": "two keys p50, ms",
    }


class GraphMemory(GraphFigure):
    """Resident memory of rooms, each time in a fresh process over a database that another has filled."""

    name = "graph-memory"
    lines = (
        Line("graph-memory-cold", "memory of a joined room at rest (of 1,000)", "KiB", "less"),
        Line("graph-memory-hot", "memory of a hot room of 10,000", "MiB", "less"),
        Line("graph-memory-resolved", "further, once its state was resolved", "MiB", "less"),
    )

    async def measure(self) -> Reading:
        empty, cold, hot = (self._database(name) for name in ("empty", "cold", "hot"))
        without = await self._run("at-rest", empty)
        await self._run("fill-cold", cold)
        with_cold = await self._run("at-rest", cold)
        await self._run("fill-hot", hot)
        read = await self._run("hot", hot)
        grown = with_cold["resident, MiB"] - without["resident, MiB"]
        return Reading(
            {
                "graph-memory-cold": grown * 1024 / (1_000 * self._stage.scale.graph_share),
                "graph-memory-hot": read["a further room, MiB"],
                "graph-memory-resolved": read["a further resolution, MiB"],
            },
            {"without rooms, MiB": without["resident, MiB"], **read},
        )
