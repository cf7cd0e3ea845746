# SPDX-License-Identifier: Apache-2.0
"""Rooms in memory into which another process has written: what this one has of them is out of date."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakValueDictionary


class InMemory(Protocol):
    """A room in memory."""

    room: int

    def outdate(self) -> None:
        """Read it again before it is next used."""


class ForeignWrites:
    """Tells rooms in memory of the commits of other processes.

    A room has one owner, who alone writes into it; this is for those that were just taken over or handed
    over, and for whoever looks at a room of another's.
    """

    def __init__(self) -> None:
        self._rooms: WeakValueDictionary[int, InMemory] = WeakValueDictionary()

    def watch(self, memory: InMemory) -> None:
        """Tell this room from now on, as long as somebody has it."""
        self._rooms[memory.room] = memory

    def heard(self, room: int) -> None:
        """Another process has extended the room."""
        memory = self._rooms.get(room)
        if memory is not None:
            memory.outdate()
