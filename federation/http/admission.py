# SPDX-License-Identifier: Apache-2.0
"""Who makes a request, and whether they may use the endpoint at all.

spec: client-server-api, "Using access tokens"; application-service-api, "Identity assertion";
server-server-api, "Request Authentication"
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from federation.errors import GuestAccessForbidden, MissingToken, Unauthorized, UnknownToken, UserLocked
from federation.http.decoding import query_value
from federation.http.endpoint import Auth, Endpoint, Request, Requester

# Tokens are ours or an application service's; a longer one is neither.
_LONGEST_TOKEN = 4096


def no_limit(_name: str, _who: Requester | str) -> None:
    """A rate limit that is never reached."""


@attrs.frozen(kw_only=True)
class Admission:
    """What the server asks before an endpoint is served.

    `authenticate` finds who has a token, or raises UnknownToken. `limit` counts a request against the named
    limit, for the requester or, without one, the client's IP address; it raises LimitExceeded. `assume` is
    asked when an application service names the user (and the device) that it speaks for. `seen` is told of
    every request with a token, for "last seen". `origin_of` finds which server signed a request; without it
    there are no endpoints for servers.
    """

    authenticate: Callable[[str], Awaitable[Requester]]
    limit: Callable[[str, Requester | str], None] = no_limit
    assume: Callable[[Requester, str | None, str | None], Awaitable[Requester]] | None = None
    seen: Callable[[Requester, Request], None] | None = None
    origin_of: Callable[[Request], Awaitable[str]] | None = None

    async def admit(self, endpoint: Endpoint, request: Request, query: bytes) -> Requester | None:
        """The requester of a request to `endpoint`, None if there is none and none is needed.

        Raises MissingToken, UnknownToken, UserLocked, GuestAccessForbidden, LimitExceeded.
        """
        requester = None
        if endpoint.auth is not Auth.NONE:
            token = access_token(request, query)
            if token is not None:
                requester = await self._authenticate(endpoint, request, query, token)
            elif endpoint.auth is Auth.REQUIRED:
                raise MissingToken
        if endpoint.limit is not None:
            self.limit(endpoint.limit, requester if requester is not None else request.client_address)
        return requester

    async def admit_server(self, endpoint: Endpoint, request: Request) -> str:
        """The name of the server that makes a request to `endpoint`, which is for servers.

        It counts against the endpoint's limit by that name.
        Raises Unauthorized, Forbidden, NotJson, LimitExceeded.
        """
        if self.origin_of is None:
            raise Unauthorized("This server takes no requests from other servers here")
        origin = await self.origin_of(request)
        if endpoint.limit is not None:
            self.limit(endpoint.limit, origin)
        return origin

    async def _authenticate(
        self, endpoint: Endpoint, request: Request, query: bytes, token: str
    ) -> Requester:
        requester = await self.authenticate(token)
        if requester.app_service is not None and self.assume is not None:
            user_id = query_value(query, "user_id")
            device_id = query_value(query, "device_id")
            if user_id is not None or device_id is not None:
                requester = await self.assume(requester, user_id, device_id)
        if requester.is_locked and not endpoint.while_locked:
            raise UserLocked
        if requester.is_guest and not endpoint.guests:
            raise GuestAccessForbidden("Guests cannot use this endpoint")
        if self.seen is not None:
            self.seen(requester, request)
        return requester


def access_token(request: Request, query: bytes) -> str | None:
    """The token of the header `Authorization: Bearer …`, or of the query parameter `access_token`.

    Raises UnknownToken for one that cannot be a token.
    """
    for header in request.requestHeaders.getRawHeaders(b"Authorization", ()):
        scheme, _, token = header.partition(b" ")
        if scheme.lower() == b"bearer" and (token := token.strip()):
            return _token_text(token)
    if b"access_token=" in query:
        return query_value(query, "access_token") or None
    return None


def _token_text(token: bytes) -> str:
    if len(token) > _LONGEST_TOKEN or not token.isascii() or b"\0" in token:
        raise UnknownToken
    return token.decode("ascii")
