# SPDX-License-Identifier: Apache-2.0
"""Creating rooms. spec: client-server-api, "Creation"."""

from __future__ import annotations

from federation.http.endpoint import Call, Endpoint, Json, NoQuery
from homeserver.rooms.creation import RoomCreation
from homeserver.rooms.room_options import RoomOptions


class RoomCreationApi:
    """`/createRoom`."""

    def __init__(self, *, creation: RoomCreation) -> None:
        self._creation = creation

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        path = "/_matrix/client/v3/createRoom"
        return (Endpoint("POST", path, self.create_room, limit="rc_room_creation", body=RoomOptions),)

    async def create_room(self, call: Call[NoQuery, RoomOptions]) -> Json:
        """Create a room."""
        return Json({"room_id": await self._creation.create(call.user, call.body)})
