# SPDX-License-Identifier: Apache-2.0
"""The members of a room, now or as of a token.

spec: client-server-api, "Getting events for a room".
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from federation.errors import Forbidden
from homeserver.rooms.reading import ReadableRoom, RoomReading
from homeserver.rooms.states import RoomStates, StateMap
from homeserver.rooms.tokens import SyncToken, TimelineStart, parse_paging_token
from homeserver.rooms.visibility import MEMBER
from storage.engine.database import Transaction
from storage.event import StateAt, StoredEvent
from storage.events import END, Place
from storage.state import StateRow
from storage.stores import Storage


@attrs.frozen
class JoinedMember:
    """What a member event says of the profile of somebody who is joined."""

    display_name: str | None
    avatar_url: str | None


class Members:
    """Reads member events."""

    def __init__(self, *, storage: Storage, reading: RoomReading, states: RoomStates) -> None:
        self._storage = storage
        self._reading = reading
        self._states = states

    async def events(
        self, room: ReadableRoom, at: str | None, membership: str | None, not_membership: str | None
    ) -> list[StoredEvent]:
        """The member events as of the token `at`, or of the state that the user reads.

        With both `membership` and `not_membership`, those that fit either. Raises `InvalidParam` for what is
        no token, and `Forbidden` where the user may not see the room as of `at`.
        """
        state = await self._reading.state(room) if at is None else await self._state_at(room, at)
        rows = [
            row for row in await self._members(state) if _fits(row.membership, membership, not_membership)
        ]
        return await self._stored(rows)

    async def joined(self, room: ReadableRoom) -> dict[str, JoinedMember]:
        """Who is joined now, by user id. Raises `Forbidden` for one who is not joined."""
        if room.view.membership != "join":
            raise Forbidden("You are not joined to the room")
        rows = await self._members((await self._states.currents([room.room]))[room.room])
        stored = await self._stored([row for row in rows if row.membership == "join"])
        return {event.event.state_key or "": _joined_member(event) for event in stored}

    async def _members(self, state: StateMap) -> list[StateRow]:
        member = (await self._storage.strings.intern([MEMBER]))[MEMBER]
        return [row for key, row in state.items() if key[0] == member]

    async def _stored(self, rows: Sequence[StateRow]) -> list[StoredEvent]:
        numbers = [row.event for row in rows if row.event is not None]
        found = await self._storage.events.get(numbers)
        return [found[number] for number in numbers if number in found]

    async def _state_at(self, room: ReadableRoom, at: str) -> StateMap:
        token = parse_paging_token(at, "at")
        states = self._storage.states
        if isinstance(token, SyncToken | TimelineStart):
            position = token.position if isinstance(token, SyncToken) else token.place.position

            def read(txn: Transaction) -> StateAt:
                return StateAt(0, states.revision_at_txn(txn, room.room, position))

            state: StateAt | None = await self._storage.database.read("revision", read)
        else:
            state = await self._state_after(room.room, token)
        if state is None:
            return await self._reading.state(room)
        return await self._reading.state_at(room, state)

    async def _state_after(self, room: int, place: Place) -> StateAt | None:
        """The state that the next event after the place found; None where there is none, or it is unknown."""
        following = await self._storage.events.forwards(room, after=place, before=END, limit=1)
        if not following:
            return None
        number = following[0].number
        return (await self._storage.events.get([number]))[number].before


def _fits(membership: str | None, wanted: str | None, unwanted: str | None) -> bool:
    if wanted is None:
        return unwanted is None or membership != unwanted
    return membership == wanted or (unwanted is not None and membership != unwanted)


def _joined_member(stored: StoredEvent) -> JoinedMember:
    """A redaction takes the profile out of a member event."""
    content = {} if stored.redacted_by is not None else stored.event.content
    name, avatar = content.get("displayname"), content.get("avatar_url")
    return JoinedMember(
        display_name=name if isinstance(name, str) else None,
        avatar_url=avatar if isinstance(avatar, str) else None,
    )
