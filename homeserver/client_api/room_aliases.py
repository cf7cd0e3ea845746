# SPDX-License-Identifier: Apache-2.0
"""Room aliases. spec: client-server-api, "Room aliases"."""

from __future__ import annotations

import attrs

from federation.http.endpoint import Auth, Call, Endpoint, Json, NoQuery
from homeserver.rooms.aliases import RoomAliases


@attrs.frozen
class AliasBody:
    """The body of `PUT /directory/room/{roomAlias}`."""

    room_id: str


class RoomAliasesApi:
    """`/directory/room/{roomAlias}` and `/rooms/{roomId}/aliases`."""

    def __init__(self, *, aliases: RoomAliases) -> None:
        self._aliases = aliases

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        base = "/_matrix/client/v3"
        alias = f"{base}/directory/room/{{roomAlias}}"
        return (
            Endpoint("GET", alias, self.resolve, auth=Auth.NONE),
            Endpoint("PUT", alias, self.add, body=AliasBody),
            Endpoint("DELETE", alias, self.delete, owner="roomAlias", repeatable=False),
            Endpoint("GET", f"{base}/rooms/{{roomId}}/aliases", self.of_room),
        )

    async def resolve(self, call: Call) -> Json:
        """The room that an alias points to."""
        resolved = await self._aliases.resolve(call.path["roomAlias"])
        return Json({"room_id": resolved.room_id, "servers": resolved.servers})

    async def add(self, call: Call[NoQuery, AliasBody]) -> Json:
        """Make an alias."""
        await self._aliases.add(call.user, call.path["roomAlias"], call.body.room_id)
        return Json({})

    async def delete(self, call: Call) -> Json:
        """Delete an alias."""
        await self._aliases.delete(call.user, call.path["roomAlias"])
        return Json({})

    async def of_room(self, call: Call) -> Json:
        """The local aliases of a room."""
        return Json({"aliases": await self._aliases.of_room(call.user, call.path["roomId"])})
