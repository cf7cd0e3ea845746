# SPDX-License-Identifier: Apache-2.0
"""What a site serves: the way from a request to the answer of its endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs

from federation.http.admission import Admission
from federation.http.dispatch import Dispatch, Match
from federation.http.endpoint import Answer, Auth, Call, RawBody, Request, Requester, Upload


class ReceivedRequest(Request, Protocol):
    """A request whose body has arrived."""

    requester: Requester | None
    identifier: str
    """Its id in logs, the same in every process that it passes."""
    hops: int
    """How many processes have handed it on already."""

    def upload(self) -> Upload:
        """The body as a file."""


class Elsewhere(Protocol):
    """The other processes of this homeserver, which own some of what is asked for."""

    async def answer_elsewhere(self, match: Match, request: ReceivedRequest) -> Answer | None:
        """What the process answers that owns what the path names; None: it is for this one to answer."""


@attrs.frozen(kw_only=True)
class Service:
    """Endpoints and who may use them. The same service may be reached through several sites.

    Where there are several processes, `forwarding` answers what another one owns, and `latest` returns when
    this one has taken in all that was committed before the call.
    """

    dispatch: Dispatch
    admission: Admission
    forwarding: Elsewhere | None = None
    latest: Callable[[], Awaitable[None]] | None = None

    async def answer(self, match: Match, request: ReceivedRequest, query: bytes) -> Answer:
        """Admit, decode, and let the endpoint's handler answer. Raises what they raise."""
        route = match.route
        endpoint = route.endpoint
        if self.forwarding is not None and endpoint.owner is not None:
            elsewhere = await self.forwarding.answer_elsewhere(match, request)
            if elsewhere is not None:
                return elsewhere
        if self.latest is not None and endpoint.latest:
            await self.latest()
        requester = origin = None
        if endpoint.auth is Auth.SERVER:
            origin = await self.admission.admit_server(endpoint, request)
        else:
            requester = await self.admission.admit(endpoint, request, query)
        request.requester = requester
        decoded = route.decode_query(query)
        body = route.decode_body(request.body()) if route.decode_body else _raw_body(endpoint.body, request)
        return await endpoint.handler(Call(requester, match.path, decoded, body, request, origin))


def _raw_body(kind: type[Any], request: ReceivedRequest) -> RawBody | Upload:
    return RawBody(request.body()) if kind is RawBody else request.upload()
