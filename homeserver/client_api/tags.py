# SPDX-License-Identifier: Apache-2.0
"""Tags of rooms: the account data `m.tag` of a room, tag by tag. spec: client-server-api, "Room Tagging"."""

from __future__ import annotations

import msgspec

from federation.errors import BadJson, InvalidParam, TooLarge
from federation.http.endpoint import Answer, Call, Endpoint, Json, JsonObject, NoQuery
from homeserver.account_data import UserAccountData
from homeserver.client_api.own_user import body_as_sent, own_user
from homeserver.rooms.checks import check_short

_TYPE = "m.tag"
_LARGEST = 65_536
"""Bytes that all tags of a room may have together."""

_Members = dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_Members).decode


class TagsApi:
    """`/tags`."""

    def __init__(self, *, account_data: UserAccountData) -> None:
        self._account_data = account_data

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        tags = "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags"
        return (
            Endpoint("GET", tags, self.tags),
            Endpoint("PUT", f"{tags}/{{tag}}", self.put, body=JsonObject, owner="userId"),
            Endpoint("DELETE", f"{tags}/{{tag}}", self.delete, owner="userId"),
        )

    async def tags(self, call: Call) -> Answer:
        """The tags of a room."""
        content = await self._account_data.get(own_user(call).user, call.path["roomId"], _TYPE)
        return Json({"tags": _tags_in(content)})

    async def put(self, call: Call[NoQuery, JsonObject]) -> Answer:
        """Set a tag, or change it."""
        requester, tag = own_user(call), call.path["tag"]
        check_short(tag, "The tag")
        _check(call.body)
        value = msgspec.Raw(body_as_sent(call))

        def change(content: bytes | None) -> bytes:
            changed = msgspec.json.encode({"tags": {**_tags_in(content), tag: value}})
            if len(changed) > _LARGEST:
                raise TooLarge(f"The tags of a room must not be larger than {_LARGEST} bytes")
            return changed

        await self._account_data.update(requester.user, call.path["roomId"], _TYPE, change)
        return Json({})

    async def delete(self, call: Call) -> Answer:
        """Take a tag away, if it is there."""
        requester, tag = own_user(call), call.path["tag"]

        def change(content: bytes | None) -> bytes | None:
            tags = _tags_in(content)
            if tags.pop(tag, None) is None:
                return None
            return msgspec.json.encode({"tags": tags})

        await self._account_data.update(requester.user, call.path["roomId"], _TYPE, change)
        return Json({})


def _check(tag: JsonObject) -> None:
    """Raise `BadJson` or `InvalidParam` for an `order` that is none."""
    order = tag.get("order")
    if order is None:
        return
    if isinstance(order, bool) or not isinstance(order, (int, float)):
        raise BadJson("order: must be a number")
    if not 0 <= order <= 1:
        raise InvalidParam("order: must be from 0 to 1")


def _tags_in(content: bytes | None) -> _Members:
    """The tags in the content of `m.tag`, which a client may have set to anything."""
    if content is None:
        return {}
    try:
        return _decode(_decode(content).get("tags", b"{}"))
    except msgspec.ValidationError:
        return {}
