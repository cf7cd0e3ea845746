# SPDX-License-Identifier: Apache-2.0
"""What a site serves: the way from a request to the answer of its endpoint."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from federation.http.admission import Admission
from federation.http.dispatch import Dispatch, Match
from federation.http.endpoint import Answer, Call, RawBody, Request, Requester, Upload


class ReceivedRequest(Request, Protocol):
    """A request whose body has arrived."""

    requester: Requester | None

    def upload(self) -> Upload:
        """The body as a file."""


@attrs.frozen(kw_only=True)
class Service:
    """Endpoints and who may use them. The same service may be reached through several sites."""

    dispatch: Dispatch
    admission: Admission

    async def answer(self, match: Match, request: ReceivedRequest, query: bytes) -> Answer:
        """Admit, decode, and let the endpoint's handler answer. Raises what they raise."""
        route = match.route
        endpoint = route.endpoint
        requester = await self.admission.admit(endpoint, request, query)
        request.requester = requester
        decoded = route.decode_query(query)
        body = route.decode_body(request.body()) if route.decode_body else _raw_body(endpoint.body, request)
        return await endpoint.handler(Call(requester, match.path, decoded, body, request))


def _raw_body(kind: type[Any], request: ReceivedRequest) -> RawBody | Upload:
    return RawBody(request.body()) if kind is RawBody else request.upload()
