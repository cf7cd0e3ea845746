# SPDX-License-Identifier: Apache-2.0
"""Auth differences and conflicted state subgraphs of a room's states.

spec: rooms, "Room Version 2", "State resolution", "Definitions"; "Room Version 12", the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from federation.graph.auth_chains.difference import candidates, outside_of_all
from federation.graph.auth_chains.room_index import RoomIndex
from federation.graph.auth_chains.slices import run_sliced
from federation.graph.auth_chains.subgraph import subgraph
from storage.auth_chains import AuthChainStore
from storage.runtime.clock import Clock

_DROPPED_AT_ONCE: Final = 20


class AuthChains:
    """What differs between the auth chains of whole states, and the paths between conflicted events.

    Events are given and returned by number. `unstored` are events that wait in the write queue: the numbers
    of their auth events. A room is indexed from the first question on, each time as far as is asked; indexes
    of about `cache_bytes` stay in memory, and what was indexed is written once it is `log_at_least` events.
    Raises `DatabaseError` where the database cannot be read.
    """

    def __init__(
        self,
        *,
        store: AuthChainStore,
        clock: Clock,
        cache_bytes: int = 32 * 2**20,
        log_at_least: int = 64,
    ) -> None:
        self._store = store
        self._clock = clock
        self._cache_bytes = cache_bytes
        self._log_at_least = log_at_least
        self._rooms: OrderedDict[int, RoomIndex] = OrderedDict()
        self._memory: dict[int, int] = {}
        self._memory_of_all = 0

    async def difference(
        self,
        room: int,
        conflicted: Sequence[Collection[int]],
        *,
        unconflicted: Callable[[], Iterable[int]],
        is_unconflicted: Callable[[int], bool],
        unstored: Mapping[int, Sequence[int]],
    ) -> set[int]:
        """The auth difference of the states `unconflicted()` and `conflicted[i]`, for each i.

        `unconflicted` is called at most once, and only where the auth chains of the conflicted parts differ;
        `is_unconflicted` must say the same.
        """
        if len(conflicted) < 2:
            return set()
        async with self._index(room) as index:
            graph = await index.overlay()
            await index.lay(graph, set().union(*conflicted), unstored)
            spans = await run_sliced(candidates(graph, conflicted), self._clock)
            if not spans:
                return set()
            await index.lay_state(graph, set(unconflicted()), unstored)
            return await run_sliced(outside_of_all(graph, spans, is_unconflicted), self._clock)

    async def subgraph(
        self, room: int, conflicted: Collection[int], *, unstored: Mapping[int, Sequence[int]]
    ) -> set[int]:
        """The conflicted state subgraph: all events on a path along auth events from one to another."""
        async with self._index(room) as index:
            graph = await index.overlay()
            await index.lay(graph, set(conflicted), unstored)
            ends = [place for number in conflicted if (place := graph.place(number)) is not None]
            return await run_sliced(subgraph(graph, ends), self._clock)

    def rooms_in_memory(self) -> list[int]:
        """The rooms whose index is in memory, the one that was asked about last at the end."""
        return list(self._rooms)

    @asynccontextmanager
    async def _index(self, room: int) -> AsyncIterator[RoomIndex]:
        """The index of the room, for this caller alone."""
        index = self._rooms.get(room)
        if index is None:
            index = self._rooms[room] = RoomIndex(
                room=room, store=self._store, clock=self._clock, log_at_least=self._log_at_least
            )
        self._rooms.move_to_end(room)
        await index.lock.acquire()
        try:
            yield index
        finally:
            index.lock.release()
            if self._rooms.get(room) is index:
                self._count_memory(room, index.memory)
                self._drop_unused()

    def _count_memory(self, room: int, memory: int) -> None:
        self._memory_of_all += memory - self._memory.get(room, 0)
        self._memory[room] = memory

    def _drop_unused(self) -> None:
        """Let go of the rooms that were asked about least lately, while all together take too much."""
        for room, index in list(self._rooms.items())[:_DROPPED_AT_ONCE]:
            if self._memory_of_all <= self._cache_bytes:
                return
            if not index.lock.locked:
                self._count_memory(room, 0)
                del self._memory[room], self._rooms[room]
