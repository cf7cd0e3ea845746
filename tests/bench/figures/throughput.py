# SPDX-License-Identifier: Apache-2.0
"""What windows of a closed loop have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.figures.figure import Reading
from tests.bench.load.closed_loop import Tally, closed_loop
from tests.bench.load.percentiles import percentile
from tests.bench.stage import Stage

#: The detail that says least wrong how two servers compare on a machine that others use too.
PROCESSOR_TIME = "processor time of the server per request, ms"
#: The detail by which the report tells whether the load generator was the bottleneck.
OWN_SHARE = "the load generator's share of its core"


async def measured_loop(
    stage: Stage, sources: Sequence[Iterator[bytes]], seconds: float
) -> tuple[Tally, dict[str, float]]:
    """A window after a warm-up, with the details that every such figure reports.

    `left behind, s` is how long the server goes on working after its last answer (at most 10 s are waited).
    """
    process = stage.server.process
    before = process.cpu_seconds()
    tally = await closed_loop(stage.server.address, sources, seconds, warm_up=seconds / 5)
    used = process.cpu_seconds() - before
    details = {
        "p50, ms": percentile(tally.latencies, 0.5) * 1e3,
        "p99, ms": percentile(tally.latencies, 0.99) * 1e3,
        PROCESSOR_TIME: used / tally.answers * 1e3,
        OWN_SHARE: tally.own_share,
        "left behind, s": await stage.server.quiet(10.0),
    }
    return tally, details


async def rate_of(stage: Stage, key: str, sources: Sequence[Iterator[bytes]]) -> Reading:
    """Requests per second over a window of the scale's length."""
    tally, details = await measured_loop(stage, sources, stage.scale.window)
    return Reading({key: tally.rate}, details)


async def median_of(stage: Stage, key: str, source: Iterator[bytes]) -> Reading:
    """The p50 in ms of requests that follow one another on one connection."""
    _, details = await measured_loop(stage, [source], stage.scale.window)
    return Reading({key: details["p50, ms"]}, details)
