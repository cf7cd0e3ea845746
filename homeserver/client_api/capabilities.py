# SPDX-License-Identifier: Apache-2.0
"""What the server can do for a user. spec: client-server-api, "Capabilities negotiation"."""

from __future__ import annotations

from typing import Any

import attrs

from federation.http.endpoint import Call, Endpoint, Json, Requester
from federation.rules.room_versions import ROOM_VERSIONS


@attrs.frozen(kw_only=True)
class Offers:
    """What users may do here. Administrators may always change their display name and avatar."""

    default_room_version: str
    change_password: bool
    set_displayname: bool
    set_avatar_url: bool
    change_third_party_identifiers: bool
    get_login_token: bool
    forget_forced_upon_leave: bool


class Capabilities:
    """`/capabilities`."""

    def __init__(self, *, offers: Offers) -> None:
        self._offers = offers

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (Endpoint("GET", "/_matrix/client/v3/capabilities", self.capabilities),)

    async def capabilities(self, call: Call) -> Json:
        """The capabilities of the requester."""
        offers = self._offers
        enabled = {
            "m.change_password": offers.change_password,
            "m.3pid_changes": offers.change_third_party_identifiers,
            "m.get_login_token": offers.get_login_token,
            "m.forget_forced_upon_leave": offers.forget_forced_upon_leave,
        }
        return Json(
            {
                "capabilities": {
                    "m.room_versions": {
                        "default": offers.default_room_version,
                        "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
                    },
                    **{name: {"enabled": value} for name, value in enabled.items()},
                    **self._profile_fields(call.user),
                }
            }
        )

    def _profile_fields(self, requester: Requester) -> dict[str, Any]:
        """The capability of profile fields, and the two that were before it."""
        may_change = {
            "displayname": self._offers.set_displayname or requester.is_admin,
            "avatar_url": self._offers.set_avatar_url or requester.is_admin,
        }
        fields: dict[str, Any] = {"enabled": True}
        disallowed = [name for name, allowed in may_change.items() if not allowed]
        if disallowed:
            fields["disallowed"] = disallowed
        return {
            "m.profile_fields": fields,
            "m.set_displayname": {"enabled": may_change["displayname"]},
            "m.set_avatar_url": {"enabled": may_change["avatar_url"]},
        }
