# SPDX-License-Identifier: Apache-2.0
"""What the write queue counts."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from storage.runtime.metrics import Histogram, counter, counters, distribution

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_UNITS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

REASONS = ("full", "data", "unavailable", "unknown_outcome", "mistake")
"""Why a unit is not written: `QueueFull`, `DataError`, `DatabaseUnavailable`, `OutcomeUnknown`, another."""


@attrs.define(eq=False)
class WriteCounts:
    """The figures of one write queue.

    `waits` are the seconds of units from `submit` until they were on disk, `commits` those of batches in the
    database, `refused` the units that were not written, by reason.
    """

    waits: Histogram = attrs.field(factory=lambda: Histogram(*_SECONDS))
    commits: Histogram = attrs.field(factory=lambda: Histogram(*_SECONDS))
    batches: Histogram = attrs.field(factory=lambda: Histogram(*_UNITS))
    refused: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(REASONS, 0))
    reloaded: int = 0
    lost_fences: int = 0

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield distribution(
            "write_queue_unit_seconds",
            "Seconds from the submission of a unit until it was on disk.",
            self.waits,
        )
        yield distribution(
            "write_queue_commit_seconds",
            "Seconds that the database took to commit a batch, or to fail.",
            self.commits,
        )
        yield distribution("write_queue_batch_units", "Units that were committed together.", self.batches)
        yield counters(
            "write_queue_refused_units",
            "Units that were not written, by reason.",
            ["reason"],
            (((reason,), count) for reason, count in self.refused.items()),
        )
        yield counter(
            "write_queue_reloaded_units",
            "Units to be built again, because what they build on was not written.",
            self.reloaded,
        )
        yield counter(
            "write_queue_lost_fences",
            "Rooms of a batch that another process had written into.",
            self.lost_fences,
        )
