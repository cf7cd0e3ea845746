# SPDX-License-Identifier: Apache-2.0
"""Resident memory: with nothing to do after a start, and after what the figures before this one have done."""

from __future__ import annotations

from tests.bench.figures.figure import Figure, Line, Reading

MIB = 2**20


class IdleMemory(Figure):
    """A fresh process that has answered once and come to rest."""

    name = "memory-idle"
    lines = (Line("memory-idle", "memory, idle", "MiB", "less", 85, 118 / 85),)
    limit = True
    repeats = 1

    async def prepare(self) -> None:
        await self._stage.server.restart()

    async def measure(self) -> Reading:
        await self._stage.server.quiet()
        return Reading({"memory-idle": self._stage.server.process.resident_bytes() / MIB})


class MemoryAfter(Figure):
    """The same process after the figures before this one, of which none but the first two restarts it."""

    name = "memory-after"
    lines = (Line("memory-after", "memory, after the runs", "MiB", "less", 140, 180 / 140),)
    limit = True
    repeats = 1

    async def prepare(self) -> None:
        await self._stage.server.quiet()

    async def measure(self) -> Reading:
        return Reading({"memory-after": self._stage.server.process.resident_bytes() / MIB})
