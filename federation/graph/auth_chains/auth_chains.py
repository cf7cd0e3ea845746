# SPDX-License-Identifier: Apache-2.0
"""Auth differences and conflicted state subgraphs of a room's states.

spec: rooms, "Room Version 2", "State resolution", "Definitions"; "Room Version 12", the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from twisted.internet.task import deferLater

from storage.auth_chains import AuthChainStore
from storage.runtime.clock import Clock

_CHUNK = 256
"""So many events are read at once."""

_Edges = dict[int, tuple[int, ...]]


class AuthChains:
    """What differs between the auth chains of whole states, and the paths between conflicted events.

    Events are given and returned by number. `unstored` are events that wait in the write queue: the numbers
    of their auth events.
    """

    def __init__(self, *, store: AuthChainStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def difference(
        self,
        room: int,
        conflicted: Sequence[Collection[int]],
        *,
        unconflicted: Callable[[], Iterable[int]],
        is_unconflicted: Callable[[int], bool],  # noqa: ARG002
        unstored: Mapping[int, Sequence[int]],
    ) -> set[int]:
        """The auth difference of the states `unconflicted()` and `conflicted[i]`, for each i.

        An event in the auth chain of an unconflicted event is in that of every state. `unconflicted` is
        called only when there is something to look for; `is_unconflicted` must say the same.
        """
        if len(conflicted) < 2:
            return set()
        everything = {*unconflicted(), *(number for state in conflicted for number in state)}
        edges = await self._walked(room, everything, unstored)
        common = _chain(edges, unconflicted())
        chains = [_chain(edges, state) for state in conflicted]
        return set().union(*chains) - set(chains[0]).intersection(*chains) - common

    async def subgraph(
        self, room: int, conflicted: Collection[int], *, unstored: Mapping[int, Sequence[int]]
    ) -> set[int]:
        """The conflicted state subgraph: all events on a path along auth events from one to another."""
        edges = await self._walked(room, conflicted, unstored)
        below = _chain(edges, conflicted)
        citing: dict[int, list[int]] = {}
        for number, cited in edges.items():
            for auth_event in cited:
                citing.setdefault(auth_event, []).append(number)
        above = _chain(citing, conflicted)
        ends = set(conflicted)
        return (below | above) & ends | (below & above)

    async def _walked(
        self, room: int, starts: Iterable[int], unstored: Mapping[int, Sequence[int]]
    ) -> _Edges:
        """The auth events of `starts` and of every event that they lead to."""
        edges: _Edges = {}
        waiting = list(set(starts))
        seen = set(waiting)
        while waiting:
            chunk, waiting = waiting[:_CHUNK], waiting[_CHUNK:]
            read = await self._store.citations(room, [number for number in chunk if number not in unstored])
            for number in chunk:
                if number in unstored:
                    edges[number] = tuple(unstored[number])
                else:
                    edges[number] = read[number].cited if number in read else ()
                new = [auth_event for auth_event in edges[number] if auth_event not in seen]
                seen.update(new)
                waiting.extend(new)
            await deferLater(self._clock, 0)  # type: ignore[arg-type]
        return edges


def _chain(edges: Mapping[int, Iterable[int]], starts: Iterable[int]) -> set[int]:
    """All that is reached from `starts` by one link or more."""
    reached: set[int] = set()
    waiting = list(starts)
    while waiting:
        for number in edges.get(waiting.pop(), ()):
            if number not in reached:
                reached.add(number)
                waiting.append(number)
    return reached
