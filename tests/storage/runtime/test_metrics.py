# SPDX-License-Identifier: Apache-2.0
"""Figures become text that Prometheus' own parser reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage.runtime.metrics import (
    Histogram,
    Metrics,
    Tally,
    counter,
    counters,
    distribution,
    gauge,
    gauges,
)


def scraped(metrics: Metrics) -> dict[str, Any]:
    text = b"".join(metrics.text()).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Any) -> dict[Any, float]:
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in family.samples}


def test_what_is_registered_is_gathered_at_each_scrape() -> None:
    metrics, tally = Metrics(), Tally()
    metrics.register(lambda: [counter("writes", "Writes.", tally.count), gauge("size", "Size.", 4.5)])
    assert values(scraped(metrics)["trellis_writes"]) == {("trellis_writes_total",): 0}
    tally.add(0.5)
    tally.add(0.25)
    families = scraped(metrics)
    assert values(families["trellis_writes"]) == {("trellis_writes_total",): 2}
    assert values(families["trellis_size"]) == {("trellis_size",): 4.5}
    assert families["trellis_size"].documentation == "Size."
    assert tally.seconds == 0.75


def test_labels_may_hold_anything() -> None:
    metrics = Metrics()
    odd = 'a "quoted"\\ line\nand é'
    metrics.register(
        lambda: [
            counters("calls", "Calls.", ["name", "kind"], [((odd, "x"), 3), (("b", "y"), 4)]),
            gauges("pools", "Pools.", ["pool"], []),
        ]
    )
    families = scraped(metrics)
    assert values(families["trellis_calls"]) == {
        ("trellis_calls_total", ("kind", "x"), ("name", odd)): 3,
        ("trellis_calls_total", ("kind", "y"), ("name", "b")): 4,
    }
    assert families["trellis_pools"].type == "gauge"
    assert families["trellis_pools"].samples == []


@pytest.mark.parametrize(
    ("observed", "buckets", "total"),
    [
        ([], [0, 0, 0], 0),
        ([0.5], [1, 1, 1], 0.5),
        ([1.0, 1.5, 2.0, 7.0], [1, 3, 4], 11.5),
        ([100.0, 3.0], [0, 0, 2], 103.0),
        ([0.0, 0.0], [2, 2, 2], 0),
    ],
)
def test_a_histogram_counts_up_to_each_bound(
    observed: Iterable[float], buckets: list[int], total: float
) -> None:
    histogram, metrics = Histogram(1, 2), Metrics()
    for value in observed:
        histogram.observe(value)
    metrics.register(lambda: [distribution("sizes", "Sizes.", histogram)])
    assert values(scraped(metrics)["trellis_sizes"]) == {
        ("trellis_sizes_bucket", ("le", "1.0")): buckets[0],
        ("trellis_sizes_bucket", ("le", "2.0")): buckets[1],
        ("trellis_sizes_bucket", ("le", "+Inf")): buckets[2],
        ("trellis_sizes_count",): buckets[2],
        ("trellis_sizes_sum",): total,
    }


def test_two_servers_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.register(lambda: [gauge("size", "Size.", 1)])
    other.register_process()
    assert set(scraped(one)) == {"trellis_size"}
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"} <= set(scraped(other))
