# SPDX-License-Identifier: Apache-2.0
"""`/health`: what load balancers and monitors ask. It is no part of the specification."""

from __future__ import annotations

from federation.http.endpoint import Auth, Call, Content, Endpoint


class Health:
    """Answers as long as the server takes requests."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoint."""
        return (Endpoint("GET", "/health", self.health, auth=Auth.NONE),)

    async def health(self, call: Call) -> Content:  # noqa: ARG002
        """`OK`."""
        return Content("text/plain; charset=utf-8", b"OK")
