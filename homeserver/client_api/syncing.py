# SPDX-License-Identifier: Apache-2.0
"""`GET /sync`. spec: client-server-api, "Syncing"."""

from __future__ import annotations

from typing import Literal

import attrs
from cachetools import LRUCache

from federation.errors import InvalidParam
from federation.http.endpoint import Answer, Call, Endpoint, JsonStream, NoBody, RawJson
from homeserver.filtering.filter import NO_FILTER, Filter
from homeserver.rooms.tokens import SyncToken
from homeserver.sync.sync import Sync, SyncRequest
from storage.filters import Filters
from storage.runtime.caches import cache_of_entries

LONGEST_TIMEOUT_MS = 10 * 60 * 1000


@attrs.frozen
class SyncQuery:
    """The parameters of a sync; `timeout` in milliseconds."""

    filter: str | None = None
    since: str | None = None
    full_state: bool = False
    set_presence: Literal["offline", "online", "unavailable"] | None = None
    timeout: int = 0


class Syncing:
    """The endpoint of syncs."""

    def __init__(self, *, sync: Sync, filters: Filters) -> None:
        self._sync = sync
        self._filters = filters
        self._parsed: LRUCache[tuple[int, str], Filter] = cache_of_entries(2_000)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (Endpoint("GET", "/_matrix/client/v3/sync", self.sync, query=SyncQuery, guests=True),)

    async def sync(self, call: Call[SyncQuery, NoBody]) -> Answer:
        """What is new for the requester since their last sync, or everything."""
        query = call.query
        if query.timeout < 0:
            raise InvalidParam("timeout: must not be negative")
        request = SyncRequest(
            requester=call.user,
            since=None if query.since is None else SyncToken.parse(query.since),
            filter=await self._filter(call.user.user, query.filter),
            timeout=min(query.timeout, LONGEST_TIMEOUT_MS) / 1000,
            full_state=query.full_state,
        )
        answer = await self._sync.answer(request)
        return RawJson(answer) if isinstance(answer, bytes) else JsonStream(answer)

    async def _filter(self, account: int, text: str | None) -> Filter:
        """The filter that the parameter names or spells out."""
        if text is None:
            return NO_FILTER
        key = (account, text)
        parsed = self._parsed.get(key)
        if parsed is None:
            json: bytes | None = text.encode()
            if not text.startswith("{"):
                json = await self._filters.get(account, text)
            if json is None:
                raise InvalidParam(f"filter: there is no filter {text!r:.60}")
            parsed = self._parsed[key] = Filter.parse(json)
        return parsed
