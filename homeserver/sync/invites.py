# SPDX-License-Identifier: Apache-2.0
"""The rooms of a sync that the user is invited to or knocks on.

spec: client-server-api, "Syncing" and "Stripped state".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from homeserver.rooms.client_event import stripped
from homeserver.rooms.invite_permission import InvitePermission
from homeserver.rooms.states import RoomStates
from homeserver.sync.reader import Reader
from storage.event import StoredEvent
from storage.memberships import Membership
from storage.stores import Storage

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
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

    def __init__(self, *, storage: Storage, states: RoomStates, permission: InvitePermission) -> None:
        self._storage = storage
        self._states = states
        self._permission = permission

    async def write(
        self,
        rooms: Sequence[tuple[str, Membership]],
        kind: Literal["invite_state", "knock_state"],
        reader: Reader,
    ) -> list[bytes]:
        """A member of `rooms.invite` or `rooms.knock` for each room.

        None for invites of ignored users, and no invite at all for a user who wants none.
        """
        if not rooms or (kind == "invite_state" and await self._permission.blocks(reader.requester.user)):
            return []
        written = []
        events: list[Any]
        own_events = await self._storage.events.get(m.event for _, m in rooms)
        told = await self._told(rooms, reader)
        for room_id, membership in rooms:
            own = own_events.get(membership.event)
            if own is None or own.event.sender in reader.ignored:
                continue
            if membership.room in told:
                events = [*_decode(told[membership.room]), stripped(own.event)]
            else:
                events = [stripped(stored.event) for stored in await self._state(membership.room, own)]
            written.append(b"%b:%b" % (_encode(room_id), _encode({kind: {"events": events}})))
        return written

    async def _told(self, rooms: Sequence[tuple[str, Membership]], reader: Reader) -> Mapping[int, bytes]:
        """The stripped state, but for the member event, of those of the rooms that this server is not in."""
        found = await self._storage.out_of_band.of_rooms(
            reader.requester.user, [membership.room for _, membership in rooms]
        )
        return {room: told.stripped_state for room, told in found.items()}

    async def _state(self, room: int, own: StoredEvent) -> list[StoredEvent]:
        """What identifies the room, the member event of who sent the user's own one, and that one."""
        names = await self._storage.strings.intern(["", "m.room.member", own.event.sender, *_TYPES])
        state = (await self._states.currents([room]))[room]
        keys = [(names[type_], names[""]) for type_ in _TYPES]
        keys.append((names["m.room.member"], names[own.event.sender]))
        wanted = [row.event for key in keys if (row := state.get(key)) is not None and row.event is not None]
        events = await self._storage.events.get(wanted)
        shown = [events[number] for number in wanted if number in events and number != own.number]
        return [*shown, own]
