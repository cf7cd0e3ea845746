# SPDX-License-Identifier: Apache-2.0
"""Caches with a budget: what was used last stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cachetools import LRUCache

K = TypeVar("K")
V = TypeVar("V")


def cache_of_bytes(budget: int, size: Callable[[V], int]) -> LRUCache[K, V]:
    """A cache that holds at most `budget` bytes as `size` counts them."""
    return LRUCache(maxsize=budget, getsizeof=size)


def cache_of_entries(limit: int) -> LRUCache[K, V]:
    """A cache that holds at most `limit` entries."""
    return LRUCache(maxsize=limit)
