# SPDX-License-Identifier: Apache-2.0
"""What a process counts while it follows the commits of all."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from storage.runtime.metrics import Histogram, counter, counters, distribution

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

WAYS = ("own", "notice", "log")
"""How a commit was learnt of: made here, carried by a notice, read from the log."""


@attrs.define(eq=False)
class FollowCounts:
    """The figures of one `CommitFollower`.

    `lags` are the seconds from when a process first heard that there is something until it was taken in.
    """

    commits: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(WAYS, 0))
    lags: Histogram = attrs.field(factory=lambda: Histogram(*_SECONDS))
    readings: int = 0
    unannounced: int = 0

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield counters(
            "followed_commits",
            "Commits that were taken in, by how they were learnt of.",
            ["way"],
            (((way,), count) for way, count in self.commits.items()),
        )
        yield distribution(
            "followed_commit_lag_seconds",
            "Seconds from hearing of a commit until it and all before it were taken in.",
            self.lags,
        )
        yield counter("commit_log_readings", "Times that the log of commits was read.", self.readings)
        yield counter(
            "unannounced_commits",
            "Times that the database showed a commit before a notice told of it.",
            self.unannounced,
        )
