# SPDX-License-Identifier: Apache-2.0
"""The walk: rooms and membership, state and events, aliases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.contract.connection import CLIENT, new_name
from tests.contract.scenario import Line, Request, Scenario


async def create_room(s: Scenario) -> Request:
    body = {
        "creation_content": {"m.federate": False},
        "initial_state": [{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
        "invite": [s.bob.user_id],
        "name": "A room",
        "power_level_content_override": {"events_default": 0},
        "preset": "private_chat",
        "room_alias_name": new_name(),
        "topic": "A topic",
        "visibility": "private",
    }
    return Request(user=s.alice, body=body, shows=lambda answer: answer["room_id"])


async def join_by_alias(s: Scenario) -> Request:
    room_id = await s.alice.create_room()
    path = {"roomIdOrAlias": await s.alice.make_alias(room_id)}
    return Request(user=s.bob, path=path, body={}, shows=lambda answer: answer["room_id"] == room_id)


async def join(s: Scenario) -> Request:
    room_id = await s.alice.create_room()
    body = {"reason": "because"}
    return Request(
        user=s.bob, path={"roomId": room_id}, body=body, shows=lambda answer: answer["room_id"] == room_id
    )


async def invite(s: Scenario) -> Request:
    path = {"roomId": await s.alice.create_room()}
    return Request(user=s.alice, path=path, body={"user_id": s.bob.user_id, "reason": "because"})


async def leave(s: Scenario) -> Request:
    return Request(user=s.bob, path={"roomId": await s.room_with_bob()}, body={"reason": "because"})


async def forget(s: Scenario) -> Request:
    room_id = await s.room_with_bob()
    await s.bob.ask("POST", f"{CLIENT}/rooms/{quote(room_id)}/leave", {})
    return Request(user=s.bob, path={"roomId": room_id}, body={})


async def kick_or_ban(s: Scenario) -> Request:
    path = {"roomId": await s.room_with_bob()}
    return Request(user=s.alice, path=path, body={"user_id": s.bob.user_id, "reason": "because"})


async def unban(s: Scenario) -> Request:
    room_id = await s.room_with_bob()
    await s.alice.ask("POST", f"{CLIENT}/rooms/{quote(room_id)}/ban", {"user_id": s.bob.user_id})
    return Request(user=s.alice, path={"roomId": room_id}, body={"user_id": s.bob.user_id})


async def joined_rooms(s: Scenario) -> Request:
    return Request(user=s.alice, shows=lambda answer: s.room_id in answer["joined_rooms"])


async def members(s: Scenario) -> Request:
    def shows(answer: Any) -> bool:
        return {event["state_key"] for event in answer["chunk"]} >= {s.alice.user_id, s.bob.user_id}

    return Request(user=s.bob, path={"roomId": s.room_id}, query={"not_membership": "leave"}, shows=shows)


async def joined_members(s: Scenario) -> Request:
    path = {"roomId": s.room_id}
    return Request(user=s.alice, path=path, shows=lambda answer: s.bob.user_id in answer["joined"])


async def state(s: Scenario) -> Request:
    def shows(answer: Any) -> bool:
        return {"m.room.create", "m.room.member"} <= {event["type"] for event in answer}

    return Request(user=s.alice, path={"roomId": s.room_id}, shows=shows)


async def state_of_one_key(s: Scenario) -> Request:
    path = {"roomId": s.room_id, "eventType": "m.room.member", "stateKey": s.bob.user_id}
    return Request(user=s.alice, path=path, shows=lambda answer: answer["membership"] == "join")


async def set_state(s: Scenario) -> Request:
    path = {"roomId": s.room_id, "eventType": "org.example.state", "stateKey": new_name()}
    return Request(user=s.alice, path=path, body={"key": ["value", 1, None, True]})


async def send(s: Scenario) -> Request:
    path = {"roomId": s.room_id, "eventType": "m.room.message", "txnId": new_name()}
    return Request(user=s.bob, path=path, body={"msgtype": "m.text", "body": "ünicode"})


async def redact(s: Scenario) -> Request:
    path = {"roomId": s.room_id, "eventId": await s.alice.send(s.room_id), "txnId": new_name()}
    return Request(
        user=s.alice, path=path, body={"reason": "because"}, shows=lambda answer: answer["event_id"]
    )


async def event(s: Scenario) -> Request:
    path = {"roomId": s.room_id, "eventId": s.event_id}
    return Request(user=s.bob, path=path, shows=lambda answer: answer["event_id"] == s.event_id)


async def messages(s: Scenario) -> Request:
    query = {"dir": "b", "limit": "100", "filter": json.dumps({"lazy_load_members": True})}

    def shows(answer: Any) -> bool:
        return s.event_id in [event["event_id"] for event in answer["chunk"]]

    return Request(user=s.bob, path={"roomId": s.room_id}, query=query, shows=shows)


async def alias(s: Scenario) -> Request:
    path = {"roomAlias": s.room_alias}
    return Request(path=path, shows=lambda answer: answer["room_id"] == s.room_id and answer["servers"])


async def set_alias(s: Scenario) -> Request:
    path = {"roomAlias": f"#{new_name()}:{s.connection.server_name}"}
    return Request(user=s.alice, path=path, body={"room_id": s.room_id})


async def delete_alias(s: Scenario) -> Request:
    return Request(user=s.alice, path={"roomAlias": await s.alice.make_alias(s.room_id)})


async def aliases_of_the_room(s: Scenario) -> Request:
    path = {"roomId": s.room_id}
    return Request(user=s.bob, path=path, shows=lambda answer: s.room_alias in answer["aliases"])


ROOM = f"{CLIENT}/rooms/{{roomId}}"

LINES: Mapping[str, Line] = {
    f"POST {CLIENT}/createRoom": create_room,
    f"POST {CLIENT}/join/{{roomIdOrAlias}}": join_by_alias,
    f"POST {ROOM}/join": join,
    f"POST {ROOM}/invite": invite,
    f"POST {ROOM}/leave": leave,
    f"POST {ROOM}/forget": forget,
    f"POST {ROOM}/kick": kick_or_ban,
    f"POST {ROOM}/ban": kick_or_ban,
    f"POST {ROOM}/unban": unban,
    f"GET {CLIENT}/joined_rooms": joined_rooms,
    f"GET {ROOM}/members": members,
    f"GET {ROOM}/joined_members": joined_members,
    f"GET {ROOM}/state": state,
    f"GET {ROOM}/state/{{eventType}}/{{stateKey}}": state_of_one_key,
    f"PUT {ROOM}/state/{{eventType}}/{{stateKey}}": set_state,
    f"PUT {ROOM}/send/{{eventType}}/{{txnId}}": send,
    f"PUT {ROOM}/redact/{{eventId}}/{{txnId}}": redact,
    f"GET {ROOM}/event/{{eventId}}": event,
    f"GET {ROOM}/messages": messages,
    f"GET {CLIENT}/directory/room/{{roomAlias}}": alias,
    f"PUT {CLIENT}/directory/room/{{roomAlias}}": set_alias,
    f"DELETE {CLIENT}/directory/room/{{roomAlias}}": delete_alias,
    f"GET {ROOM}/aliases": aliases_of_the_room,
}
