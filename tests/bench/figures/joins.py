# SPDX-License-Identifier: Apache-2.0
"""Local users who join one room until it has 2,000 members."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.closed_loop import closed_loop
from tests.bench.load.percentiles import percentile
from tests.bench.load.requests import User, join
from tests.bench.stage import Stage

_LANES = 8
_SLICES = 4


class Joins(Figure):
    """Eight at a time. Each measurement is a quarter of the joins; the rate is that over the whole room."""

    name = "joins"
    lines = (Line("joins", "local joins into one room of 2,000", "/s", "more", 800, 800 / 41),)
    repeats = _SLICES

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._room_id = ""
        self._waiting: list[User] = []

    async def prepare(self) -> None:
        host, *self._waiting = await self._stage.people(self._stage.scale.joiners)
        self._room_id = await self._stage.room(host, "Crowd")

    async def measure(self) -> Reading:
        size = self._stage.scale.joiners // _SLICES
        now, self._waiting = self._waiting[:size], self._waiting[size:]
        lanes: list[Iterator[bytes]] = [
            iter([join(user, self._room_id) for user in now[lane::_LANES]]) for lane in range(_LANES)
        ]
        tally = await closed_loop(self._stage.server.address, lanes, 300.0)
        if len(tally.latencies) < len(now):
            raise ValueError(f"{len(tally.latencies)} of {len(now)} joins within 300 s")
        details = {"p99, ms": percentile(tally.latencies, 0.99) * 1e3}
        return Reading({self.name: tally.rate}, details)

    @staticmethod
    def combine(values: list[float]) -> float:
        """The rate over all slices, which are equally large."""
        return statistics.harmonic_mean(values)
