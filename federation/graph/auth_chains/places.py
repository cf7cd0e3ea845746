# SPDX-License-Identifier: Apache-2.0
"""Where each indexed event stands: its chain and its sequence number, in 16 bytes an event."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final, NamedTuple

from federation.graph.auth_chains.slices import STEPS, Sliced

_RECENT_AT_MOST: Final = 1_024


class Place(NamedTuple):
    """A chain and a sequence number in it, from 1 on."""

    chain: int
    sequence: int


class Places:
    """Places by event number: sorted arrays, and beside them what was added lately."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._chains = array("i")
        self._sequences = array("i")
        self._recent: dict[int, Place] = {}

    def __len__(self) -> int:
        return len(self._numbers) + len(self._recent)

    def get(self, number: int) -> Place | None:
        """The place of an event, or None."""
        recent = self._recent.get(number)
        if recent is not None:
            return recent
        i = bisect_left(self._numbers, number)
        if i < len(self._numbers) and self._numbers[i] == number:
            return Place(self._chains[i], self._sequences[i])
        return None

    def add(self, number: int, place: Place) -> None:
        """An event that has no place yet gets one."""
        self._recent[number] = place

    def settle(self) -> Sliced[None]:
        """Sort what was added lately into the arrays, once it is much."""
        if len(self._recent) < _RECENT_AT_MOST:
            return
        numbers, chains, sequences = array("q"), array("i"), array("i")
        begin = 0
        for step, (number, place) in enumerate(sorted(self._recent.items()), 1):
            end = bisect_left(self._numbers, number, begin)
            numbers += self._numbers[begin:end]
            chains += self._chains[begin:end]
            sequences += self._sequences[begin:end]
            begin = end
            numbers.append(number)
            chains.append(place.chain)
            sequences.append(place.sequence)
            if step % STEPS == 0:
                yield
        self._numbers = numbers + self._numbers[begin:]
        self._chains = chains + self._chains[begin:]
        self._sequences = sequences + self._sequences[begin:]
        self._recent = {}

    def memory(self) -> int:
        """About how many bytes it takes."""
        return 16 * len(self._numbers) + 250 * len(self._recent)
