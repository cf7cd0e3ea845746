# SPDX-License-Identifier: Apache-2.0
"""Auth chains as numbers: of each chain that they touch, how far up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from federation.graph.auth_chains.overlay import Overlay
from federation.graph.auth_chains.places import Place
from federation.graph.auth_chains.slices import STEPS, Sliced

Reach: TypeAlias = dict[int, int]
"""Chain → the highest sequence number of it that is reached; all below it is reached too."""


def reach(graph: Overlay, starts: Iterable[Place]) -> Sliced[Reach]:
    """The auth chains of the events at `starts` together; they are in it where one leads to another."""
    reached: Reach = {}
    followed: Reach = {}
    waiting: list[int] = []
    for chain, sequence in starts:
        if sequence - 1 > reached.get(chain, 0):
            reached[chain] = sequence - 1
            waiting.append(chain)
        _raise(reached, waiting, graph.links_from(chain), sequence - 1, sequence)
    steps = 0
    while waiting:
        chain = waiting.pop()
        before, upto = followed.get(chain, 0), reached[chain]
        if before < upto:
            followed[chain] = upto
            steps += 1 + _raise(reached, waiting, graph.links_from(chain), before, upto)
            if steps >= STEPS:
                steps = 0
                yield
    return reached


def _raise(reached: Reach, waiting: list[int], links: Sequence[int], above: int, upto: int) -> int:
    """Raise what links with `above` < sequence number <= `upto` lead to; how many were looked at."""
    looked_at = 0
    for i in range(len(links) - 3, -1, -3):
        sequence = links[i]
        if sequence <= above:
            break
        looked_at += 1
        if sequence <= upto:
            target, highest = links[i + 1], links[i + 2]
            if reached.get(target, 0) < highest:
                reached[target] = highest
                waiting.append(target)
    return looked_at
