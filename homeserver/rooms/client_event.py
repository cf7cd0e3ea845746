# SPDX-License-Identifier: Apache-2.0
"""Events as clients see them: encoded once, with what differs between requesters spliced in as bytes.

The other form that a filter may ask for, `event_format: federation`, is `Event.json` as it stands.

spec: client-server-api, "Room event format", "Stripped state"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from federation.rules.room_versions import RoomVersion
from storage.event import Event


@attrs.frozen
class _Pdu:
    content: msgspec.Raw


_decode_pdu = msgspec.json.Decoder(_Pdu).decode
_decode = msgspec.json.decode
_encode = msgspec.json.encode


@attrs.frozen
class ClientEvent:
    """An event in its client form, the same for all who may see it.

    `head` is the JSON object without `room_id`, `unsigned` and the closing brace; `room` is the member
    `room_id` with the comma before it. From `content_at` to its end, `head` holds the JSON of `content`.
    """

    head: bytes
    room: bytes
    content_at: int

    @property
    def content(self) -> bytes:
        """The JSON of `content`."""
        return self.head[self.content_at :]

    def render(self, unsigned: Mapping[str, Any] | bytes = b"", *, with_room_id: bool) -> bytes:
        """The JSON object for one requester.

        `unsigned` are the members of that name, or the JSON object of them; there is no `unsigned` if it is
        empty. What is encoded already goes into the mapping as `msgspec.Raw`. Without `with_room_id` it is
        the form for answers in which the room is named elsewhere, such as that of `/sync`.
        """
        room = self.room if with_room_id else b""
        if not unsigned:
            return b"%b%b}" % (self.head, room)
        members = unsigned if isinstance(unsigned, bytes) else _encode(unsigned)
        return b'%b%b,"unsigned":%b}' % (self.head, room, members)

    def as_dict(self, unsigned: Mapping[str, Any] | bytes = b"", *, with_room_id: bool) -> dict[str, Any]:
        """What `render` would return, decoded, for those who look into it or want only some of its fields."""
        event: dict[str, Any] = _decode(self.render(unsigned, with_room_id=with_room_id))
        return event


def client_event(event: Event, version: RoomVersion) -> ClientEvent:
    """The client form of an event, which must be pruned already if it is redacted.

    A redaction names its target both at the top level and in `content`, whichever of them the room's version
    knows. spec: rooms, "Room Version 11", "Moving the `redacts` property"
    """
    content = _decode_pdu(event.json).content
    members: dict[str, Any] = {
        "type": event.type,
        "sender": event.sender,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
    }
    if event.state_key is not None:
        members["state_key"] = event.state_key
    if event.type == "m.room.redaction":
        target = event.content.get("redacts") if version.redacts_in_content else event.redacts
        if isinstance(target, str):
            members["redacts"] = target
            if event.content.get("redacts") != target:
                content = msgspec.Raw(_encode({**event.content, "redacts": target}))
    members["content"] = content
    head = _encode(members)[:-1]
    return ClientEvent(
        head=head,
        room=b',"room_id":' + _encode(event.room_id),
        content_at=len(head) - len(memoryview(content)),
    )


def stripped(event: Event) -> dict[str, Any]:
    """A state event as stripped state shows it. Raises `ValueError` for any other event."""
    if event.state_key is None:
        raise ValueError(f"{event.event_id} is no state event")
    return {
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "content": event.content,
    }
