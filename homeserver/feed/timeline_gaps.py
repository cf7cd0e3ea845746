# SPDX-License-Identifier: Apache-2.0
"""Where the timelines of rooms break off, in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping


class TimelineGaps:
    """The positions of events that came while something before them was missing, by room."""

    def __init__(self) -> None:
        self._positions: dict[int, list[int]] = {}

    def fill(self, positions: Mapping[int, list[int]]) -> None:
        """What is known at the start, each room's in order."""
        self._positions = dict(positions)

    def add(self, room: int, position: int) -> None:
        """The room's event at this position came after a gap."""
        known = self._positions.setdefault(room, [])
        i = bisect_right(known, position)
        if not i or known[i - 1] != position:
            known.insert(i, position)

    def latest(self, room: int, *, after: int, upto: int) -> int | None:
        """The last such position with `after` < position <= `upto`; None where there is none."""
        known = self._positions.get(room)
        if known is None:
            return None
        i = bisect_right(known, upto)
        return known[i - 1] if i and known[i - 1] > after else None
