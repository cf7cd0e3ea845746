# SPDX-License-Identifier: Apache-2.0
"""Who is typing where: a stream in memory that never goes backwards, not even over a restart.

spec: client-server-api, "Typing Notifications".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from storage.runtime.clock import Clock, DelayedCall, milliseconds


class TypingNotifications:
    """The users who type in each room, and a stamp that rises with each change.

    Stamps are at least the wall clock's milliseconds, so that those of a new process exceed an old one's.
    `changed` is told the room. At most `limit` rooms are remembered after everybody stopped.
    """

    def __init__(self, *, clock: Clock, changed: Callable[[int], None], limit: int = 10_000) -> None:
        self._clock = clock
        self._changed = changed
        self._limit = limit
        self._typing: dict[int, dict[str, DelayedCall]] = {}
        self._stamps: OrderedDict[int, int] = OrderedDict()
        self.stamp = milliseconds(clock)
        self._remembered_from = self.stamp

    def start(self, room: int, user_id: str, timeout: float) -> None:
        """The user types in the room, for at most `timeout` seconds unless told again."""
        typing = self._typing.setdefault(room, {})
        timer = typing.pop(user_id, None)
        if timer is not None:
            timer.cancel()
        typing[user_id] = self._clock.callLater(timeout, self.stop, room, user_id)
        if timer is None:
            self._note(room)

    def stop(self, room: int, user_id: str) -> None:
        """The user types no longer."""
        typing = self._typing.get(room, {})
        timer = typing.pop(user_id, None)
        if timer is None:
            return
        if timer.active():
            timer.cancel()
        if not typing:
            del self._typing[room]
        self._note(room)

    def users(self, room: int) -> Sequence[str]:
        """Who types in the room now."""
        return sorted(self._typing.get(room, ()))

    def rooms_since(self, stamp: int, mine: Collection[int]) -> list[int]:
        """Those of the rooms `mine` where somebody began or stopped after `stamp`."""
        found = []
        for room, changed in reversed(self._stamps.items()):
            if changed <= stamp:
                break
            if room in mine:
                found.append(room)
        return found

    def remembers(self, stamp: int) -> bool:
        """Whether `rooms_since` knows of all changes after `stamp`; not of those before a restart."""
        return stamp >= self._remembered_from

    def is_anybody(self, mine: Collection[int]) -> bool:
        """Whether somebody types in any of the rooms `mine`; costs the smaller of the two sets."""
        typing = self._typing
        if len(typing) > len(mine):
            return any(room in typing for room in mine)
        return any(room in mine for room in typing)

    def close(self) -> None:
        """Nobody types any more, and those who wait are told so."""
        for room, typing in list(self._typing.items()):
            for user_id in list(typing):
                self.stop(room, user_id)

    def _note(self, room: int) -> None:
        self.stamp = max(self.stamp + 1, milliseconds(self._clock))
        self._stamps[room] = self.stamp
        self._stamps.move_to_end(room)
        while len(self._stamps) > self._limit:
            _, self._remembered_from = self._stamps.popitem(last=False)
        self._changed(room)
