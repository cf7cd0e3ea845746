# SPDX-License-Identifier: Apache-2.0
"""Whose access token it is. spec: client-server-api, "Current account information"."""

from __future__ import annotations

from typing import Any

from federation.http.endpoint import Call, Endpoint, Json


class Whoami:
    """`/account/whoami`."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (Endpoint("GET", "/_matrix/client/v3/account/whoami", self.whoami, guests=True),)

    async def whoami(self, call: Call) -> Json:
        """The requester's ids."""
        requester = call.user
        answer: dict[str, Any] = {"user_id": requester.user_id, "is_guest": requester.is_guest}
        if requester.device_id is not None:
            answer["device_id"] = requester.device_id
        return Json(answer)
