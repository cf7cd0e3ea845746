# SPDX-License-Identifier: Apache-2.0
"""Caches keep to their budget and count what they are asked for."""

from __future__ import annotations

from storage.runtime.caches import Cache, CacheFigures, cache_of_bytes, cache_of_entries


def test_what_was_used_last_stays() -> None:
    cache: Cache[str, int] = cache_of_entries(2)
    cache["a"], cache["b"] = 1, 2
    assert cache.get("a") == 1
    cache["c"] = 3
    assert cache.get("b") is None
    assert cache.get("b", 5) == 5
    assert (cache.get("a"), cache.get("c")) == (1, 3)
    assert (cache.hits, cache.misses) == (3, 2)


def test_a_budget_of_bytes() -> None:
    cache: Cache[int, bytes] = cache_of_bytes(10, len)
    cache[1], cache[2] = b"1234", b"56789"
    assert cache.currsize == 9
    cache[3] = b"ab"
    assert set(cache) == {2, 3}


def test_a_value_may_be_falsy() -> None:
    cache: Cache[int, frozenset[int]] = cache_of_entries(2)
    cache[1] = frozenset()
    assert cache.get(1) == frozenset()
    assert (cache.hits, cache.misses) == (1, 0)


def test_the_metrics() -> None:
    figures = CacheFigures()
    few: Cache[int, bytes] = cache_of_entries(4)
    small: Cache[int, bytes] = cache_of_bytes(100, len)
    figures.watch({"few": few}, {"small": small})
    few[1] = b"x"
    small[1] = small[2] = b"0123456789"
    assert (few.get(1), few.get(2), small.get(3)) == (b"x", None, None)
    values = {
        metric.name.removeprefix("trellis_cache_"): {s.labels["cache"]: s.value for s in metric.samples}
        for metric in figures.collect()
    }
    assert values == {
        "entries": {"few": 1, "small": 2},
        "bytes": {"small": 20},
        "fill_ratio": {"few": 0.25, "small": 0.2},
        "hits": {"few": 1, "small": 0},
        "misses": {"few": 1, "small": 1},
    }
