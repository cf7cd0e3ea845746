# SPDX-License-Identifier: Apache-2.0
"""`POST /rooms/{roomId}/read_markers`. spec: client-server-api, "Fully read markers"."""

from __future__ import annotations

import msgspec

from federation.http.endpoint import Answer, Call, Endpoint, Json, NoQuery
from homeserver.rooms.read_markers import FULLY_READ, PRIVATE_READ, READ, Marker, ReadMarkers


class MarkersBody(msgspec.Struct, frozen=True):
    """Event ids of the marker and of the receipts that go with it."""

    fully_read: str | None = msgspec.field(default=None, name=FULLY_READ)
    read: str | None = msgspec.field(default=None, name=READ)
    private_read: str | None = msgspec.field(default=None, name=PRIVATE_READ)


class ReadMarkersApi:
    """`/read_markers`."""

    def __init__(self, *, markers: ReadMarkers) -> None:
        self._markers = markers

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        path = "/_matrix/client/v3/rooms/{roomId}/read_markers"
        return (Endpoint("POST", path, self.set_markers, body=MarkersBody, owner="roomId", repeatable=True),)

    async def set_markers(self, call: Call[NoQuery, MarkersBody]) -> Answer:
        """Set the marker, the receipts, or all of them."""
        body = call.body
        named = ((FULLY_READ, body.fully_read), (READ, body.read), (PRIVATE_READ, body.private_read))
        markers = [Marker(kind, event_id) for kind, event_id in named if event_id is not None]
        await self._markers.set(call.user, call.path["roomId"], markers)
        return Json({})
