# SPDX-License-Identifier: Apache-2.0
"""Unread counts as readers ask for them.

spec: client-server-api, "Receiving notifications" and "Threading".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import attrs

_NO_THREADS: Mapping[str, tuple[int, int]] = MappingProxyType({})


@attrs.frozen
class RoomUnread:
    """What a user has not read of a room: notifications and highlights.

    The two counts are the main timeline's; `threads` has both of each thread that has any, by its root.
    """

    notification_count: int = 0
    highlight_count: int = 0
    threads: Mapping[str, tuple[int, int]] = _NO_THREADS

    def total(self) -> tuple[int, int]:
        """Notifications and highlights of the main timeline and all threads."""
        threads = self.threads.values()
        return (
            self.notification_count + sum(notifications for notifications, _ in threads),
            self.highlight_count + sum(highlights for _, highlights in threads),
        )


class UnreadCounts(Protocol):
    """Who knows the counts."""

    async def unread(self, account: int, rooms: Sequence[int]) -> Mapping[int, RoomUnread]:
        """The user's counts in each of the rooms."""
