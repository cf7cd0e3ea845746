# SPDX-License-Identifier: Apache-2.0
"""An auth graph as chains: in a chain each event has the one before it in its auth chain.

So a chain and a sequence number stand for an event and all of the chain below it. What leads from one chain
to another are links, kept only where nothing else implies them. An event is added after all of its auth
chain, and then neither its place nor what it leads to ever changes.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from federation.graph.auth_chains.places import Place, Places
from federation.graph.auth_chains.slices import STEPS, Sliced
from storage.auth_chains import AuthChainBlock

_LOOKED_AT: Final = 64
"""So many links of a chain are looked at for one that implies another."""


class ChainCover:
    """The indexed part of a room's auth graph."""

    def __init__(self) -> None:
        self._places = Places()
        self._chains: list[array[int]] = []
        # By origin chain: sequence number, target chain, target sequence number, and so on.
        self._links_from: list[array[int] | None] = []
        # By target chain and target sequence number: origin chain, its sequence number, and so on.
        self._links_into: dict[int, dict[int, array[int]]] = {}
        self._link_count = 0
        self._target_count = 0

    def __len__(self) -> int:
        """How many events are indexed."""
        return len(self._places)

    def __contains__(self, number: int) -> bool:
        return self._places.get(number) is not None

    @property
    def links(self) -> int:
        """How many links there are."""
        return self._link_count

    @property
    def chains(self) -> int:
        """How many chains there are."""
        return len(self._chains)

    def place(self, number: int) -> Place | None:
        """The place of an event, or None."""
        return self._places.get(number)

    def length(self, chain: int) -> int:
        """The highest sequence number in the chain."""
        return len(self._chains[chain])

    def number(self, chain: int, sequence: int) -> int:
        """The event at a place."""
        return self._chains[chain][sequence - 1]

    def links_from(self, chain: int) -> Sequence[int]:
        """Links from the chain, from below: sequence number, target chain and sequence number, and so on."""
        return self._links_from[chain] or ()

    def links_into(self, chain: int, *, least: int, below: int | None) -> Iterator[Place]:
        """From where links lead to sequence numbers `least` <= n < `below` of the chain (None: no limit)."""
        links = self._links_into.get(chain)
        if links is None:
            return
        end = self.length(chain) + 1 if below is None else below
        for target in range(end - 1, least - 1, -1):
            origins = links.get(target, ())
            for i in range(len(origins) - 2, -1, -2):
                yield Place(origins[i], origins[i + 1])

    def add(self, number: int, previous: int | None, cited: Collection[int], log: AuthChainBlock) -> None:
        """Index an event whose auth events, `cited`, are all indexed, and log it.

        It goes on with the chain of `previous`, one of its auth events, where that is the chain's last.
        """
        targets = [place for auth_event in cited if (place := self._places.get(auth_event)) is not None]
        assert len(targets) == len(cited), "an event is indexed after its auth events"
        own = None if previous is None else self._places.get(previous)
        if own is not None and own.sequence == self.length(own.chain):
            place = Place(own.chain, own.sequence + 1)
        else:
            place = Place(len(self._chains), 1)
        links = self._needed(place.chain, targets)
        self._append(number, place.chain, links)
        log.append(number, place.chain, links)

    def replay(self, block: AuthChainBlock) -> Sliced[None]:
        """Index what `block` logs. Raises `ValueError` where it does not go on from here."""
        for step, (number, chain, links) in enumerate(block.entries(), 1):
            self._check(number, chain, links)
            self._append(number, chain, links)
            if step % STEPS == 0:
                yield

    def settle(self) -> Sliced[None]:
        """Make what was added lately compact; to be called after some were added."""
        yield from self._places.settle()

    def memory(self) -> int:
        """About how many bytes it takes."""
        links = 24 * self._link_count + 250 * self._target_count
        return self._places.memory() + 10 * len(self) + 250 * len(self._chains) + links

    def _needed(self, chain: int, targets: Iterable[Place]) -> list[Place]:
        """The links that an event needs which is added to `chain` and cites the events at `targets`."""
        highest: dict[int, int] = {}
        for target in targets:
            if target.chain != chain:
                highest[target.chain] = max(highest.get(target.chain, 0), target.sequence)
        places = [Place(*item) for item in sorted(highest.items())]
        own = [Place(chain, self.length(chain))] if chain < len(self._chains) else []
        return [
            place
            for place in places
            if not any(self._implies(other, place) for other in (*own, *places) if other is not place)
        ]

    def _implies(self, upper: Place, lower: Place) -> bool:
        """Whether a link of the chain of `upper` is seen to lead from there to `lower`."""
        links = self._links_from[upper.chain]
        if links is None:
            return False
        for i in range(len(links) - 3, max(-1, len(links) - 3 * _LOOKED_AT - 1), -3):
            if links[i] <= upper.sequence and links[i + 1] == lower.chain and links[i + 2] >= lower.sequence:
                return True
        return False

    def _append(self, number: int, chain: int, links: Collection[tuple[int, int]]) -> None:
        if chain == len(self._chains):
            self._chains.append(array("q"))
            self._links_from.append(None)
        members = self._chains[chain]
        members.append(number)
        place = Place(chain, len(members))
        self._places.add(number, place)
        if not links:
            return
        out = self._links_from[chain]
        if out is None:
            out = self._links_from[chain] = array("i")
        for target_chain, target_sequence in links:
            out.extend((place.sequence, target_chain, target_sequence))
            into = self._links_into.setdefault(target_chain, {})
            if target_sequence not in into:
                into[target_sequence] = array("i")
                self._target_count += 1
            into[target_sequence].extend(place)
        self._link_count += len(links)

    def _check(self, number: int, chain: int, links: Iterable[tuple[int, int]]) -> None:
        if not 0 <= chain <= len(self._chains):
            raise ValueError(f"chain {chain} where there are {len(self._chains)}")
        if number in self:
            raise ValueError(f"event {number} twice")
        for target_chain, target_sequence in links:
            if not 0 <= target_chain < len(self._chains) or target_chain == chain:
                raise ValueError(f"a link to chain {target_chain}")
            if not 0 < target_sequence <= self.length(target_chain):
                raise ValueError(f"a link to {target_sequence} of {self.length(target_chain)}")
