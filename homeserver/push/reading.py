# SPDX-License-Identifier: Apache-2.0
"""Unread counts of one user in one room, worked out of the room's counts and of how far the user has read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import attrs

from homeserver.push.lines import Line
from homeserver.push.unread import RoomUnread
from storage.notification_counts import LATEST_THREADS
from storage.notification_exceptions import NotificationException
from storage.threads import EVERY_THREAD, MAIN, NO_COUNTS, CountsAt

_NOTHING = RoomUnread()


class RoomLines:
    """The committed counts of a room: the main timeline's now, and those of threads over time.

    The threads are those that notified last, at most `LATEST_THREADS`; in others nothing is unread.
    """

    __slots__ = ("_is_complete", "main", "threads")

    def __init__(self, main: CountsAt, threads: Mapping[str, CountsAt]) -> None:
        self.main = main
        self.threads = OrderedDict((root, Line([counts])) for root, counts in threads.items())
        self._is_complete = len(threads) < LATEST_THREADS

    def advance(self, thread: str | None, counts: CountsAt) -> None:
        """An event was committed; `counts` are those of its thread at it."""
        if thread is None:
            if counts.position > self.main.position:
                self.main = counts
            return
        line = self.threads.get(thread)
        if line is None:
            if counts[1:] == NO_COUNTS[1:]:
                return
            line = self.threads[thread] = Line([NO_COUNTS] if self._is_complete else [counts])
            if len(self.threads) > LATEST_THREADS:
                self.threads.popitem(last=False)
                self._is_complete = False
        line.advance(counts)
        if line.now == counts:
            self.threads.move_to_end(thread)


@attrs.define(eq=False)
class Reading:
    """How far a user has read a room, and what of it counts otherwise for them.

    `floor`: up to where all threads are read, with the main timeline's counts there; None for who has never
    joined. `points`: of threads that are read beyond the floor. `bases`: of other threads, their counts at
    the floor, once known. `exceptions` are those that are not read, in order of positions.
    """

    as_of: int
    floor: CountsAt | None = None
    points: dict[str, CountsAt] = attrs.field(factory=dict)
    bases: dict[str, CountsAt] = attrs.field(factory=dict)
    exceptions: list[NotificationException] = attrs.field(factory=list)

    @classmethod
    def of(
        cls, as_of: int, points: Mapping[str, CountsAt], exceptions: Sequence[NotificationException]
    ) -> Reading:
        """The reading that these rows make."""
        reading = cls(as_of, exceptions=list(exceptions))
        for thread, point in points.items():
            reading.read(thread, point)
        return reading

    def read(self, thread: str, point: CountsAt) -> None:
        """The user has read up to `point` of a thread, or of all; where they had already, nothing changes."""
        if self.floor is not None and point.position <= self.floor.position:
            return
        if thread == EVERY_THREAD:
            self.floor = point
            self.bases.clear()
            self.points = {t: p for t, p in self.points.items() if p.position > point.position}
            self._drop_exceptions()
        else:
            known = self.points.get(thread)
            if known is None or known.position < point.position:
                self.points[thread] = point
                self._drop_exceptions()

    def add(self, exception: NotificationException) -> None:
        """An event that counts otherwise for the user was committed."""
        if exception.position > self.as_of and self._is_unread(exception):
            self.exceptions.append(exception)

    def unread(self, room: RoomLines) -> RoomUnread | list[str]:
        """What is unread, or the roots of threads whose counts at the floor must be looked up first."""
        if self.floor is None:
            return _NOTHING
        start = self.points.get(MAIN, self.floor) if self.points else self.floor
        notify, highlight = room.main.notify - start.notify, room.main.highlight - start.highlight
        if not room.threads and not self.exceptions:
            return RoomUnread(notify, highlight) if notify > 0 else _NOTHING
        counts = {MAIN: (notify, highlight)}
        missing = []
        for root in reversed(room.threads):
            line = room.threads[root]
            if line.now.position <= self.floor.position:
                break
            base = self._base(root, line)
            if base is None:
                missing.append(root)
            else:
                counts[root] = line.now.notify - base.notify, line.now.highlight - base.highlight
        if missing:
            return missing
        return _room_unread(counts, self.exceptions)

    def _base(self, root: str, line: Line) -> CountsAt | None:
        base = self.points.get(root) or self.bases.get(root)
        if base is None:
            assert self.floor is not None
            base = line.at(self.floor.position)
            if base is not None:
                self.bases[root] = base
        return base

    def _is_unread(self, exception: NotificationException) -> bool:
        read_to = self.points.get(exception.thread, self.floor)
        return read_to is not None and exception.position > read_to.position

    def _drop_exceptions(self) -> None:
        if self.exceptions:
            self.exceptions = [x for x in self.exceptions if self._is_unread(x)]


def _room_unread(
    counts: dict[str, tuple[int, int]], exceptions: Sequence[NotificationException]
) -> RoomUnread:
    for x in exceptions:
        notify, highlight = counts.get(x.thread, (0, 0))
        counts[x.thread] = notify + x.notify, highlight + x.highlight
    # A thread whose counts began anew can stand below the point up to which it was read.
    notify, highlight = counts.pop(MAIN)
    threads = {root: (max(n, 0), max(h, 0)) for root, (n, h) in counts.items() if n > 0 or h > 0}
    return RoomUnread(max(notify, 0), max(highlight, 0), threads)
