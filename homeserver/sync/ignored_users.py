# SPDX-License-Identifier: Apache-2.0
"""Whom users ignore. spec: client-server-api, "Ignoring Users"."""

from __future__ import annotations

import msgspec

from homeserver.feed.feed import Feed
from homeserver.sync.reader import NOBODY
from storage.account_data import GLOBAL
from storage.runtime.caches import Cache, Caches, cache_of_entries
from storage.stores import Storage

_TYPE = "m.ignored_user_list"


class IgnoredUsers:
    """Reads `m.ignored_user_list`; an answer is kept for as long as the user changes no account data."""

    def __init__(self, *, storage: Storage, feed: Feed, limit: int = 20_000) -> None:
        self._storage = storage
        self._feed = feed
        self._known: Cache[int, tuple[int, frozenset[str]]] = cache_of_entries(limit)

    @property
    def caches(self) -> Caches:
        """What is kept, by name."""
        return {"ignored_users": self._known}

    async def of(self, account: int) -> frozenset[str]:
        """The ids of the users whom this one ignores; nobody where the content is malformed."""
        known = self._known.get(account)
        if known is not None and not self._feed.account_changed_since(account, known[0]):
            return known[1]
        position = self._feed.position
        data = await self._storage.account_data.get(account, GLOBAL, _TYPE)
        ignored = NOBODY if data is None else _ignored(data.content)
        self._known[account] = (position, ignored)
        return ignored


def _ignored(content: bytes) -> frozenset[str]:
    users = msgspec.json.decode(content).get("ignored_users")
    return frozenset(users) if isinstance(users, dict) else NOBODY
