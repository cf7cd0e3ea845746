# SPDX-License-Identifier: Apache-2.0
"""Memberships of local users as of the feed's position: by user, and by room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from twisted.internet.defer import Deferred

from storage.engine.database import Database
from storage.memberships import Membership, Memberships


class _Kept:
    """Maps read from the database on demand and advanced by every commit, also while the reading goes on."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._maps: OrderedDict[int, dict[int, Membership]] = OrderedDict()
        self._reading: dict[int, list[Membership]] = {}
        self._readers: dict[int, list[Deferred[None]]] = {}

    def get(self, key: int) -> dict[int, Membership] | None:
        return self._maps.get(key)

    def apply(self, key: int, inner: int, membership: Membership) -> None:
        kept = self._maps.get(key)
        if kept is not None:
            kept[inner] = membership
        elif key in self._reading:
            self._reading[key].append(membership)

    def begin(self, key: int) -> Deferred[None] | None:
        """None for whoever has to read; a Deferred for those who wait for them."""
        if key not in self._reading:
            self._reading[key] = []
            self._readers[key] = []
            return None
        waiting: Deferred[None] = Deferred()
        self._readers[key].append(waiting)
        return waiting

    def end(self, key: int, read: dict[int, Membership] | None, inner_of: str) -> None:
        changed = self._reading.pop(key)
        if read is not None:
            for membership in changed:
                read[getattr(membership, inner_of)] = membership
            self._maps[key] = read
            if len(self._maps) > self._limit:
                self._maps.popitem(last=False)
        for waiting in self._readers.pop(key):
            waiting.callback(None)


class UserRooms:
    """Which rooms a local user stands in, and which local users stand in a room.

    At most `limit` users and as many rooms are kept in memory.
    """

    def __init__(self, database: Database, memberships: Memberships, *, limit: int = 20_000) -> None:
        self._database = database
        self._memberships = memberships
        self._by_account = _Kept(limit)
        self._by_room = _Kept(limit)

    def apply(self, membership: Membership) -> None:
        """A committed change; `membership.position` is set."""
        self._by_account.apply(membership.account, membership.room, membership)
        self._by_room.apply(membership.room, membership.account, membership)

    async def of_account(self, account: int) -> Mapping[int, Membership]:
        """The user's memberships by room. The map goes on changing with every commit."""
        kept = self._by_account.get(account)
        while kept is None:
            waiting = self._by_account.begin(account)
            if waiting is not None:
                await waiting
            else:
                read = None
                try:
                    read = {m.room: m for m in await self._memberships.of_account(account)}
                finally:
                    self._by_account.end(account, read, "room")
            kept = self._by_account.get(account)
        return kept

    async def in_room(self, room: int) -> Mapping[int, Membership]:
        """The memberships of local users in the room by user. The map goes on changing with every commit."""
        kept = self._by_room.get(room)
        while kept is None:
            waiting = self._by_room.begin(room)
            if waiting is not None:
                await waiting
            else:
                read = None
                try:
                    rows = await self._database.read(
                        "local members", lambda txn: self._memberships.of_room_txn(txn, room)
                    )
                    read = {m.account: m for m in rows}
                finally:
                    self._by_room.end(room, read, "account")
            kept = self._by_room.get(room)
        return kept

    def known_in_room(self, room: int) -> Mapping[int, Membership] | None:
        """As `in_room` if it is in memory."""
        return self._by_room.get(room)

    def may_be_joined(self, account: int, room: int) -> bool:
        """Whether the user is joined to the room; True, too, where their memberships are not in memory."""
        kept = self._by_account.get(account)
        if kept is None:
            return True
        membership = kept.get(room)
        return membership is not None and membership.membership == "join"
