# SPDX-License-Identifier: Apache-2.0
"""Single events and the state of rooms. spec: client-server-api, "Getting events for a room"."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal

import attrs
from twisted.internet.task import deferLater

from federation.errors import NotFound
from federation.http.endpoint import Answer, Call, Endpoint, Json, JsonStream, NoBody, RawJson, Requester
from homeserver.rooms.members import Members
from homeserver.rooms.presentation import Presentation
from homeserver.rooms.reading import ReadableRoom, RoomReading
from storage.event import StoredEvent
from storage.runtime.clock import Clock
from storage.stores import Storage

_ROOM = "/_matrix/client/v3/rooms/{roomId}"
_AT_ONCE = 500
"""So many events are rendered before others get their turn."""


@attrs.frozen
class StateQuery:
    """`format`: the whole event or its content alone."""

    format: Literal["event", "content"] = "content"


@attrs.frozen
class MembersQuery:
    """Which members, as of the token `at`."""

    at: str | None = None
    membership: Literal["join", "invite", "knock", "leave", "ban"] | None = None
    not_membership: Literal["join", "invite", "knock", "leave", "ban"] | None = None


class GettingEvents:
    """The endpoints that read single events, states and members."""

    def __init__(
        self,
        *,
        storage: Storage,
        reading: RoomReading,
        members: Members,
        presentation: Presentation,
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._reading = reading
        self._members = members
        self._presentation = presentation
        self._clock = clock

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (
            Endpoint("GET", f"{_ROOM}/event/{{eventId}}", self.event, guests=True),
            Endpoint("GET", f"{_ROOM}/state", self.state, guests=True),
            Endpoint("GET", f"{_ROOM}/state/{{eventType}}", self.state_event, query=StateQuery, guests=True),
            Endpoint(
                "GET",
                f"{_ROOM}/state/{{eventType}}/{{stateKey}}",
                self.state_event,
                query=StateQuery,
                guests=True,
            ),
            Endpoint("GET", f"{_ROOM}/members", self.members, query=MembersQuery, guests=True),
            Endpoint("GET", f"{_ROOM}/joined_members", self.joined_members),
        )

    async def event(self, call: Call) -> Answer:
        """One event of a room."""
        room, stored = await self._reading.event(call.user, call.path["roomId"], call.path["eventId"])
        return RawJson(await self._rendered(call.user, room, [stored]))

    async def state(self, call: Call) -> Answer:
        """All events of the state: the current one, or that in which the user left."""
        room = await self._reading.access_room(call.user, call.path["roomId"])
        state = await self._reading.state(room)
        stored = await self._storage.events.get(row.event for row in state.values() if row.event is not None)
        return await self._list(call.user, room, list(stored.values()), b"[", b"]")

    async def state_event(self, call: Call[StateQuery, NoBody]) -> Answer:
        """The content of one state event, or the event."""
        room = await self._reading.access_room(call.user, call.path["roomId"])
        names = (call.path["eventType"], call.path.get("stateKey", ""))
        numbers = await self._storage.strings.find(names)
        state = await self._reading.state(room)
        row = state.get((numbers.get(names[0], 0), numbers.get(names[1], 0)))
        if row is None or row.event is None:
            raise NotFound(f"The room has no {names[0]} with the state key {names[1]!r}")
        stored = (await self._storage.events.get([row.event])).get(row.event)
        if stored is None:
            raise NotFound(f"The server does not have the room's {names[0]} with the state key {names[1]!r}")
        if call.query.format == "event":
            return RawJson(await self._rendered(call.user, room, [stored]))
        looked_up = await self._presentation.look_up({room.room: [stored]}, {room.room: room.view}, call.user)
        return RawJson(looked_up.content(stored))

    async def members(self, call: Call[MembersQuery, NoBody]) -> Answer:
        """The member events of a room."""
        room = await self._reading.access_room(call.user, call.path["roomId"])
        query = call.query
        stored = await self._members.events(room, query.at, query.membership, query.not_membership)
        return await self._list(call.user, room, stored, b'{"chunk":[', b"]}")

    async def joined_members(self, call: Call) -> Answer:
        """Who is joined now, with their names and avatars; only for those who are joined themselves."""
        room = await self._reading.access_room(call.user, call.path["roomId"])
        joined = {
            user_id: {
                name: value
                for name, value in (("display_name", member.display_name), ("avatar_url", member.avatar_url))
                if value is not None
            }
            for user_id, member in (await self._members.joined(room)).items()
        }
        return Json({"joined": joined})

    async def _list(
        self,
        requester: Requester,
        room: ReadableRoom,
        stored: Sequence[StoredEvent],
        head: bytes,
        tail: bytes,
    ) -> Answer:
        """The events between `head` and `tail`; many of them a few at a time, for the others' sake."""

        async def parts() -> AsyncIterator[bytes]:
            yield head
            for i in range(0, len(stored), _AT_ONCE):
                part = await self._rendered(requester, room, stored[i : i + _AT_ONCE])
                yield b"," + part if i else part
                await deferLater(self._clock, 0)  # type: ignore[arg-type]
            yield tail

        if len(stored) > _AT_ONCE:
            return JsonStream(parts())
        return RawJson(head + await self._rendered(requester, room, stored) + tail)

    async def _rendered(
        self, requester: Requester, room: ReadableRoom, events: Sequence[StoredEvent]
    ) -> bytes:
        """The JSON of the events with commas between."""
        looked_up = await self._presentation.look_up({room.room: events}, {room.room: room.view}, requester)
        return b",".join(looked_up.render(room.room, events, with_room_id=True))
