# SPDX-License-Identifier: Apache-2.0
"""`GET /rooms/{roomId}/messages`. spec: client-server-api, "Getting events for a room"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
from cachetools import LRUCache

from federation.errors import InvalidParam
from federation.http.endpoint import Call, Endpoint, NoBody, RawJson
from homeserver.filtering.event_predicate import EVERYTHING, EventPredicate
from homeserver.rooms.paging import Paging
from homeserver.rooms.presentation import Presentation
from homeserver.rooms.reading import ReadableRoom, RoomReading
from homeserver.sync.ignored_users import IgnoredUsers
from storage.event import StoredEvent
from storage.runtime.caches import cache_of_entries

LARGEST_PAGE = 1_000
_DEFAULT_PAGE = 10
_LONGEST_KEPT_FILTER = 2_000


@attrs.frozen
class MessagesQuery:
    """From where, in which direction, how many and which events."""

    dir: Literal["b", "f"]
    from_: str | None = None
    to: str | None = None
    limit: int | None = None
    filter: str | None = None


class Messages:
    """The endpoint that pages through a room."""

    def __init__(
        self,
        *,
        reading: RoomReading,
        paging: Paging,
        presentation: Presentation,
        ignored_users: IgnoredUsers,
    ) -> None:
        self._reading = reading
        self._ignored_users = ignored_users
        self._paging = paging
        self._presentation = presentation
        self._predicates: LRUCache[str, EventPredicate] = cache_of_entries(500)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        path = "/_matrix/client/v3/rooms/{roomId}/messages"
        return (Endpoint("GET", path, self.messages, query=MessagesQuery, guests=True),)

    async def messages(self, call: Call[MessagesQuery, NoBody]) -> RawJson:
        """One page of the room's events."""
        query = call.query
        predicate = self._predicate(query.filter)
        limit = _limit(query.limit, predicate)
        room = await self._reading.access_room(call.user, call.path["roomId"])
        page = await self._paging.page(
            room,
            from_=query.from_ or None,
            to=query.to or None,
            backwards=query.dir == "b",
            limit=limit,
            predicate=predicate,
            ignored=await self._ignored_users.of(call.user.user),
        )
        chunk = await self._rendered(call, room, page.events)
        # Tokens, those that the client sent included, need no escapes in JSON.
        end = b"" if page.end is None else b',"end":"%b"' % page.end.encode()
        state = b""
        if predicate.lazy_load_members and page.events:
            members = await self._paging.members_of_senders(room, page.events)
            state = b',"state":[%b]' % await self._rendered(call, room, members)
        return RawJson(b'{"chunk":[%b],"start":"%b"%b%b}' % (chunk, page.start.encode(), end, state))

    async def _rendered(
        self, call: Call[MessagesQuery, NoBody], room: ReadableRoom, events: Sequence[StoredEvent]
    ) -> bytes:
        views = {room.room: room.view}
        looked_up = await self._presentation.look_up({room.room: events}, views, call.user)
        return b",".join(looked_up.render(room.room, events, with_room_id=True))

    def _predicate(self, text: str | None) -> EventPredicate:
        """The filter of a request. Raises `BadJson` and `NotJson`."""
        if not text:
            return EVERYTHING
        predicate = self._predicates.get(text)
        if predicate is None:
            predicate = EventPredicate.parse(text.encode())
            if len(text) <= _LONGEST_KEPT_FILTER:
                self._predicates[text] = predicate
        return predicate


def _limit(limit: int | None, predicate: EventPredicate) -> int:
    """How many events to return: the smaller of what the query and the filter say. Raises `InvalidParam`."""
    if limit is not None and limit < 0:
        raise InvalidParam("limit: must not be negative")
    asked = [size for size in (limit, predicate.limit) if size is not None]
    return min([*(asked or [_DEFAULT_PAGE]), LARGEST_PAGE])
