# SPDX-License-Identifier: Apache-2.0
"""Filters that clients store. spec: client-server-api, "Filtering"."""

from __future__ import annotations

from federation.errors import NotFound
from federation.http.endpoint import Answer, Call, Endpoint, Json, JsonObject, NoQuery, RawJson
from homeserver.client_api.own_user import body_as_sent, own_user
from homeserver.filtering.filter import Filter
from storage.filters import Filters, StoredFilter
from storage.persist import Unit
from storage.write_queue import WriteQueue


class Filtering:
    """`/filter`."""

    def __init__(self, *, filters: Filters, queue: WriteQueue) -> None:
        self._filters = filters
        self._queue = queue

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        path = "/_matrix/client/v3/user/{userId}/filter"
        return (
            Endpoint("POST", path, self.define, body=JsonObject),
            Endpoint("GET", f"{path}/{{filterId}}", self.get),
        )

    async def define(self, call: Call[NoQuery, JsonObject]) -> Answer:
        """Store a filter."""
        requester, text = own_user(call), body_as_sent(call)
        Filter.parse(text)
        stored = StoredFilter(requester.user, text)
        await self._queue.submit(Unit(records=(stored,)))
        return Json({"filter_id": stored.filter_id})

    async def get(self, call: Call) -> Answer:
        """A stored filter, as it came."""
        text = await self._filters.get(own_user(call).user, call.path["filterId"])
        if text is None:
            raise NotFound(f"There is no filter {call.path['filterId']!r:.100}")
        return RawJson(text)
