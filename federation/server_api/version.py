# SPDX-License-Identifier: Apache-2.0
"""Which software this is. spec: server-server-api, "Server implementation"."""

from __future__ import annotations

import attrs

from federation.http.endpoint import Auth, Call, Endpoint, Json


@attrs.frozen
class ServerVersion:
    """The endpoint of the section; `version` is that of the program."""

    version: str

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoint, which anybody may ask."""
        path = "/_matrix/federation/v1/version"
        return (Endpoint("GET", path, self.get_version, auth=Auth.NONE, latest=False),)

    async def get_version(self, call: Call) -> Json:  # noqa: ARG002
        """The name of the program and its version."""
        return Json({"server": {"name": "Trellis", "version": self.version}})
