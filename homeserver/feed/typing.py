# SPDX-License-Identifier: Apache-2.0
"""Who is typing where, as readers see it: a stream in memory that never goes backwards.

spec: client-server-api, "Typing Notifications".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from storage.runtime.clock import Clock, milliseconds


class TypingNotifications:
    """The users who type in each room, and a stamp that rises with each change.

    Where one process serves alone, stamps are at least the wall clock's milliseconds, so that those of a new
    process exceed an old one's. Where several do, changes come with commits, and stamps are their positions.
    `changed` is told the room. At most `limit` rooms are remembered after everybody stopped.
    """

    def __init__(self, *, clock: Clock, changed: Callable[[int], None], limit: int = 10_000) -> None:
        self._clock = clock
        self._changed = changed
        self._limit = limit
        self._typing: dict[int, set[str]] = {}
        self._stamps: OrderedDict[int, int] = OrderedDict()
        self.stamp = milliseconds(clock)
        self._remembered_from = self.stamp

    def begin_at(self, position: int) -> None:
        """Stamps are positions, from now on. What was up to `position`, this process has not heard of."""
        self.stamp = position
        self._remembered_from = position + 1

    def apply(self, room: int, user_id: str, typing: bool, *, position: int | None = None) -> bool:
        """The user types in the room from now on, or no longer; whether that is news."""
        users = self._typing.get(room, set())
        if (user_id in users) == typing and position is None:
            return False
        if typing:
            self._typing.setdefault(room, users).add(user_id)
        else:
            users.discard(user_id)
            if not users:
                self._typing.pop(room, None)
        self._note(room, position)
        return True

    def reached(self, position: int) -> None:
        """Everything up to `position` is known, where stamps are positions."""
        self.stamp = max(self.stamp, position)

    def is_typing(self, room: int, user_id: str) -> bool:
        """Whether the user types in the room now."""
        return user_id in self._typing.get(room, ())

    def users(self, room: int) -> Sequence[str]:
        """Who types in the room now."""
        return sorted(self._typing.get(room, ()))

    def everybody(self) -> Sequence[tuple[int, str]]:
        """All who type now, with the rooms."""
        return [(room, user_id) for room, users in self._typing.items() for user_id in users]

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
        """Whether `rooms_since` knows of all changes after `stamp`.

        Not of those before a restart, nor of those after a stamp that was given when stamps were otherwise.
        """
        return self._remembered_from <= stamp <= self.stamp

    def is_anybody(self, mine: Collection[int]) -> bool:
        """Whether somebody types in any of the rooms `mine`; costs the smaller of the two sets."""
        typing = self._typing
        if len(typing) > len(mine):
            return any(room in typing for room in mine)
        return any(room in mine for room in typing)

    def _note(self, room: int, position: int | None) -> None:
        if position is None:
            position = max(self.stamp + 1, milliseconds(self._clock))
        self.stamp = max(self.stamp, position)
        self._stamps[room] = position
        self._stamps.move_to_end(room)
        while len(self._stamps) > self._limit:
            _, self._remembered_from = self._stamps.popitem(last=False)
        self._changed(room)
