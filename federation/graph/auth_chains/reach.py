# SPDX-License-Identifier: Apache-2.0
"""Auth chains as numbers: of each chain that they touch, how far up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from federation.graph.auth_chains.overlay import Overlay
from federation.graph.auth_chains.places import Place
from federation.graph.auth_chains.slices import STEPS, Sliced

Reach: TypeAlias = dict[int, int]
"""Chain → the highest sequence number of it that is reached; all below it is reached too."""


def reach(graph: Overlay, starts: Iterable[Place]) -> Sliced[Reach]:
    """The auth chains of the events at `starts` together; they are in it where one leads to another."""
    reached: Reach = {}
    waiting: list[Place] = []
    for chain, sequence in starts:
        waiting.append(Place(chain, sequence - 1))
        waiting.extend(target for _, target in graph.links_from(chain, above=sequence - 1, upto=sequence))
    steps = 0
    while waiting:
        chain, sequence = waiting.pop()
        before = reached.get(chain, 0)
        if sequence <= before:
            continue
        reached[chain] = sequence
        for _, target in graph.links_from(chain, above=before, upto=sequence):
            steps += 1
            if reached.get(target.chain, 0) < target.sequence:
                waiting.append(target)
        steps += 1
        if steps >= STEPS:
            steps = 0
            yield
    return reached
