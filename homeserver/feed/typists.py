# SPDX-License-Identifier: Apache-2.0
"""How long users go on typing: the timers, in the process that owns the room.

spec: client-server-api, "Typing Notifications".
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from homeserver.feed.typing import TypingNotifications
from storage.ephemeral import TypingChange
from storage.persist import Unit
from storage.runtime.background import BackgroundTasks
from storage.runtime.clock import Clock, DelayedCall
from storage.write_queue import WriteQueue

logger = logging.getLogger(__name__)

Announce: TypeAlias = Callable[[int, str, bool], Awaitable[object]]
"""Tells all readers that a user types in a room, or no longer."""

ADOPTED_SECONDS = 30.0
"""How long those go on typing whose timers another process has left behind."""


def announce_here(typing: TypingNotifications) -> Announce:
    """For the one process: its readers know at once."""

    async def announce(room: int, user_id: str, is_typing: bool) -> None:
        typing.apply(room, user_id, is_typing)

    return announce


def announce_to_all(queue: WriteQueue) -> Announce:
    """For one of several: it goes with a commit, so that all readers know of it in the same order."""

    async def announce(room: int, user_id: str, is_typing: bool) -> None:
        await queue.submit(Unit((TypingChange(room, user_id, is_typing),), positions=1))

    return announce


class Typists:
    """Those who type in the rooms of this process, each until their time is over."""

    def __init__(
        self, *, typing: TypingNotifications, announce: Announce, clock: Clock, background: BackgroundTasks
    ) -> None:
        self._typing = typing
        self._announce = announce
        self._clock = clock
        self._background = background
        self._timers: dict[tuple[int, str], DelayedCall] = {}

    async def start(self, room: int, user_id: str, timeout: float) -> None:
        """The user types in the room, for at most `timeout` seconds unless told again."""
        self._cancel(room, user_id)
        self._timers[room, user_id] = self._clock.callLater(timeout, self._expire, room, user_id)
        if not self._typing.is_typing(room, user_id):
            await self._announce(room, user_id, True)

    async def stop(self, room: int, user_id: str) -> None:
        """The user types no longer."""
        self._cancel(room, user_id)
        if self._typing.is_typing(room, user_id):
            await self._announce(room, user_id, False)

    def adopt(self, owns: Callable[[int], bool]) -> None:
        """Time those in rooms that this process `owns` now, and leave the others to whoever does."""
        for room, user_id in list(self._timers):
            if not owns(room):
                self._cancel(room, user_id)
        for room, user_id in self._typing.everybody():
            if (room, user_id) not in self._timers and owns(room):
                self._timers[room, user_id] = self._clock.callLater(
                    ADOPTED_SECONDS, self._expire, room, user_id
                )

    def forget(self) -> None:
        """Time nobody any more: the process stops."""
        for room, user_id in list(self._timers):
            self._cancel(room, user_id)

    async def end(self) -> None:
        """Nobody types any more, since the only process stops; those who wait are told so."""
        self.forget()
        for room, user_id in self._typing.everybody():
            await self._announce(room, user_id, False)

    def _cancel(self, room: int, user_id: str) -> None:
        timer = self._timers.pop((room, user_id), None)
        if timer is not None and timer.active():
            timer.cancel()

    def _expire(self, room: int, user_id: str) -> None:
        self._timers.pop((room, user_id), None)
        self._background.spawn("typing", self.stop(room, user_id))
