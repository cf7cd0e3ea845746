# SPDX-License-Identifier: Apache-2.0
"""How long what is due waits because the reactor is at something else."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from twisted.internet.task import deferLater

from storage.runtime.clock import Clock
from storage.runtime.metrics import Histogram, distribution

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class ReactorLag:
    """Asks to be called every `interval` seconds, and notes how much too late that is."""

    def __init__(self, *, clock: Clock, interval: float = 0.1) -> None:
        self._clock = clock
        self._interval = interval
        self.seconds = Histogram(*_SECONDS)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            due = self._clock.seconds() + self._interval
            await deferLater(self._clock, self._interval)  # type: ignore[arg-type]
            # The system's clock may have been set back.
            self.seconds.observe(max(0.0, self._clock.seconds() - due))

    def collect(self) -> Iterable[Metric]:
        """The metric."""
        yield distribution(
            "reactor_lag_seconds",
            "How much later than asked for the reactor called a probe, ten times a second.",
            self.seconds,
        )
