# SPDX-License-Identifier: Apache-2.0
"""Keys that a resolution took out of a room's state: how a client that holds a value of them is told.

An answer of `/sync` lists events; it has no word for a key that has no value any more. So the client gets
the event that it holds once more, without what it said: an empty `content`, and for a member the membership
"leave". A client that applies it shows what one does that starts afresh.

spec: client-server-api, "Syncing" (which leaves this open).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from homeserver.rooms.state_changes import Change
from homeserver.rooms.states import RoomStates
from homeserver.sync.reader import Reader
from homeserver.sync.state_sections import Settled, StateOf
from storage.event import StoredEvent
from storage.stores import Storage

_MEMBER: Final = "m.room.member"


@attrs.frozen
class RemovedKeys:
    """Finds the keys that were removed since a client last heard of a room, and what it holds of them."""

    storage: Storage
    states: RoomStates

    async def told(self, settled: Iterable[Settled], reader: Reader) -> dict[int, list[dict[str, Any]]]:
        """The events to be told, by room; rooms without any are left out."""
        if reader.filter.state.is_nothing:
            return {}
        held: dict[int, list[int]] = {}
        for one in settled:
            gone = await self._gone(one.one, one.changes)
            if gone:
                held[one.one.room] = await self._held(one.one, gone)
        if not any(held.values()):
            return {}
        stored = await self.storage.events.get(number for numbers in held.values() for number in numbers)
        return {
            room: [_emptied(stored[n]) for n in numbers if n in stored and _is_wanted(stored[n], reader)]
            for room, numbers in held.items()
        }

    async def _gone(self, one: StateOf, changes: Sequence[Change]) -> list[tuple[int, int]]:
        """The keys that had a value since the client last heard of the room, and have none now."""
        if not one.known_at:
            return []
        if one.whole:
            changes = (await self.states.changes({one.room: (one.known_at, one.upto)}))[one.room]
        if all(change.row.event is not None for change in changes):
            return []
        final = {(row.type, row.state_key): row.event for _, _, row in changes}
        return [key for key, event in final.items() if event is None]

    async def _held(self, one: StateOf, gone: Sequence[tuple[int, int]]) -> list[int]:
        """The numbers of the events that the client holds of these keys."""
        before = (await self.states.at_positions([(one.room, one.known_at)]))[one.room]
        return [row.event for key in gone if (row := before.get(key)) is not None and row.event is not None]


def _is_wanted(stored: StoredEvent, reader: Reader) -> bool:
    event = stored.event
    return reader.filter.state.wants(event.type, event.sender, event.room_id, event.content)


def _emptied(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    content: Mapping[str, Any] = {"membership": "leave"} if event.type == _MEMBER else {}
    return {
        "type": event.type,
        "state_key": event.state_key,
        "event_id": event.event_id,
        "sender": event.sender,
        "origin_server_ts": event.origin_server_ts,
        "content": content,
    }
