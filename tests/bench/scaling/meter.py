# SPDX-License-Identifier: Apache-2.0
"""Whose processor time a window took: servers', PostgreSQL's, the load generator's, that of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter, process_time

from tests.bench.machine import busy_seconds
from tests.bench.servers.process import ChildProcess


class Meter:
    """Counts from when it is made."""

    def __init__(
        self, servers: Sequence[ChildProcess], database: ChildProcess, cores: frozenset[int]
    ) -> None:
        self._servers = servers
        self._database = database
        self._cores = cores
        self._begin = self._now()

    def read(self) -> Mapping[str, float]:
        """Processor seconds since the beginning, by whose they are, and `others`: the part of all cores."""
        spent = {key: value - self._begin[key] for key, value in self._now().items()}
        wall = spent.pop("wall") * len(self._cores)
        everybody = spent.pop("everybody")
        return {**spent, "others": max(0.0, everybody - sum(spent.values())) / wall}

    def _now(self) -> dict[str, float]:
        return {
            "wall": perf_counter(),
            "everybody": busy_seconds(self._cores),
            "database": self._database.cpu_seconds(),
            "load": process_time(),
            **{f"server {index}": server.cpu_seconds() for index, server in enumerate(self._servers)},
        }
