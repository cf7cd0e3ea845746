# SPDX-License-Identifier: Apache-2.0
"""A queue to several threads, of which the one that was busy last goes first."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import Generic, TypeVar

J = TypeVar("J")


class WarmQueue(Generic[J]):
    """Items go out in the order in which they came, each to the thread that has waited for the shortest time.

    Its connection is the one that has prepared and cached most, and where little is asked few are opened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # There are items only while no thread waits.
        self._items: deque[J] = deque()
        self._idle: list[SimpleQueue[J]] = []

    def __len__(self) -> int:
        """How many items wait for a thread."""
        return len(self._items)

    def put(self, item: J) -> None:
        """Give `item` to a thread."""
        with self._lock:
            if not self._idle:
                self._items.append(item)
                return
            thread = self._idle.pop()
        thread.put(item)

    def get(self) -> J:
        """The next item, as soon as there is one."""
        with self._lock:
            if self._items:
                return self._items.popleft()
            mine: SimpleQueue[J] = SimpleQueue()
            self._idle.append(mine)
        return mine.get()

    def take_all(self) -> list[J]:
        """The items that no thread has taken yet; the queue is empty afterwards."""
        with self._lock:
            items = list(self._items)
            self._items.clear()
        return items
