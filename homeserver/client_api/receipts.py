# SPDX-License-Identifier: Apache-2.0
"""`POST /rooms/{roomId}/receipt`. spec: client-server-api, "Receipts"."""

from __future__ import annotations

from typing import Any

import attrs
from msgspec import UNSET

from federation.errors import InvalidParam
from federation.http.endpoint import Answer, Call, Endpoint, Json, NoQuery
from homeserver.rooms.read_markers import FULLY_READ, KINDS, Marker, ReadMarkers


@attrs.frozen
class ReceiptBody:
    """The thread that the receipt is of; without any, it is unthreaded."""

    thread_id: Any = UNSET


class ReceiptsApi:
    """`/receipt`."""

    def __init__(self, *, markers: ReadMarkers) -> None:
        self._markers = markers

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        path = "/_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}"
        return (Endpoint("POST", path, self.receipt, body=ReceiptBody, owner="roomId", repeatable=True),)

    async def receipt(self, call: Call[NoQuery, ReceiptBody]) -> Answer:
        """The user has read up to an event."""
        kind = call.path["receiptType"]
        if kind not in KINDS:
            raise InvalidParam(f"The type of receipt must be one of {', '.join(KINDS)}")
        marker = Marker(kind, call.path["eventId"], _thread(kind, call.body.thread_id))
        await self._markers.set(call.user, call.path["roomId"], (marker,))
        return Json({})


def _thread(kind: str, thread_id: Any) -> str | None:
    """The thread of a receipt. Raises `InvalidParam`."""
    if thread_id is UNSET:
        return None
    if not isinstance(thread_id, str) or not thread_id:
        raise InvalidParam("thread_id: must be a string that is not empty")
    if kind == FULLY_READ:
        raise InvalidParam(f"thread_id: {FULLY_READ} knows no threads")
    return thread_id
