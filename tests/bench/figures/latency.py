# SPDX-License-Identifier: Apache-2.0
"""How long one user waits for one write after the other."""

from __future__ import annotations

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.figures.throughput import median_of
from tests.bench.load.requests import User, messages, state_changes
from tests.bench.stage import Stage


class _OneWriter(Figure):
    """One user in a room of ten."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._place: tuple[User, str] | None = None

    async def prepare(self) -> None:
        users = await self._stage.people(10)
        self._place = users[0], await self._stage.room(users[0], "Ten", users[1:])

    @property
    def place(self) -> tuple[User, str]:
        """Who writes, and where."""
        assert self._place is not None
        return self._place


class SendLatency(_OneWriter):
    """Message after message."""

    name = "send-latency"
    lines = (Line("send-latency", "one user, send after send, p50", "ms", "less", 1, 12),)
    limit = True

    async def measure(self) -> Reading:
        return await median_of(self._stage, self.name, messages(*self.place))


class StateLatency(_OneWriter):
    """Topic after topic."""

    name = "state-latency"
    lines = (Line("state-latency", "state change, p50", "ms", "less", 1.2, 25 / 1.2),)
    limit = True

    async def measure(self) -> Reading:
        return await median_of(self._stage, self.name, state_changes(*self.place))
