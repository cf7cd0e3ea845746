# SPDX-License-Identifier: Apache-2.0
"""Ephemeral events of rooms in a sync: receipts and who is typing.

spec: client-server-api, "Receipts" and "Typing Notifications".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import attrs

from homeserver.feed.feed import Feed
from homeserver.rooms.tokens import SyncToken
from homeserver.sync.reader import Reader
from storage.receipts import Receipt
from storage.stores import Storage

_RECEIPT_TYPES = {False: "m.read", True: "m.read.private"}


@attrs.frozen
class Heard:
    """The ephemeral events of rooms, by room; `read_on` are those where the reader's own receipts moved."""

    events: Mapping[int, list[dict[str, Any]]]
    read_on: Set[int]


class Ephemeral:
    """Reads the ephemeral events of rooms."""

    def __init__(self, *, storage: Storage, feed: Feed) -> None:
        self._storage = storage
        self._feed = feed

    async def read(self, rooms: Mapping[int, int], reader: Reader) -> Heard:
        """The ephemeral events of each room since a position; rooms without any are left out.

        `rooms` maps each room to the position after which receipts are wanted, 0 for all of them.
        """
        predicate = reader.filter.ephemeral
        events: dict[int, list[dict[str, Any]]] = {}
        receipts, users = await self._receipts(rooms, reader)
        if not predicate.is_nothing and predicate.wants_type("m.receipt"):
            for room, found in receipts.items():
                if predicate.wants_room(users[room]):
                    events.setdefault(room, []).extend(_receipt_events(found, users))
        if not predicate.is_nothing and predicate.wants_type("m.typing"):
            for room, event in self._typing(rooms, reader).items():
                events.setdefault(room, []).append(event)
        own = reader.requester.user
        read_on = {room for room, found in receipts.items() if any(r.reader == own for r in found)}
        return Heard(events, read_on)

    def _typing(self, rooms: Mapping[int, int], reader: Reader) -> dict[int, dict[str, Any]]:
        typing, since = self._feed.typing, reader.since
        changed: Collection[int] = ()
        if since is not None:
            changed = rooms if self.may_be_stale(since) else typing.rooms_since(since.typing, rooms)
        events = {}
        for room, after in rooms.items():
            users = typing.users(room)
            if room in changed or (after == 0 and users):
                events[room] = {"type": "m.typing", "content": {"user_ids": users}}
        return events

    def may_be_stale(self, since: SyncToken) -> bool:
        """Whether the client may believe that users type of whom nobody remembers that they have stopped."""
        return since.typists and not self._feed.typing.remembers(since.typing)

    async def _receipts(
        self, rooms: Mapping[int, int], reader: Reader
    ) -> tuple[dict[int, list[Receipt]], Mapping[int, str]]:
        """Receipts by room, in order, and the names of their readers and rooms."""
        asked = [(room, after) for room, after in rooms.items() if self._feed.last_receipt(room) > after]
        if not asked:
            return {}, {}
        by_room: dict[int, list[Receipt]] = {}
        for r in sorted(await self._storage.receipts.since(asked), key=lambda r: r.position):
            if r.position <= reader.upto.position and (not r.private or r.reader == reader.requester.user):
                by_room.setdefault(r.room, []).append(r)
        readers = {r.reader for receipts in by_room.values() for r in receipts}
        return by_room, await self._storage.strings.values(readers | by_room.keys())


def _receipt_events(receipts: Sequence[Receipt], users: Mapping[int, str]) -> list[dict[str, Any]]:
    """The receipts as events; two of one user on one event need two events."""
    contents: list[dict[str, Any]] = []
    for r in receipts:
        data: dict[str, Any] = {"ts": r.received_ts}
        if r.thread is not None:
            data["thread_id"] = r.thread
        _add(contents, r.event_id, _RECEIPT_TYPES[r.private], users[r.reader], data)
    return [{"type": "m.receipt", "content": content} for content in contents]


def _add(contents: list[dict[str, Any]], event_id: str, kind: str, user: str, data: dict[str, Any]) -> None:
    for content in contents:
        readers = content.setdefault(event_id, {}).setdefault(kind, {})
        if user not in readers:
            readers[user] = data
            return
    contents.append({event_id: {kind: {user: data}}})
