# SPDX-License-Identifier: Apache-2.0
"""Figures for operators: what components count, and how it becomes what Prometheus reads.

Components count in plain numbers, which costs next to nothing. Whoever asks for the figures has them gathered
at that moment, by functions that were given to `Metrics.register`. Nothing here is global: each server has a
`Metrics` of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

Labelled: TypeAlias = tuple[Sequence[str], float]
"""The values of the labels, and the figure."""

Collect: TypeAlias = Callable[[], Iterable[Metric]]
"""Makes the metrics of one subject from what was counted; always all of them, also those without a figure."""

PREFIX = "trellis_"


@attrs.define(eq=False)
class Tally:
    """How often something was done, and the seconds that it took together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """It was done once more, in `seconds`."""
        self.count += 1
        self.seconds += seconds


class Histogram:
    """How many values lie in each of some ranges, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, *bounds: float) -> None:
        """`bounds` are the upper ends of the ranges, in ascending order; a last one has none."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)

    def register(self, collect: Collect) -> None:
        """Have `collect` called whenever somebody asks for the metrics."""
        self._registry.register(_Gathered(collect))

    def register_process(self) -> None:
        """Tell of the process: processor time, memory, open files, garbage collection."""
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> Iterator[bytes]:
        """The metrics in Prometheus' text format, one at a time; each is gathered when it is asked for."""
        for metric in self._registry.collect():
            yield generate_latest(_Gathered(lambda metric=metric: (metric,)))  # type: ignore[misc]


@attrs.frozen(eq=False)
class _Gathered(Collector):
    """What the library asks for metrics."""

    gather: Collect

    def collect(self) -> Iterable[Metric]:
        return self.gather()


def counter(name: str, documentation: str, value: float) -> Metric:
    """Something that only grows; its name ends in `_total`. All names get the prefix `trellis_`."""
    return CounterMetricFamily(PREFIX + name, documentation, value=value)


def counters(name: str, documentation: str, labels: Sequence[str], values: Iterable[Labelled]) -> Metric:
    """As `counter`, with a figure for each set of labels."""
    family = CounterMetricFamily(PREFIX + name, documentation, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def gauge(name: str, documentation: str, value: float) -> Metric:
    """Something that stands at a value now."""
    return GaugeMetricFamily(PREFIX + name, documentation, value=value)


def gauges(name: str, documentation: str, labels: Sequence[str], values: Iterable[Labelled]) -> Metric:
    """As `gauge`, with a figure for each set of labels."""
    family = GaugeMetricFamily(PREFIX + name, documentation, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def distribution(name: str, documentation: str, histogram: Histogram) -> Metric:
    """A histogram."""
    ends = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    buckets = list(zip(ends, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(PREFIX + name, documentation, buckets=buckets, sum_value=histogram.total)
