# SPDX-License-Identifier: Apache-2.0
"""Events and rooms for the tests of push rules."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

from homeserver.push.rules.context import DisplayNames, RoomContext
from storage.event import Event


def make_event(
    type: str = "m.room.message",  # noqa: A002
    content: dict[str, Any] | None = None,
    *,
    sender: str = "@sender:example.org",
    state_key: str | None = None,
    room_id: str = "!room:example.org",
) -> Event:
    pdu = {
        "type": type,
        "sender": sender,
        "content": content or {},
        "room_id": room_id,
        "origin_server_ts": 1_432_735_824_653,
        "depth": 5,
        "prev_events": ["$before"],
        "auth_events": [],
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event.decode(msgspec.json.encode(pdu), event_id="$event", room_id=room_id)


def make_room(
    *,
    member_count: int = 10,
    sender_level: int = 0,
    room_level: int = 50,
    recipients: Container[str] = (),
    names: DisplayNames | None = None,
) -> RoomContext:
    levels = {"room": room_level}
    return RoomContext(
        member_count=member_count,
        sender_level=sender_level,
        notification_level=lambda key: levels.get(key, 50),
        is_recipient=lambda user_id: user_id in recipients,
        names=names,
    )
