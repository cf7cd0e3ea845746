# SPDX-License-Identifier: Apache-2.0
"""Ephemeral events of rooms in a sync: receipts and who is typing.

spec: client-server-api, "Receipts" and "Typing Notifications".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.feed.feed import Feed
from homeserver.sync.reader import Reader
from storage.receipts import Receipt
from storage.stores import Storage

_RECEIPT_TYPES = {False: "m.read", True: "m.read.private"}


class Ephemeral:
    """Reads the ephemeral events of rooms."""

    def __init__(self, *, storage: Storage, feed: Feed) -> None:
        self._storage = storage
        self._feed = feed

    async def read(self, rooms: Mapping[int, int], reader: Reader) -> dict[int, list[dict[str, Any]]]:
        """The ephemeral events of each room since a position, by room; rooms without any are left out.

        `rooms` maps each room to the position after which receipts are wanted, 0 for all of them.
        """
        predicate = reader.filter.ephemeral
        events: dict[int, list[dict[str, Any]]] = {}
        if predicate.is_nothing:
            return events
        if predicate.wants_type("m.receipt"):
            for room, found in (await self._receipts(rooms, reader)).items():
                events.setdefault(room, []).extend(found)
        if predicate.wants_type("m.typing"):
            for room, event in self._typing(rooms, reader).items():
                events.setdefault(room, []).append(event)
        return events

    def _typing(self, rooms: Mapping[int, int], reader: Reader) -> dict[int, dict[str, Any]]:
        typing = self._feed.typing
        changed = set() if reader.since is None else set(typing.rooms_since(reader.since.typing, rooms))
        events = {}
        for room, after in rooms.items():
            users = typing.users(room)
            if room in changed or (after == 0 and users):
                events[room] = {"type": "m.typing", "content": {"user_ids": users}}
        return events

    async def _receipts(self, rooms: Mapping[int, int], reader: Reader) -> dict[int, list[dict[str, Any]]]:
        asked = [(room, after) for room, after in rooms.items() if self._feed.last_receipt(room) > after]
        if not asked:
            return {}
        receipts = [
            r
            for r in await self._storage.receipts.since(asked)
            if r.position <= reader.upto.position and (not r.private or r.reader == reader.requester.user)
        ]
        users = await self._storage.strings.values(r.reader for r in receipts)
        by_room: dict[int, list[Receipt]] = {}
        for receipt in sorted(receipts, key=lambda r: r.position):
            by_room.setdefault(receipt.room, []).append(receipt)
        return {room: _receipt_events(found, users) for room, found in by_room.items()}


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
