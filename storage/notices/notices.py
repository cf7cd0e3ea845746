# SPDX-License-Identifier: Apache-2.0
"""Notices between the processes of one homeserver, whatever medium carries them.

They are hints, sent after a commit and never inside it: whoever misses one finds out when it next looks at
the position in the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import attrs

from storage.commits.log import LogEntry


@attrs.frozen
class Notice:
    """Something has happened that others should look at. An empty one: maybe something was missed, look.

    `upto`: everything up to this position is committed. `entry`: the log entry of the commit, where the
    medium carries it. `processes`: the table of processes has changed.
    """

    upto: int = 0
    entry: LogEntry | None = None
    processes: bool = False


Hear: TypeAlias = Callable[[Notice], None]
"""Called in the reactor's thread with each notice that comes in, one's own included."""


class Notices(Protocol):
    """A medium that carries notices to all processes. Its methods are called in the reactor's thread.

    On each connection and reconnection an empty `Notice` is heard, once.
    """

    @property
    def carries_entries(self) -> bool:
        """Whether `tell` wants the entry of a commit."""

    @property
    def carries_all_entries(self) -> bool:
        """Whether an entry that was not heard of is likely to be on its way still."""

    async def start(self, hear: Hear) -> None:
        """Connect in the background and stay connected. A medium that cannot be reached is no error."""

    def tell(self, notice: Notice) -> None:
        """Send `notice` to all, this process included; returns at once. What cannot be sent is dropped."""

    async def stop(self) -> None:
        """Hear and tell nothing from now on, and close the connections."""


def without_entry(notice: Notice) -> Notice:
    """What `notice` says, its entry left out: the position of the entry is committed."""
    upto = notice.upto if notice.entry is None else max(notice.upto, notice.entry.upto)
    return Notice(upto=upto, processes=notice.processes)


def merged(first: Notice, second: Notice) -> Notice:
    """One notice that says what both of them say, their entries left out."""
    first, second = without_entry(first), without_entry(second)
    return Notice(upto=max(first.upto, second.upto), processes=first.processes or second.processes)
