# SPDX-License-Identifier: Apache-2.0
"""One at a time: for what looks at a key of a room first and writes it then."""

from __future__ import annotations

from collections.abc import Hashable
from weakref import WeakValueDictionary

from twisted.internet.defer import DeferredLock


class Turns:
    """A lock for each key, for as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, DeferredLock] = WeakValueDictionary()

    def of(self, *key: Hashable) -> DeferredLock:
        """The lock of a key: `async with turns.of(room_id, user_id):`."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = DeferredLock()
        return lock
