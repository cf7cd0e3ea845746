# SPDX-License-Identifier: Apache-2.0
"""Our keys, and those of other servers through us.

spec: server-server-api, "Publishing Keys", "Querying Keys Through Another Server"
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from federation.errors import InvalidParam
from federation.http.endpoint import Auth, Call, Endpoint, Json
from federation.keys.key_documents import OwnKeys
from federation.keys.notary import Notary
from federation.rules.errors import InvalidIdentifier
from federation.rules.identifiers import MAX_LENGTH, parse_server_name
from storage.runtime.clock import Clock, milliseconds

_MOST_SERVERS = 400
_MOST_KEYS = 4000


@attrs.frozen
class QueryOfOne:
    """The query parameters of a query for one server."""

    minimum_valid_until_ts: int | None = None


@attrs.frozen
class Criteria:
    """Until when a key should count, in milliseconds; now if it is not said."""

    minimum_valid_until_ts: int | None = None


@attrs.frozen
class QueryOfSeveral:
    """The body of a query for several servers: server → key id → criteria."""

    server_keys: dict[str, dict[str, Criteria]]


@attrs.frozen(kw_only=True)
class PublishingKeys:
    """The endpoints of the two sections."""

    own: OwnKeys
    notary: Notary
    clock: Clock

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints, which anybody may ask."""
        path = "/_matrix/key/v2"
        return (
            Endpoint("GET", f"{path}/server", self.server, auth=Auth.NONE, latest=False),
            Endpoint(
                "GET",
                f"{path}/query/{{serverName}}",
                self.query_one,
                auth=Auth.NONE,
                query=QueryOfOne,
                latest=False,
            ),
            Endpoint(
                "POST",
                f"{path}/query",
                self.query_several,
                auth=Auth.NONE,
                body=QueryOfSeveral,
                latest=False,
            ),
        )

    async def server(self, call: Call) -> Json:  # noqa: ARG002
        """What this server publishes."""
        return Json(self.own.document(milliseconds(self.clock)))

    async def query_one(self, call: Call[QueryOfOne]) -> Json:
        """What another server published. Raises InvalidParam."""
        name = call.path["serverName"]
        _check_names([name])
        return Json({"server_keys": await self.notary.documents({name: call.query.minimum_valid_until_ts})})

    async def query_several(self, call: Call[object, QueryOfSeveral]) -> Json:
        """What several servers published. Raises InvalidParam."""
        wanted = call.body.server_keys
        if len(wanted) > _MOST_SERVERS:
            raise InvalidParam(f"server_keys names more than {_MOST_SERVERS} servers")
        if sum(map(len, wanted.values())) > _MOST_KEYS:
            raise InvalidParam(f"server_keys names more than {_MOST_KEYS} keys")
        _check_names(wanted)
        times = {name: _latest(criteria.values()) for name, criteria in wanted.items()}
        return Json({"server_keys": await self.notary.documents(times)})


def _latest(criteria: Iterable[Criteria]) -> int | None:
    """The latest of the times; None, for now, if none is given."""
    given = [c.minimum_valid_until_ts for c in criteria if c.minimum_valid_until_ts is not None]
    return max(given, default=None)


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        try:
            parse_server_name(name)
        except InvalidIdentifier as error:
            raise InvalidParam(str(error)) from None
        if len(name) > MAX_LENGTH:
            raise InvalidParam("A server name is too long")
