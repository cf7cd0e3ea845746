# SPDX-License-Identifier: Apache-2.0
"""Those who wait until everything up to a position is taken in."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count

from twisted.internet.defer import Deferred

_FEW = 100
"""So many that were given up are not worth clearing away."""


class AwaitedPositions:
    """The waiting of one process, by position."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Deferred[bool]]] = []
        self._order = count()
        self._given_up = 0

    def wait(self, position: int) -> Deferred[bool]:
        """Fires with True once the position is reached, with False where it is given up."""
        waiting: Deferred[bool] = Deferred()
        heappush(self._heap, (position, next(self._order), waiting))
        return waiting

    def reached(self, position: int) -> None:
        """Everything up to `position` is taken in."""
        while self._heap and self._heap[0][0] <= position:
            _answer(heappop(self._heap)[2], True)

    def give_up(self, waiting: Deferred[bool]) -> None:
        """Let one wait no longer."""
        _answer(waiting, False)
        self._given_up += 1
        if self._given_up > max(_FEW, len(self._heap) // 2):
            self._given_up = 0
            self._heap = [entry for entry in self._heap if not entry[2].called]
            heapify(self._heap)

    def give_up_all(self) -> None:
        """Let nobody wait any longer."""
        heap, self._heap = self._heap, []
        for _, _, waiting in heap:
            _answer(waiting, False)


def _answer(waiting: Deferred[bool], answer: bool) -> None:
    if not waiting.called:
        waiting.callback(answer)
