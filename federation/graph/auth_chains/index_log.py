# SPDX-License-Identifier: Apache-2.0
"""The log of a room's index on disk: replayed when the room is first asked about, appended to as it grows."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from federation.graph.auth_chains.cover import ChainCover
from federation.graph.auth_chains.slices import run_sliced
from storage.auth_chains import AuthChainBlock, AuthChainStore, IndexMoved
from storage.engine.errors import DatabaseError, DataError
from storage.runtime.clock import Clock

logger = logging.getLogger(__name__)

BLOCK: Final = 4_096
"""A block of so many events is left as it is."""

_SMALL_BLOCKS: Final = 32
"""So many smaller ones are merged."""


class IndexLog:
    """The log of one room."""

    def __init__(self, *, room: int, store: AuthChainStore, clock: Clock) -> None:
        self._room = room
        self._store = store
        self._clock = clock
        self._last = 0
        self._small: list[tuple[int, AuthChainBlock]] = []

    async def load(self) -> ChainCover:
        """What the log says. Where it makes no sense it is emptied, and the index begins anew.

        Raises `DatabaseError`.
        """
        while True:
            blocks = await self._store.blocks(self._room)
            try:
                return await self._replayed(blocks)
            except ValueError as error:
                logger.warning("The auth index of room %d is made again: %s", self._room, error)
            numbers = [number for number, _ in blocks]
            nothing = AuthChainBlock()
            with contextlib.suppress(IndexMoved, DataError):  # somebody else was at it: look again
                await self._store.append(self._room, last=numbers[-1], replaced=numbers, block=nothing)

    async def _replayed(self, blocks: Sequence[tuple[int, bytes]]) -> ChainCover:
        self._last, self._small = 0, []
        cover = ChainCover()
        for number, data in blocks:
            block = AuthChainBlock.unpack(data)
            await run_sliced(cover.replay(block), self._clock)
            await run_sliced(cover.settle(), self._clock)
            self._appended(number, block)
        return cover

    async def append(self, block: AuthChainBlock) -> bool:
        """Write what was indexed; whether that was done. After a failure the log must be loaded again."""
        replaced: list[int] = []
        if len(self._small) >= _SMALL_BLOCKS:
            replaced = [number for number, _ in self._small]
            merged = AuthChainBlock()
            for _, small in self._small:
                merged.extend(small)
            merged.extend(block)
            block = merged
        try:
            last = await self._store.append(self._room, last=self._last, replaced=replaced, block=block)
        except (IndexMoved, DatabaseError) as error:
            logger.info("The auth index of room %d is read again: %s", self._room, error)
            return False
        if replaced:
            self._small = []
        self._appended(last, block)
        return True

    def _appended(self, number: int, block: AuthChainBlock) -> None:
        self._last = number
        if len(block) >= BLOCK:
            self._small = []
        else:
            self._small.append((number, block))
