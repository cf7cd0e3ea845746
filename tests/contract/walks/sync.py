# SPDX-License-Identifier: Apache-2.0
"""The walk: sync, receipts and typing, filters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.contract.connection import CLIENT
from tests.contract.scenario import Line, Request, Scenario


async def sync(s: Scenario) -> Request:
    """An initial sync with something in every part that this scenario can fill."""
    bob = s.bob
    room = f"{CLIENT}/rooms/{quote(s.room_id)}"
    of_bob = f"{CLIENT}/user/{quote(bob.user_id)}"
    await bob.ask("PUT", f"{of_bob}/account_data/org.example.data", {"key": "value"})
    await bob.ask("PUT", f"{of_bob}/rooms/{quote(s.room_id)}/tags/u.walk", {"order": 0.5})
    await bob.ask("POST", f"{room}/receipt/m.read/{quote(s.event_id)}", {})
    await s.alice.ask("PUT", f"{room}/typing/{quote(s.alice.user_id)}", {"typing": True, "timeout": 30000})
    left = await s.room_with_bob()
    await s.alice.ask("POST", f"{CLIENT}/rooms/{quote(left)}/kick", {"user_id": bob.user_id})
    invited = await s.alice.create_room(preset="private_chat", invite=[bob.user_id])

    def shows(answer: Any) -> bool:
        rooms = answer["rooms"]
        joined = rooms["join"][s.room_id]
        filled = joined["timeline"]["events"] and joined["account_data"]["events"]
        ephemeral = {event["type"] for event in joined["ephemeral"]["events"]}
        states = rooms["invite"][invited]["invite_state"]["events"] and left in rooms["leave"]
        return bool(filled and states) and ephemeral >= {"m.receipt", "m.typing"}

    filters = {"room": {"include_leave": True, "timeline": {"limit": 5}}}
    return Request(user=bob, query={"filter": json.dumps(filters)}, shows=shows)


async def typing(s: Scenario) -> Request:
    path = {"roomId": s.room_id, "userId": s.alice.user_id}
    return Request(user=s.alice, path=path, body={"typing": True, "timeout": 10000})


async def receipt(s: Scenario) -> Request:
    path = {"roomId": s.room_id, "receiptType": "m.read", "eventId": s.event_id}
    return Request(user=s.alice, path=path, body={"thread_id": "main"})


async def read_markers(s: Scenario) -> Request:
    body = {"m.fully_read": s.event_id, "m.read": s.event_id, "m.read.private": s.event_id}
    return Request(user=s.alice, path={"roomId": s.room_id}, body=body)


FILTER = {
    "event_fields": ["type", "content", "sender"],
    "event_format": "client",
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "room": {
        "ephemeral": {"types": ["m.receipt"], "not_rooms": ["!a:example.com"]},
        "state": {"lazy_load_members": True, "types": ["m.room.*"]},
        "timeline": {"limit": 10, "types": ["m.room.message"], "contains_url": False},
    },
}


async def make_filter(s: Scenario) -> Request:
    path = {"userId": s.alice.user_id}
    return Request(user=s.alice, path=path, body=FILTER, shows=lambda answer: answer["filter_id"])


async def get_filter(s: Scenario) -> Request:
    made = await s.alice.ask("POST", f"{CLIENT}/user/{quote(s.alice.user_id)}/filter", FILTER)
    path = {"userId": s.alice.user_id, "filterId": made["filter_id"]}
    return Request(user=s.alice, path=path, shows=lambda answer: answer["room"]["timeline"]["limit"] == 10)


USER = f"{CLIENT}/user/{{userId}}"
ROOM = f"{CLIENT}/rooms/{{roomId}}"

LINES: Mapping[str, Line] = {
    f"GET {CLIENT}/sync": sync,
    f"PUT {ROOM}/typing/{{userId}}": typing,
    f"POST {ROOM}/receipt/{{receiptType}}/{{eventId}}": receipt,
    f"POST {ROOM}/read_markers": read_markers,
    f"POST {USER}/filter": make_filter,
    f"GET {USER}/filter/{{filterId}}": get_filter,
}
