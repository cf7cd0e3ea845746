# SPDX-License-Identifier: Apache-2.0
"""Asks for the same thing at the same time become one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class JoinedAsks(Generic[K, V]):
    """What is being found out, by key. Whoever is cancelled stops waiting; the asking goes on for others."""

    def __init__(self) -> None:
        self._running: dict[K, tuple[Deferred[V], list[Deferred[V]]]] = {}

    async def ask(self, key: K, find: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What `find()` returns or raises, or the one that runs for `key` already. It must end by itself."""
        mine: Deferred[V] = Deferred()
        running = self._running.get(key)
        if running is not None:
            running[1].append(mine)
            return await mine
        waiting = [mine]
        asked = Deferred.fromCoroutine(find())
        self._running[key] = (asked, waiting)

        def tell(result: Any) -> None:
            del self._running[key]
            for waiter in waiting:
                if not waiter.called:
                    waiter.callback(result)

        asked.addBoth(tell)
        return await mine

    def close(self) -> None:
        """Cancel what runs; who waits for it is cancelled, too."""
        for asked, _ in list(self._running.values()):
            asked.cancel()
