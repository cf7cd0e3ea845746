# SPDX-License-Identifier: Apache-2.0
"""What a database counts of the work in its threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs
from prometheus_client.metrics_core import Metric

from storage.engine.database import PoolUse
from storage.runtime.metrics import counters, gauges


@attrs.define(eq=False)
class _Work:
    count: int = 0
    waited: float = 0.0
    ran: float = 0.0


@attrs.define(eq=False)
class WorkCounts:
    """The figures of one database, by the name of the work (that is, by statement in the program)."""

    _work: dict[str, _Work] = attrs.field(factory=dict)

    def observe(self, name: str, waited: float, ran: float) -> None:
        """A piece of work was done: the seconds that it waited for a thread, and those that it ran."""
        work = self._work.get(name)
        if work is None:
            work = self._work[name] = _Work()
        work.count += 1
        work.waited += waited
        work.ran += ran

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        labels = ["work"]
        work = self._work.items()
        yield counters(
            "database_work",
            "Pieces of work that were done in the database's threads: reads, writes, commits.",
            labels,
            (((name,), one.count) for name, one in work),
        )
        yield counters(
            "database_work_seconds",
            "Seconds that work in the database's threads ran.",
            labels,
            (((name,), one.ran) for name, one in work),
        )
        yield counters(
            "database_work_waiting_seconds",
            "Seconds that work for the database waited for a free thread.",
            labels,
            (((name,), one.waited) for name, one in work),
        )


def pool_metrics(pools: Callable[[], Sequence[PoolUse]]) -> Iterable[Metric]:
    """How busy the threads of a database are now."""
    used, labels = pools(), ["pool"]
    yield gauges(
        "database_threads",
        "Threads of the database, each with a connection of its own.",
        labels,
        (((pool.name,), pool.threads) for pool in used),
    )
    yield gauges(
        "database_busy_threads",
        "Threads of the database that are at work.",
        labels,
        (((pool.name,), pool.busy) for pool in used),
    )
    yield gauges(
        "database_waiting_work",
        "Pieces of work that wait for a free thread.",
        labels,
        (((pool.name,), pool.waiting) for pool in used),
    )
