# SPDX-License-Identifier: Apache-2.0
"""Sending message events and state events. spec: client-server-api, "Sending events to a room"."""

from __future__ import annotations

import attrs

from federation.http.endpoint import Call, Endpoint, JsonObject, RawJson, Requester
from homeserver.rooms.sending import Sending


@attrs.frozen
class Timestamp:
    """The query parameter `ts`, in milliseconds; only application services may set it.

    spec: application-service-api, "Timestamp massaging"
    """

    ts: int | None = None

    def of(self, requester: Requester) -> int | None:
        """The timestamp that the event is to have; None: that of now."""
        return None if requester.app_service is None else self.ts


class SendingEventsApi:
    """`/rooms/{roomId}/send` and `PUT /rooms/{roomId}/state`."""

    def __init__(self, *, sending: Sending) -> None:
        self._sending = sending

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        room = "/_matrix/client/v3/rooms/{roomId}"
        state = f"{room}/state/{{eventType}}"
        return (
            Endpoint(
                "PUT",
                f"{room}/send/{{eventType}}/{{txnId}}",
                self.send,
                limit="rc_message",
                query=Timestamp,
                body=JsonObject,
                owner="roomId",
                latest=False,
            ),
            *(
                Endpoint(
                    "PUT",
                    path,
                    self.set_state,
                    limit="rc_message",
                    query=Timestamp,
                    body=JsonObject,
                    owner="roomId",
                    latest=False,
                )
                for path in (state, f"{state}/{{stateKey}}")
            ),
        )

    async def send(self, call: Call[Timestamp, JsonObject]) -> RawJson:
        """Send a message event."""
        path, requester = call.path, call.user
        event_id = await self._sending.send(
            requester,
            path["roomId"],
            path["eventType"],
            path["txnId"],
            call.body,
            origin_server_ts=call.query.of(requester),
        )
        return sent(event_id)

    async def set_state(self, call: Call[Timestamp, JsonObject]) -> RawJson:
        """Send a state event; without a state key in the path it is empty."""
        path, requester = call.path, call.user
        event_id = await self._sending.set_state(
            requester,
            path["roomId"],
            path["eventType"],
            path.get("stateKey", ""),
            call.body,
            origin_server_ts=call.query.of(requester),
        )
        return sent(event_id)


def sent(event_id: str) -> RawJson:
    """The answer that names the event; ids of events that are made here need no escapes in JSON."""
    return RawJson(b'{"event_id":"%b"}' % event_id.encode())
