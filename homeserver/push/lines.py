# SPDX-License-Identifier: Apache-2.0
"""The counts of one thread over time, the latest of them in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from storage.threads import CountsAt

_KEPT: Final = 64
_POSITION = attrgetter("position")


class Line:
    """Cumulative counts of a thread from a position on, one step for each event that raised them."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Iterable[CountsAt]) -> None:
        self._steps = list(steps)

    @property
    def now(self) -> CountsAt:
        """The counts at the end."""
        return self._steps[-1]

    def advance(self, counts: CountsAt) -> None:
        """An event has been counted; one that is known already changes nothing."""
        if counts.position > self.now.position and counts[1:] != self.now[1:]:
            self._steps.append(counts)
            if len(self._steps) > _KEPT:
                del self._steps[: _KEPT // 2]

    def at(self, position: int) -> CountsAt | None:
        """The counts as they were at `position`; None where that is too long ago to be remembered."""
        after = bisect_right(self._steps, position, key=_POSITION)
        return self._steps[after - 1] if after else None
