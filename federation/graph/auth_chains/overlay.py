# SPDX-License-Identifier: Apache-2.0
"""An auth graph of which a part is indexed: what is not stands above it, each event a chain of its own.

An indexed event never leads to one that is not, so what is walked lies above what is indexed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from federation.graph.auth_chains.cover import ChainCover
from federation.graph.auth_chains.places import Place


class Overlay:
    """A cover, and over it events that are walked: number → numbers of their auth events.

    The chains of walked events have numbers below zero. What is cited but neither indexed nor walked is not
    known, and there the walk ends.
    """

    def __init__(self, cover: ChainCover) -> None:
        self._cover = cover
        self._chains: dict[int, int] = {}
        self._numbers: list[int] = []
        self._links_from: list[list[int]] = []
        self._links_into: dict[int, list[tuple[int, Place]]] = {}

    def __contains__(self, number: int) -> bool:
        """Whether the event is walked."""
        return number in self._chains

    def walk(self, edges: Mapping[int, Collection[int]]) -> None:
        """Lay these events over the cover; none of them is indexed or laid over it before."""
        for number in edges:
            self._numbers.append(number)
            self._chains[number] = -len(self._numbers)
            self._links_from.append([])
        for number, cited in edges.items():
            origin = Place(self._chains[number], 1)
            for auth_event in cited:
                target = self.place(auth_event)
                if target is not None:
                    self._links_from[-1 - origin.chain] += (1, *target)
                    self._links_into.setdefault(target.chain, []).append((target.sequence, origin))

    def place(self, number: int) -> Place | None:
        """The place of an event, or None where it is not known."""
        chain = self._chains.get(number)
        return self._cover.place(number) if chain is None else Place(chain, 1)

    def length(self, chain: int) -> int:
        """The highest sequence number in the chain."""
        return 1 if chain < 0 else self._cover.length(chain)

    def number(self, place: Place) -> int:
        """The event at a place."""
        return self._numbers[-1 - place.chain] if place.chain < 0 else self._cover.number(*place)

    def links_from(self, chain: int) -> Sequence[int]:
        """Links from the chain, from below: sequence number, target chain and sequence number, and so on."""
        return self._cover.links_from(chain) if chain >= 0 else self._links_from[-1 - chain]

    def links_into(self, chain: int, *, least: int, below: int | None = None) -> Iterator[Place]:
        """From where links lead to sequence numbers `least` <= n < `below` of the chain (None: no limit)."""
        for sequence, origin in self._links_into.get(chain, ()):
            if least <= sequence and (below is None or sequence < below):
                yield origin
        if chain >= 0:
            yield from self._cover.links_into(chain, least=least, below=below)
