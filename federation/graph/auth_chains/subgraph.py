# SPDX-License-Identifier: Apache-2.0
"""The conflicted state subgraph: what lies on paths along auth events from one conflicted event to another.

spec: rooms, "Room Version 12", "Conflicted state subgraph".
"""

from __future__ import annotations

from collections.abc import Collection

from federation.graph.auth_chains.overlay import Overlay
from federation.graph.auth_chains.places import Place
from federation.graph.auth_chains.reach import Reach, reach
from federation.graph.auth_chains.slices import STEPS, Sliced


def subgraph(graph: Overlay, ends: Collection[Place]) -> Sliced[set[int]]:
    """The events on paths of one link or more between any two of `ends`, those at both ends included."""
    reached = yield from reach(graph, ends)
    reaching = yield from _reaching(graph, ends, reached)
    found = set()
    for chain, lowest in reaching.items():
        for sequence in range(lowest, reached.get(chain, 0) + 1):
            found.add(graph.number(Place(chain, sequence)))
        yield
    for place in ends:
        lowest_reaching = reaching.get(place.chain)
        if place.sequence <= reached.get(place.chain, 0) or (
            lowest_reaching is not None and place.sequence >= lowest_reaching
        ):
            found.add(graph.number(place))
    return found


def _reaching(graph: Overlay, ends: Collection[Place], reached: Reach) -> Sliced[dict[int, int]]:
    """Of each chain, from which sequence number on its events have one of `ends` in their auth chain.

    Only chains and links that are reached from `ends`, or are theirs, are looked at.
    """
    tops = dict(reached)
    for chain, sequence in ends:
        tops[chain] = max(tops.get(chain, 0), sequence)
    links = yield from _links_by_target(graph, tops)
    reaching: dict[int, int] = {}
    lowest: dict[int, int] = {}
    waiting: list[Place] = []
    for chain, sequence in ends:
        waiting.append(Place(chain, sequence))
        if sequence < tops[chain]:
            reaching[chain] = min(reaching.get(chain, sequence + 1), sequence + 1)
    steps = 0
    while waiting:
        chain, sequence = waiting.pop()
        if sequence >= lowest.get(chain, sequence + 1):
            continue
        lowest[chain] = sequence
        into = links.get(chain, [])
        while into and into[-1][0] >= sequence:
            _, origin = into.pop()
            if origin.sequence < reaching.get(origin.chain, origin.sequence + 1):
                reaching[origin.chain] = origin.sequence
                waiting.append(origin)
            steps += 1
            if steps % STEPS == 0:
                yield
    return reaching


def _links_by_target(graph: Overlay, tops: Reach) -> Sliced[dict[int, list[tuple[int, Place]]]]:
    """The links out of the chains up to their `tops`, by the chain they lead to, the highest at the end."""
    links: dict[int, list[tuple[int, Place]]] = {}
    steps = 0
    for chain, top in tops.items():
        out = graph.links_from(chain)
        for i in range(0, len(out), 3):
            sequence, target, target_sequence = out[i : i + 3]
            if sequence > top:
                break
            links.setdefault(target, []).append((target_sequence, Place(chain, sequence)))
            steps += 1
            if steps % STEPS == 0:
                yield
    for into in links.values():
        into.sort()
    return links
