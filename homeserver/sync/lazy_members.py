# SPDX-License-Identifier: Apache-2.0
"""Which members each client has been sent already, so that lazy loading does not send them again.

spec: client-server-api, "Lazy-loading room members".
"""

from __future__ import annotations

from collections.abc import Set

from federation.http.endpoint import Requester
from storage.runtime.caches import Cache, Caches, cache_of_bytes

_BYTES_OF_A_MEMBER = 60


class SentMembers:
    """Numbers of the users whose member events a device has, by room. What is forgotten is sent again."""

    def __init__(self, *, cache_bytes: int = 8 * 2**20) -> None:
        self._sent: Cache[tuple[int, int, int], frozenset[int]] = cache_of_bytes(
            cache_bytes, lambda users: 300 + _BYTES_OF_A_MEMBER * len(users)
        )

    @property
    def caches(self) -> Caches:
        """What is kept, by name."""
        return {"sent_members": self._sent}

    def known(self, requester: Requester, room: int) -> Set[int]:
        """Whom the device knows in the room."""
        return self._sent.get(_key(requester, room), frozenset())

    def whole(self, requester: Requester, room: int, users: Set[int]) -> None:
        """The device was sent the room afresh, with the members of these users."""
        self._keep(_key(requester, room), frozenset(users))

    def more(self, requester: Requester, room: int, users: Set[int]) -> None:
        """The device was sent the members of these users, too."""
        if users:
            key = _key(requester, room)
            known = self._sent.get(key, frozenset())
            if not users <= known:
                self._keep(key, known | users)

    def _keep(self, key: tuple[int, int, int], users: frozenset[int]) -> None:
        if 300 + _BYTES_OF_A_MEMBER * len(users) <= self._sent.maxsize:
            self._sent[key] = users
        else:
            self._sent.pop(key, None)


def _key(requester: Requester, room: int) -> tuple[int, int, int]:
    return (requester.user, requester.device or 0, room)
