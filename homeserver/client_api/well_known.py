# SPDX-License-Identifier: Apache-2.0
"""Where clients find the server. spec: client-server-api, "Well-known URIs"."""

from __future__ import annotations

from typing import Any

from federation.errors import NotFound
from federation.http.endpoint import Auth, Call, Endpoint, Json


def client_discovery(base_url: str) -> dict[str, Any]:
    """Discovery information for clients."""
    return {"m.homeserver": {"base_url": base_url}}


class WellKnown:
    """`/.well-known/matrix/client`; without a `base_url` it is not found."""

    def __init__(self, *, base_url: str | None) -> None:
        self._base_url = base_url

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (Endpoint("GET", "/.well-known/matrix/client", self.client, auth=Auth.NONE),)

    async def client(self, call: Call) -> Json:  # noqa: ARG002
        """Discovery information for clients."""
        if self._base_url is None:
            raise NotFound("public_baseurl is not configured")
        return Json(client_discovery(self._base_url))
