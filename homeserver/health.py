# SPDX-License-Identifier: Apache-2.0
"""`/health`: what load balancers and monitors ask. It is no part of the specification."""

from __future__ import annotations

from collections.abc import Callable

from federation.http.endpoint import Auth, Call, Content, Endpoint

_TEXT = "text/plain; charset=utf-8"


class Health:
    """Answers as long as the server takes requests; `draining` says whether it is about to end."""

    def __init__(self, *, draining: Callable[[], bool] = lambda: False) -> None:
        self._draining = draining

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoint."""
        return (Endpoint("GET", "/health", self.health, auth=Auth.NONE),)

    async def health(self, call: Call) -> Content:  # noqa: ARG002
        """`OK`; 503 when whoever asks should send no more clients."""
        if self._draining():
            return Content(_TEXT, b"draining", status=503)
        return Content(_TEXT, b"OK")
