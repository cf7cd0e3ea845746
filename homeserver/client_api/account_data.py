# SPDX-License-Identifier: Apache-2.0
"""Account data of users. spec: client-server-api, "Client Config"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from federation.errors import ManagedByServer, NotFound
from federation.http.endpoint import Answer, Call, Endpoint, Json, JsonObject, NoQuery, RawJson, Requester
from homeserver.account_data import UserAccountData
from homeserver.client_api.own_user import body_as_sent, own_user
from homeserver.rooms.checks import check_short

PUSH_RULES = "m.push_rules"
_MANAGED = frozenset({"m.fully_read", PUSH_RULES})


class AccountDataApi:
    """`/account_data`, global and of rooms. `push_rules` is the content of `m.push_rules`."""

    def __init__(
        self,
        *,
        account_data: UserAccountData,
        push_rules: Callable[[Requester], Awaitable[Mapping[str, Any]]],
    ) -> None:
        self._account_data = account_data
        self._push_rules = push_rules

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        user = "/_matrix/client/v3/user/{userId}"
        paths = (f"{user}/account_data/{{type}}", f"{user}/rooms/{{roomId}}/account_data/{{type}}")
        return tuple(
            endpoint
            for path in paths
            for endpoint in (
                Endpoint("GET", path, self.get),
                Endpoint("PUT", path, self.put, body=JsonObject, owner="userId"),
            )
        )

    async def get(self, call: Call) -> Answer:
        """The content of one type."""
        requester, room_id, type_ = own_user(call), call.path.get("roomId"), call.path["type"]
        if room_id is None and type_ == PUSH_RULES:
            return Json(await self._push_rules(requester))
        content = await self._account_data.get(requester.user, room_id, type_)
        if content is None:
            raise NotFound(f"There is no account data of the type {type_!r:.300}")
        return RawJson(content)

    async def put(self, call: Call[NoQuery, JsonObject]) -> Answer:
        """Set the content of one type; that of the server's own types cannot be set."""
        requester, type_ = own_user(call), call.path["type"]
        if type_ in _MANAGED:
            raise ManagedByServer(f"{type_} cannot be set through this API")
        check_short(type_, "The type")
        await self._account_data.put(requester.user, call.path.get("roomId"), type_, body_as_sent(call))
        return Json({})
