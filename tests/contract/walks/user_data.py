# SPDX-License-Identifier: Apache-2.0
"""The walk: account data, tags and profiles."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from tests.contract.connection import CLIENT, new_name
from tests.contract.scenario import Line, Request, Scenario


async def account_data(s: Scenario) -> Request:
    path = f"{CLIENT}/user/{quote(s.alice.user_id)}/account_data/org.example.read"
    await s.alice.ask("PUT", path, {"key": "value"})
    parameters = {"userId": s.alice.user_id, "type": "org.example.read"}
    return Request(user=s.alice, path=parameters, shows=lambda answer: answer == {"key": "value"})


async def set_account_data(s: Scenario) -> Request:
    path = {"userId": s.alice.user_id, "type": "org.example.written"}
    return Request(user=s.alice, path=path, body={"key": "value"})


async def room_account_data(s: Scenario) -> Request:
    user, room = quote(s.alice.user_id), quote(s.room_id)
    path = f"{CLIENT}/user/{user}/rooms/{room}/account_data/org.example.read"
    await s.alice.ask("PUT", path, {"key": "value"})
    parameters = {"userId": s.alice.user_id, "roomId": s.room_id, "type": "org.example.read"}
    return Request(user=s.alice, path=parameters, shows=lambda answer: answer == {"key": "value"})


async def set_room_account_data(s: Scenario) -> Request:
    path = {"userId": s.alice.user_id, "roomId": s.room_id, "type": "org.example.written"}
    return Request(user=s.alice, path=path, body={"key": "value"})


async def _tag(s: Scenario) -> dict[str, str]:
    user, room, tag = quote(s.alice.user_id), quote(s.room_id), f"u.{new_name()}"
    await s.alice.ask("PUT", f"{CLIENT}/user/{user}/rooms/{room}/tags/{tag}", {"order": 0.25})
    return {"userId": s.alice.user_id, "roomId": s.room_id, "tag": tag}


async def tags(s: Scenario) -> Request:
    path = await _tag(s)
    tag = path.pop("tag")
    return Request(user=s.alice, path=path, shows=lambda answer: answer["tags"][tag] == {"order": 0.25})


async def set_tag(s: Scenario) -> Request:
    path = {"userId": s.alice.user_id, "roomId": s.room_id, "tag": "m.favourite"}
    return Request(user=s.alice, path=path, body={"order": 0.5})


async def delete_tag(s: Scenario) -> Request:
    return Request(user=s.alice, path=await _tag(s))


async def profile(s: Scenario) -> Request:
    await _set_name(s)
    path = {"userId": s.alice.user_id}
    return Request(user=s.bob, path=path, shows=lambda answer: answer["displayname"] == "Alice")


async def profile_field(s: Scenario) -> Request:
    await _set_name(s)
    path = {"userId": s.alice.user_id, "keyName": "displayname"}
    return Request(user=s.bob, path=path, shows=lambda answer: answer == {"displayname": "Alice"})


async def _set_name(s: Scenario) -> None:
    path = f"{CLIENT}/profile/{quote(s.alice.user_id)}/displayname"
    await s.alice.ask("PUT", path, {"displayname": "Alice"})


async def set_profile_field(s: Scenario) -> Request:
    path = {"userId": s.bob.user_id, "keyName": "avatar_url"}
    return Request(user=s.bob, path=path, body={"avatar_url": f"mxc://{s.connection.server_name}/abc"})


async def delete_profile_field(s: Scenario) -> Request:
    path = {"userId": s.bob.user_id, "keyName": "displayname"}
    return Request(user=s.bob, path=path)


USER = f"{CLIENT}/user/{{userId}}"

LINES: Mapping[str, Line] = {
    f"GET {USER}/account_data/{{type}}": account_data,
    f"PUT {USER}/account_data/{{type}}": set_account_data,
    f"GET {USER}/rooms/{{roomId}}/account_data/{{type}}": room_account_data,
    f"PUT {USER}/rooms/{{roomId}}/account_data/{{type}}": set_room_account_data,
    f"GET {USER}/rooms/{{roomId}}/tags": tags,
    f"PUT {USER}/rooms/{{roomId}}/tags/{{tag}}": set_tag,
    f"DELETE {USER}/rooms/{{roomId}}/tags/{{tag}}": delete_tag,
    f"GET {CLIENT}/profile/{{userId}}": profile,
    f"GET {CLIENT}/profile/{{userId}}/{{keyName}}": profile_field,
    f"PUT {CLIENT}/profile/{{userId}}/{{keyName}}": set_profile_field,
    f"DELETE {CLIENT}/profile/{{userId}}/{{keyName}}": delete_profile_field,
}
