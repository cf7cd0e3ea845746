# SPDX-License-Identifier: Apache-2.0
"""Redacting events. spec: client-server-api, "Redactions"."""

from __future__ import annotations

import attrs

from federation.http.endpoint import Call, Endpoint, NoQuery, RawJson
from homeserver.client_api.sending_events import sent
from homeserver.rooms.sending import Sending


@attrs.frozen
class RedactionBody:
    """The body of `PUT /rooms/{roomId}/redact/{eventId}/{txnId}`."""

    reason: str | None = None


class RedactionsApi:
    """`/rooms/{roomId}/redact`."""

    def __init__(self, *, sending: Sending) -> None:
        self._sending = sending

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        path = "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}"
        return (
            Endpoint(
                "PUT",
                path,
                self.redact,
                limit="rc_message",
                body=RedactionBody,
                owner="roomId",
                latest=False,
            ),
        )

    async def redact(self, call: Call[NoQuery, RedactionBody]) -> RawJson:
        """Redact an event."""
        path = call.path
        event_id = await self._sending.redact(
            call.user, path["roomId"], path["eventId"], path["txnId"], reason=call.body.reason
        )
        return sent(event_id)
