# SPDX-License-Identifier: Apache-2.0
"""Caches with a budget: what was used last stays. They count what `get` found and what it did not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar, overload

from cachetools import LRUCache
from prometheus_client.metrics_core import Metric

from storage.runtime.metrics import Labelled, counters, gauges

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class Cache(LRUCache[K, V]):
    """The values that were used last, as many as its budget allows."""

    def __init__(self, maxsize: float, getsizeof: Callable[[V], float] | None = None) -> None:
        super().__init__(maxsize, getsizeof)
        self.in_bytes = getsizeof is not None
        self.hits = 0
        self.misses = 0

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: V) -> V: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        try:  # which is quicker than to ask first whether it is there
            value = self[key]
        except KeyError:
            self.misses += 1
            return default
        self.hits += 1
        return value


Caches: TypeAlias = Mapping[str, Cache[Any, Any]]
"""Some caches by name, as metrics tell of them."""


def cache_of_bytes(budget: int, size: Callable[[V], int]) -> Cache[K, V]:
    """A cache that holds at most `budget` bytes as `size` counts them."""
    return Cache(budget, size)


def cache_of_entries(limit: int) -> Cache[K, V]:
    """A cache that holds at most `limit` entries."""
    return Cache(limit)


class CacheFigures:
    """The caches of one server, by name, for its metrics."""

    def __init__(self) -> None:
        self._caches: dict[str, Cache[Any, Any]] = {}

    def watch(self, *caches: Caches) -> None:
        """Tell of these, too."""
        for of_one in caches:
            self._caches.update(of_one)

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield gauges("cache_entries", "Entries of a cache.", ["cache"], self._each(len))
        yield gauges(
            "cache_bytes",
            "Bytes that the entries take, by estimate; of caches whose budget is in bytes.",
            ["cache"],
            (((name,), cache.currsize) for name, cache in self._caches.items() if cache.in_bytes),
        )
        yield gauges(
            "cache_fill_ratio",
            "How much of its budget a cache uses, from 0 to 1.",
            ["cache"],
            self._each(lambda cache: cache.currsize / cache.maxsize),
        )
        yield counters(
            "cache_hits",
            "Look-ups in a cache that found a value.",
            ["cache"],
            self._each(lambda cache: cache.hits),
        )
        yield counters(
            "cache_misses",
            "Look-ups in a cache that found none.",
            ["cache"],
            self._each(lambda cache: cache.misses),
        )

    def _each(self, figure: Callable[[Cache[Any, Any]], float]) -> Iterator[Labelled]:
        return (((name,), figure(cache)) for name, cache in self._caches.items())
