# SPDX-License-Identifier: Apache-2.0
"""The rooms of a sync that the user is invited to or knocks on.

spec: client-server-api, "Syncing" and "Stripped state".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from homeserver.rooms.client_event import stripped
from homeserver.rooms.states import RoomStates
from homeserver.sync.reader import Reader
from storage.event import StoredEvent
from storage.memberships import Membership
from storage.stores import Storage

_encode = msgspec.json.encode
_TYPES = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)


class Invites:
    """Writes rooms that a user is not in yet, with the state by which to recognise them."""

    def __init__(self, *, storage: Storage, states: RoomStates) -> None:
        self._storage = storage
        self._states = states

    async def write(
        self,
        rooms: Sequence[tuple[str, Membership]],
        kind: Literal["invite_state", "knock_state"],
        reader: Reader,
    ) -> list[bytes]:
        """A member of `rooms.invite` or `rooms.knock` for each room; none for invites of ignored users."""
        written = []
        own_events = await self._storage.events.get(m.event for _, m in rooms) if rooms else {}
        for room_id, membership in rooms:
            own = own_events.get(membership.event)
            if own is None or own.event.sender in reader.ignored:
                continue
            events = [stripped(stored.event) for stored in await self._state(membership.room, own)]
            written.append(b"%b:%b" % (_encode(room_id), _encode({kind: {"events": events}})))
        return written

    async def _state(self, room: int, own: StoredEvent) -> list[StoredEvent]:
        """What identifies the room, the member event of who sent the user's own one, and that one."""
        names = await self._storage.strings.intern(["", "m.room.member", own.event.sender, *_TYPES])
        state = await self._states.current(room)
        keys = [(names[type_], names[""]) for type_ in _TYPES]
        keys.append((names["m.room.member"], names[own.event.sender]))
        wanted = [row.event for key in keys if (row := state.get(key)) is not None and row.event is not None]
        events = await self._storage.events.get(wanted)
        shown = [events[number] for number in wanted if number in events and number != own.number]
        return [*shown, own]
