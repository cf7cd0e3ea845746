# SPDX-License-Identifier: Apache-2.0
"""Whose profile a user may look up where it is not open to everybody.

spec: client-server-api, "Profiles" (server behaviour).
"""

from __future__ import annotations

from homeserver.feed.user_rooms import UserRooms
from homeserver.rooms.states import RoomStates
from homeserver.rooms.visibility import HISTORY_VISIBILITY, Visibility
from storage.stores import Storage

_JOIN_RULES = "m.room.join_rules"


class ProfileVisibility:
    """Users see each other who share a room, and whoever is in a room that is open to everybody."""

    def __init__(self, *, storage: Storage, user_rooms: UserRooms, states: RoomStates) -> None:
        self._storage = storage
        self._user_rooms = user_rooms
        self._states = states

    async def sees(self, account: int, other: int) -> bool:
        """Whether the user `account` may look up the profile of `other`."""
        if account == other:
            return True
        theirs = await self._joined(other)
        if not theirs.isdisjoint(await self._joined(account)):
            return True
        for room in theirs:
            if await self._is_open(room):
                return True
        return False

    async def _joined(self, account: int) -> set[int]:
        memberships = await self._user_rooms.of_account(account)
        return {room for room, m in memberships.items() if m.membership == "join"}

    async def _is_open(self, room: int) -> bool:
        """Whether anybody may join the room or read it."""
        numbers = await self._storage.strings.intern([_JOIN_RULES, HISTORY_VISIBILITY, ""])
        state = (await self._states.currents([room]))[room]
        rows = [state.get((numbers[name], numbers[""])) for name in (_JOIN_RULES, HISTORY_VISIBILITY)]
        found = await self._storage.events.get(
            row.event for row in rows if row is not None and row.event is not None
        )
        contents = {stored.event.type: stored.event.content for stored in found.values()}
        return (
            contents.get(_JOIN_RULES, {}).get("join_rule") == "public"
            or Visibility.of(contents.get(HISTORY_VISIBILITY)) is Visibility.WORLD_READABLE
        )
