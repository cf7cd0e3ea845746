# SPDX-License-Identifier: Apache-2.0
"""Closed loops of requests to the processes of a household, and whose processor time a request takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from tests.bench.load.closed_loop import closed_loop
from tests.bench.load.connection import Address
from tests.bench.load.percentiles import percentile
from tests.bench.scaling.household import Household
from tests.bench.scaling.meter import Meter

RATE = "requests per second"
_WHOSE = ("database", "load")


@attrs.frozen
class Loop:
    """What is asked over how many connections, and of which of the processes, which take turns."""

    name: str
    household: Household
    sources: Callable[[], Sequence[Iterator[bytes]]]
    addresses: Sequence[Address]


Readings = Mapping[str, Sequence[Mapping[str, float]]]
"""Of each loop by its name what every turn measured."""


async def measured(loop: Loop, cores: frozenset[int]) -> Mapping[str, float]:
    """Requests per second, p50 and p99, and processor milliseconds per request by whose they are."""
    household = loop.household
    await household.quiet()
    seconds = household.stage.scale.window
    meter = Meter([server.process for server in household.servers], household.database.process, cores)
    tally = await closed_loop(loop.addresses, loop.sources(), seconds, warm_up=seconds / 5)
    await household.quiet()  # what was left behind the answers counts
    spent = dict(meter.read())
    others = spent.pop("others")
    each = {f"{key}, ms": value / tally.answers * 1e3 for key, value in spent.items()}
    servers = sum(value for key, value in spent.items() if key not in _WHOSE)
    return {
        RATE: tally.rate,
        "p50, ms": percentile(tally.latencies, 0.5) * 1e3,
        "p99, ms": percentile(tally.latencies, 0.99) * 1e3,
        "servers, ms": servers / tally.answers * 1e3,
        **each,
        "others' part of the cores": others,
    }


async def in_turns(loops: Sequence[Loop], cores: frozenset[int], turns: int) -> Readings:
    """Measure all, one after the other, and again, beginning with another each time."""
    found: dict[str, list[Mapping[str, float]]] = {loop.name: [] for loop in loops}
    for turn in range(turns):
        first = turn % len(loops)
        for loop in [*loops[first:], *loops[:first]]:
            found[loop.name].append(await measured(loop, cores))
    return found


def medians(found: Readings) -> dict[str, float]:
    """The median of each thing measured, named "loop: thing"."""
    return {
        f"{name}: {key}": statistics.median(one[key] for one in readings)
        for name, readings in found.items()
        for key in readings[0]
    }


def ratio(found: Readings, name: str, to: str) -> float:
    """The median over all turns of how many times as many requests per second `name` did as `to`."""
    return statistics.median(one[RATE] / two[RATE] for one, two in zip(found[name], found[to], strict=True))
