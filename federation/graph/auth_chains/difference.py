# SPDX-License-Identifier: Apache-2.0
"""The auth difference: first of the conflicted parts of the states, then without what all states reach.

spec: rooms, "Room Version 2", "Auth difference".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import attrs

from federation.graph.auth_chains.overlay import Overlay
from federation.graph.auth_chains.places import Place
from federation.graph.auth_chains.reach import reach
from federation.graph.auth_chains.slices import STEPS, Sliced

Spans: TypeAlias = dict[int, tuple[int, int]]
"""Chain → a span of it: `above` < sequence number <= `upto`."""

_PAUSE_EVERY = 100


def candidates(graph: Overlay, conflicted: Sequence[Iterable[int]]) -> Sliced[Spans]:
    """What the auth chains of some conflicted parts of the states have, but not those of all.

    Most conflicted events are in all states but one, or in one. So those that are in the same states are
    looked at together.
    """
    every_state = (1 << len(conflicted)) - 1
    reached_by: dict[int, list[tuple[int, int]]] = {}
    for step, (states, places) in enumerate(_by_states(graph, conflicted).items(), 1):
        for chain, highest in (yield from reach(graph, places)).items():
            reached_by.setdefault(chain, []).append((highest, states))
        if step % 4 == 0:
            yield
    spans: Spans = {}
    for step, (chain, ends) in enumerate(reached_by.items(), 1):
        ends.sort(reverse=True)
        above = _common_end(ends, every_state)
        if above < ends[0][0]:
            spans[chain] = (above, ends[0][0])
        if step % _PAUSE_EVERY == 0:
            yield
    return spans


def _by_states(graph: Overlay, conflicted: Sequence[Iterable[int]]) -> dict[int, list[Place]]:
    """Where the events stand, by the states that they are in: bit i for `conflicted[i]`."""
    states: dict[int, int] = {}
    for i, state in enumerate(conflicted):
        for number in state:
            states[number] = states.get(number, 0) | 1 << i
    grouped: dict[int, list[Place]] = {}
    for number, bits in states.items():
        place = graph.place(number)
        if place is not None:
            grouped.setdefault(bits, []).append(place)
    return grouped


def _common_end(ends: Iterable[tuple[int, int]], every_state: int) -> int:
    """How far up a chain every state reaches; `ends` are what some states reach, the highest first."""
    states = 0
    for sequence, bits in ends:
        states |= bits
        if states == every_state:
            return sequence
    return 0


def outside_of_all(graph: Overlay, spans: Spans, in_all: Callable[[int], bool]) -> Sliced[set[int]]:
    """Those events of `spans` that no event for which `in_all(number)` holds has in its auth chain.

    Nearly always one is found a few links above, and all that it reaches is passed over from then on.
    """
    found: set[int] = set()
    common: dict[int, int] = {}
    barren = _Explored()
    for chain, (above, upto) in spans.items():
        for sequence in range(upto, above, -1):
            if sequence <= common.get(chain, 0):
                break
            start = Place(chain, sequence)
            citing = yield from _citing(graph, start, in_all, barren)
            if citing is None:
                found.add(graph.number(start))
                continue
            for reached, highest in (yield from reach(graph, [citing])).items():
                common[reached] = max(common.get(reached, 0), highest)
    return found


@attrs.frozen
class _Explored:
    """Of each chain: from where on upwards its events were looked at, and the links into it followed."""

    seen: dict[int, int] = attrs.field(factory=dict)
    followed: dict[int, int] = attrs.field(factory=dict)

    def add(self, other: _Explored) -> None:
        self.seen.update(other.seen)
        self.followed.update(other.followed)


def _citing(
    graph: Overlay, start: Place, in_all: Callable[[int], bool], barren: _Explored
) -> Sliced[Place | None]:
    """An event for which `in_all` holds and that has the one at `start` in its auth chain, or None.

    Nothing above what is `barren` is one; where there is none, what was looked at becomes barren.
    """
    own = _Explored()
    waiting: list[Iterator[Place]] = [iter(_above(graph, start))]
    steps = 0
    while waiting:
        steps += 1
        if steps % STEPS == 0:
            yield
        place = next(waiting[-1], None)
        if place is None:
            waiting.pop()
            continue
        chain, sequence = place
        below = own.seen.get(chain) or barren.seen.get(chain) or graph.length(chain) + 1
        if sequence >= below:
            continue
        for looked_at in range(below - 1, sequence - 1, -1):
            steps += 1
            if in_all(graph.number(Place(chain, looked_at))):
                return Place(chain, looked_at)
        own.seen[chain] = sequence
        followed = own.followed.get(chain) or barren.followed.get(chain)
        if followed is None or sequence < followed:
            own.followed[chain] = sequence
            waiting.append(graph.links_into(chain, least=sequence, below=followed))
    barren.add(own)
    return None


def _above(graph: Overlay, start: Place) -> Iterator[Place]:
    """The events that lead to the one at `start` by one link or along its chain."""
    if start.sequence < graph.length(start.chain):
        yield Place(start.chain, start.sequence + 1)
    yield from graph.links_into(start.chain, least=start.sequence)
