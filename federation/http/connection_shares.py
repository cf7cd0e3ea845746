# SPDX-License-Identifier: Apache-2.0
"""How processes that accept from the same sockets share the connections evenly.

Left to the kernel, the process that it happens to wake first takes nearly all connections as long as there
is little to do, and keeps them. So each tells the others how many it has, in memory that they share, and lets
the others go first where one of them has fewer.
"""

from __future__ import annotations

import mmap
import os

_ABSENT = 0  # a process with n connections says n + 1


class ConnectionShares:
    """The counts of `processes` processes in the file `descriptor`, of which this is the one at `index`.

    A number more or less through a race does no harm, so nothing is locked.
    """

    def __init__(self, descriptor: int, *, processes: int, index: int = 0) -> None:
        """Raises `OSError` and `ValueError` if the descriptor is no such file."""
        self._counts = memoryview(mmap.mmap(descriptor, processes * 8)).cast("q")
        self._index = index
        self._connections = 0
        self._takes_part = False

    @staticmethod
    def make_file(descriptor: int, processes: int) -> None:
        """Make the open empty file `descriptor` one that can be shared: nobody takes part yet."""
        os.ftruncate(descriptor, processes * 8)

    def join(self) -> None:
        """This process accepts from now on."""
        self._takes_part = True
        self._tell()

    def leave(self) -> None:
        """This process accepts no more."""
        self._takes_part = False
        self._counts[self._index] = _ABSENT

    def remove(self, index: int) -> None:
        """The process at `index` is dead."""
        self._counts[index] = _ABSENT

    def opened(self) -> None:
        """This process has a connection more."""
        self._connections += 1
        self._tell()

    def closed(self) -> None:
        """This process has a connection less."""
        self._connections -= 1
        self._tell()

    def is_our_turn(self) -> bool:
        """Whether no process that accepts has fewer connections than this one."""
        own = self._connections + 1
        return all(count >= own or count == _ABSENT for count in self._counts)

    def _tell(self) -> None:
        if self._takes_part:
            self._counts[self._index] = self._connections + 1
