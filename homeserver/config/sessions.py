# SPDX-License-Identifier: Apache-2.0
"""How long logins and what is known about them last."""

from __future__ import annotations

import attrs

from homeserver.config.keys import nullable, optional
from homeserver.config.place import Place
from homeserver.config.quantities import Duration


@attrs.frozen(kw_only=True)
class SessionsConfig:
    """Access tokens, refresh tokens and addresses; all durations in milliseconds."""

    session_lifetime: int | None = optional(
        Duration(minimum=1),
        """How long a login lasts before one has to log in again. Without it, for ever.""",
        example="90d",
    )
    refreshable_access_token_lifetime: int | None = optional(
        Duration(minimum=1),
        """How long an access token lasts for clients that can refresh it. Without it 5 minutes, or the
        session_lifetime where that is shorter.""",
        example="5m",
    )
    refresh_token_lifetime: int | None = optional(
        Duration(minimum=1),
        """How long a refresh token may lie unused. Without it, for ever.""",
        example="30d",
    )
    nonrefreshable_access_token_lifetime: int | None = optional(
        Duration(minimum=1),
        """How long an access token lasts for clients that cannot refresh it. Without it, for ever.""",
        example="30d",
    )
    user_ips_max_age: int | None = nullable(
        Duration(),
        """How long the addresses that a user came from are kept. null: for ever.""",
        default="28d",
    )

    def check(self, at: Place) -> None:
        """A session that ends cannot be refreshed past its end."""
        if self.session_lifetime is None:
            return
        for name in ("refreshable_access_token_lifetime", "refresh_token_lifetime"):
            if (getattr(self, name) or 0) > self.session_lifetime:
                raise at.child(name).error("lasts longer than session_lifetime, expected a shorter duration")

    def access_token_lifetime(self, *, refreshable: bool) -> int | None:
        """How long a new access token lasts in milliseconds; None: for ever."""
        given = (
            self.refreshable_access_token_lifetime
            if refreshable
            else self.nonrefreshable_access_token_lifetime
        )
        if refreshable and given is None:
            given = 5 * 60 * 1000
        bounds = [bound for bound in (given, self.session_lifetime) if bound is not None]
        return min(bounds, default=None)
