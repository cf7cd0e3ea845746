# SPDX-License-Identifier: Apache-2.0
"""Login and logout. spec: client-server-api, "Login" and "Logout"."""

from __future__ import annotations

from typing import Any

import attrs

from federation.errors import Forbidden, MissingParam, Unknown
from federation.http.endpoint import Auth, Call, Endpoint, Json, NoQuery
from homeserver.accounts.logins import DeviceChoice, Login, Logins
from homeserver.accounts.password_check import PasswordCheck
from homeserver.accounts.user_identifiers import UserIdentifier, identifier_of, user_of
from homeserver.client_api.well_known import client_discovery

_PASSWORD = "m.login.password"


@attrs.frozen
class LoginBody:
    """The body of `POST /login`."""

    type: str
    identifier: UserIdentifier | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool | None = None
    """Whether the client could use refresh tokens; it gets none, which is allowed."""


class LoginApi:
    """`/login`, `/logout` and `/logout/all`.

    `passwords_enabled`: whether people may log in with a password. `base_url` is where clients find this
    server, None where it is not told.
    """

    def __init__(
        self,
        *,
        server_name: str,
        password_check: PasswordCheck,
        logins: Logins,
        passwords_enabled: bool,
        base_url: str | None,
    ) -> None:
        self._server_name = server_name
        self._password_check = password_check
        self._logins = logins
        self._passwords_enabled = passwords_enabled
        self._base_url = base_url

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        base = "/_matrix/client/v3"
        return (
            Endpoint("GET", f"{base}/login", self.flows, auth=Auth.NONE),
            Endpoint(
                "POST", f"{base}/login", self.log_in, auth=Auth.NONE, limit="rc_login.address", body=LoginBody
            ),
            Endpoint("POST", f"{base}/logout", self.log_out, while_locked=True, guests=True),
            Endpoint("POST", f"{base}/logout/all", self.log_out_all, while_locked=True, guests=True),
        )

    async def flows(self, call: Call) -> Json:  # noqa: ARG002
        """The login types that there are."""
        return Json({"flows": [{"type": _PASSWORD}] if self._passwords_enabled else []})

    async def log_in(self, call: Call[NoQuery, LoginBody]) -> Json:
        """Log in with a password."""
        body = call.body
        if body.type != _PASSWORD:
            raise Unknown(f"Unknown login type: {body.type[:100]}")
        if not self._passwords_enabled:
            raise Forbidden("Login with a password is disabled")
        choice = DeviceChoice(body.device_id, body.initial_device_display_name)
        user = user_of(identifier_of(body.identifier, body.user, body.medium, body.address))
        if body.password is None:
            raise MissingParam("password is missing")
        logged_in = await self._password_check.log_in(user, body.password, choice)
        answer = login_answer(logged_in.user_id, self._server_name, logged_in.login)
        if self._base_url is not None:
            answer["well_known"] = client_discovery(self._base_url)
        return Json(answer)

    async def log_out(self, call: Call) -> Json:
        """End the login that the request is made with."""
        await self._logins.log_out(call.user)
        return Json({})

    async def log_out_all(self, call: Call) -> Json:
        """End all logins of the user."""
        await self._logins.log_out_all(call.user.user)
        return Json({})


def login_answer(user_id: str, server_name: str, login: Login | None) -> dict[str, Any]:
    """The answer to a login or a registration; without `login`, that the account exists.

    `home_server` is deprecated, and some clients still want it.
    """
    answer: dict[str, Any] = {"user_id": user_id, "home_server": server_name}
    if login is not None:
        answer |= {"access_token": login.access_token, "device_id": login.device_id}
        if login.expires_in_ms is not None:
            answer["expires_in_ms"] = login.expires_in_ms
    return answer
