# SPDX-License-Identifier: Apache-2.0
"""Which versions of the specification are served. spec: client-server-api, "API Versions"."""

from __future__ import annotations

from collections.abc import Mapping

from federation.http.endpoint import Auth, Call, Endpoint, Json

SPECIFICATION_VERSIONS = tuple(f"v1.{minor}" for minor in range(1, 12))
"""The versions whose rules the endpoints follow."""

# What clients of the time before version 1.1 look for; its endpoints are those of v1.1 under older names.
_HISTORICAL = ("r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1")


class Versions:
    """`/versions`. `unstable_features` are those from outside of the specification that are served."""

    def __init__(self, *, unstable_features: Mapping[str, bool]) -> None:
        self._answer = {
            "versions": [*_HISTORICAL, *SPECIFICATION_VERSIONS],
            "unstable_features": dict(unstable_features),
        }

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        versions = Endpoint(
            "GET",
            "/_matrix/client/versions",
            self.versions,
            auth=Auth.OPTIONAL,
            guests=True,
            while_locked=True,
        )
        return (versions,)

    async def versions(self, call: Call) -> Json:  # noqa: ARG002
        """The versions, the same for everybody."""
        return Json(self._answer)
