# SPDX-License-Identifier: Apache-2.0
"""The index over one room's auth graph: loaded when first needed, extended by what is asked about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from twisted.internet.defer import DeferredLock

from federation.graph.auth_chains.cover import ChainCover
from federation.graph.auth_chains.index_log import BLOCK, IndexLog
from federation.graph.auth_chains.overlay import Overlay
from federation.graph.auth_chains.slices import Sliced, pause, run_sliced
from federation.graph.auth_chains.unindexed import indexable, missing_from, walked
from storage.auth_chains import AuthChainBlock, AuthChainStore, Citations
from storage.runtime.clock import Clock

_READ_AT_ONCE: Final = 256
_ADDED_IN_A_SLICE: Final = 128


class RoomIndex:
    """The index of one room, for one caller at a time, who holds `lock`."""

    def __init__(self, *, room: int, store: AuthChainStore, clock: Clock, log_at_least: int) -> None:
        self.lock = DeferredLock()
        self._log_at_least = log_at_least
        self._room = room
        self._store = store
        self._clock = clock
        self._cover: ChainCover | None = None
        self._log = IndexLog(room=room, store=store, clock=clock)
        self._unlogged = AuthChainBlock()
        # False while the cover may be ahead of the log and `unlogged`, for good where the log cannot follow.
        self._in_step = True
        self._known: set[int] = set()
        # What the walked events cite that were complete, and so never changes.
        self._kept: dict[int, Citations] = {}

    async def overlay(self) -> Overlay:
        """The index as it is, with nothing over it; read again where the log could not follow it."""
        if self._cover is None or not self._in_step:
            self._cover, self._known, self._kept = None, set(), {}
            self._log = IndexLog(room=self._room, store=self._store, clock=self._clock)
            self._unlogged = AuthChainBlock()
            self._cover = await self._log.load()
            self._in_step = True
        return Overlay(self._cover)

    async def lay_state(
        self, overlay: Overlay, numbers: set[int], unstored: Mapping[int, Sequence[int]]
    ) -> None:
        """As `lay`, for the many events of a state of which most were there when it was last called."""
        missing = await self.lay(overlay, numbers - self._known, unstored)
        self._known = numbers.difference(missing)

    async def lay(
        self, overlay: Overlay, numbers: Iterable[int], unstored: Mapping[int, Sequence[int]]
    ) -> Collection[int]:
        """Index these events and their auth chains, and lay over it what cannot be indexed now.

        Returns those of `numbers` that are not indexed.
        """
        cover = self._cover
        assert cover is not None, "`overlay` loads it"
        missing = await run_sliced(missing_from(numbers, cover.__contains__), self._clock)
        starts = [number for number in missing if number not in overlay]
        if starts:
            read = await self._read(cover, overlay, starts, unstored)
            order = await run_sliced(indexable(starts, read, cover.__contains__), self._clock)
            await self._index(cover, order, read)
            self._kept |= {number: citations for number, citations in read.items() if citations.complete}
            rest = {number: citations.cited for number, citations in read.items()}
            overlay.walk(await run_sliced(walked(starts, rest), self._clock))
        return [number for number in missing if number not in cover]

    @property
    def memory(self) -> int:
        """About how many bytes it takes."""
        cover = 0 if self._cover is None else self._cover.memory()
        return 4_096 + cover + 100 * len(self._known) + 300 * len(self._kept)

    async def _read(
        self,
        cover: ChainCover,
        overlay: Overlay,
        starts: Collection[int],
        unstored: Mapping[int, Sequence[int]],
    ) -> dict[int, Citations]:
        """What `starts` and all that they lead to cite, down to what is indexed or laid over it."""
        read: dict[int, Citations] = {}
        waiting = list(starts)
        seen = set(waiting)
        while waiting:
            chunk = waiting[-_READ_AT_ONCE:]
            del waiting[-_READ_AT_ONCE:]
            for number, citations in (await self._citations(chunk, unstored)).items():
                read[number] = citations
                for cited in citations.cited:
                    if cited not in seen and cited not in overlay and cited not in cover:
                        seen.add(cited)
                        waiting.append(cited)
            await pause(self._clock)
        return read

    async def _citations(
        self, numbers: Iterable[int], unstored: Mapping[int, Sequence[int]]
    ) -> dict[int, Citations]:
        found: dict[int, Citations] = {}
        unread = []
        for number in numbers:
            if number in unstored:
                found[number] = Citations(tuple(unstored[number]), previous=None, complete=False)
            elif number in self._kept:
                found[number] = self._kept[number]
            else:
                unread.append(number)
        if unread:
            found |= await self._store.citations(self._room, unread)
        return found

    async def _index(self, cover: ChainCover, order: Sequence[int], read: dict[int, Citations]) -> None:
        """Index the events of `order`, and take them out of `read`."""
        for begin in range(0, len(order), BLOCK):
            piece = order[begin : begin + BLOCK]
            in_step, self._in_step = self._in_step, False
            await run_sliced(_added(cover, piece, read, self._unlogged), self._clock)
            self._in_step = in_step and await self._logged()
            await run_sliced(cover.settle(), self._clock)
        for number in order if self._kept else ():
            self._kept.pop(number, None)

    async def _logged(self) -> bool:
        """Write what was indexed, once it is enough to be worth it; False where that failed."""
        if len(self._unlogged) < self._log_at_least:
            return True
        block, self._unlogged = self._unlogged, AuthChainBlock()
        return await self._log.append(block)


def _added(
    cover: ChainCover, order: Iterable[int], read: dict[int, Citations], log: AuthChainBlock
) -> Sliced[None]:
    for step, number in enumerate(order, 1):
        citations = read.pop(number)
        cover.add(number, citations.previous, citations.cited, log)
        if step % _ADDED_IN_A_SLICE == 0:
            yield
