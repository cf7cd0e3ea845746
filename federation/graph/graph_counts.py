# SPDX-License-Identifier: Apache-2.0
"""What the room graph counts."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from storage.runtime.metrics import Histogram, Tally, counter, counters, distribution

_EVENTS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)


@attrs.define(eq=False)
class GraphCounts:
    """The figures of the room graphs of one server.

    `loads` are the rooms that were read to be written to. `resolutions` are those of states that differ, with
    all that they read; `here` and `beside` the times when the rules were applied, in the reactor's thread and
    in other processes; `sizes` the events that each of them had to order and judge.
    """

    loads: Tally = attrs.field(factory=Tally)
    resolutions: Tally = attrs.field(factory=Tally)
    here: Tally = attrs.field(factory=Tally)
    beside: Tally = attrs.field(factory=Tally)
    sizes: Histogram = attrs.field(factory=lambda: Histogram(*_EVENTS))

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield counter(
            "room_loads", "Rooms that were read from the database to be written to.", self.loads.count
        )
        yield counter("room_load_seconds", "Seconds that the reading of rooms took.", self.loads.seconds)
        yield counter(
            "state_resolutions", "Resolutions of states that differ, failed ones too.", self.resolutions.count
        )
        yield counter(
            "state_resolution_seconds",
            "Seconds that resolutions took, with the reading of what they need.",
            self.resolutions.seconds,
        )
        where = (("reactor", self.here), ("worker", self.beside))
        yield counters(
            "state_resolution_rules",
            "Conflicts that the rules were applied to, in the reactor's thread or in a worker process.",
            ["where"],
            (((name,), tally.count) for name, tally in where),
        )
        yield counters(
            "state_resolution_rules_seconds",
            "Seconds that the rules took; those in the reactor hold up everything else.",
            ["where"],
            (((name,), tally.seconds) for name, tally in where),
        )
        yield distribution(
            "state_resolution_conflict_events",
            "Events that a resolution had to order and judge (the full conflicted set).",
            self.sizes,
        )
