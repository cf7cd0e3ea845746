# SPDX-License-Identifier: Apache-2.0
"""Saying that one types. spec: client-server-api, "Typing Notifications"."""

from __future__ import annotations

import attrs

from federation.errors import InvalidParam
from federation.http.endpoint import Answer, Call, Endpoint, Json, NoQuery
from homeserver.client_api.own_user import own_user
from homeserver.feed.typists import Typists
from homeserver.rooms.reading import RoomReading

_DEFAULT_MS = 30_000
_LONGEST_MS = 120_000


@attrs.frozen
class TypingBody:
    """Whether the user types, and for how many milliseconds."""

    typing: bool
    timeout: int | None = None


class TypingApi:
    """`/typing`."""

    def __init__(self, *, reading: RoomReading, typists: Typists) -> None:
        self._reading = reading
        self._typists = typists

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        path = "/_matrix/client/v3/rooms/{roomId}/typing/{userId}"
        return (Endpoint("PUT", path, self.set_typing, body=TypingBody, owner="roomId"),)

    async def set_typing(self, call: Call[NoQuery, TypingBody]) -> Answer:
        """The user has begun to type, goes on, or has stopped."""
        requester = own_user(call)
        timeout = _DEFAULT_MS if call.body.timeout is None else call.body.timeout
        if timeout < 0:
            raise InvalidParam("timeout: must not be negative")
        room = await self._reading.access_joined(requester, call.path["roomId"])
        if call.body.typing and timeout > 0:
            await self._typists.start(room, requester.user_id, min(timeout, _LONGEST_MS) / 1000)
        else:
            await self._typists.stop(room, requester.user_id)
        return Json({})
