# SPDX-License-Identifier: Apache-2.0
"""Registration. spec: client-server-api, "Account registration" and "Token-authenticated registration"."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from federation.errors import Forbidden, MissingParam, Unknown
from federation.http.endpoint import Auth, Call, Endpoint, Json
from homeserver.accounts.accounts import Accounts, NewAccount
from homeserver.accounts.limits import Limits, NoLimits
from homeserver.accounts.logins import DeviceChoice
from homeserver.accounts.stages import DummyStage, Flow, RegistrationTokenStage
from homeserver.accounts.user_interactive_authentication import Proof, UserInteractiveAuthentication
from homeserver.client_api.login import login_answer
from storage.engine.errors import DataError
from storage.registration_tokens import RegistrationTokens, UsedRegistrationToken
from storage.runtime.clock import Clock, milliseconds

_LIMIT = "rc_registration"
_TOKEN_LIMIT = "rc_registration_token_validity"


@attrs.frozen(kw_only=True)
class RegistrationPolicy:
    """Whether people may register, and whether they need a token for it."""

    enabled: bool
    requires_token: bool


@attrs.frozen
class RegisterQuery:
    """The query of `POST /register`."""

    kind: Literal["user", "guest"] = "user"


@attrs.frozen
class RegisterBody:
    """The body of `POST /register`."""

    auth: dict[str, Any] | None = attrs.field(default=None, repr=False)
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool | None = None
    refresh_token: bool | None = None
    """Whether the client could use refresh tokens; it gets none, which is allowed."""
    type: str | None = None
    """`m.login.application_service`, where an application service registers a user."""


@attrs.frozen
class UsernameQuery:
    """The query of `GET /register/available`."""

    username: str


@attrs.frozen
class TokenQuery:
    """The query of the validity of a registration token."""

    token: str


class AccountRegistration:
    """`/register` and what belongs to it."""

    def __init__(
        self,
        *,
        server_name: str,
        accounts: Accounts,
        authentication: UserInteractiveAuthentication,
        registration_tokens: RegistrationTokens,
        policy: RegistrationPolicy,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._server_name = server_name
        self._accounts = accounts
        self._authentication = authentication
        self._tokens = registration_tokens
        self._policy = policy
        self._clock = clock
        self._limits = limits or NoLimits()
        self._token_stage = RegistrationTokenStage(tokens=registration_tokens, clock=clock)
        self.flows: tuple[Flow, ...] = ((self._token_stage,) if policy.requires_token else (DummyStage(),),)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (
            Endpoint(
                "POST",
                "/_matrix/client/v3/register",
                self.register,
                auth=Auth.NONE,
                query=RegisterQuery,
                body=RegisterBody,
            ),
            Endpoint(
                "GET",
                "/_matrix/client/v3/register/available",
                self.available,
                auth=Auth.NONE,
                query=UsernameQuery,
            ),
            Endpoint(
                "GET",
                "/_matrix/client/v1/register/m.login.registration_token/validity",
                self.token_validity,
                auth=Auth.NONE,
                limit=_TOKEN_LIMIT,
                query=TokenQuery,
            ),
        )

    async def register(self, call: Call[RegisterQuery, RegisterBody]) -> Json:
        """Make an account and, unless it is inhibited, log in."""
        self._check_open(call.query.kind)
        address = call.request.client_address
        self._limits.check(_LIMIT, address)
        body = call.body
        if body.type == "m.login.application_service":
            raise Unknown("This server has no application services")
        choice = DeviceChoice(body.device_id, body.initial_device_display_name)
        user_id = None if body.username is None else await self._accounts.check_username(body.username)
        if body.password is not None:
            self._accounts.check_new_password(body.password)
        if body.auth is not None and "token" in body.auth:
            self._limits.count(_TOKEN_LIMIT, address)
        proof = await self._authentication.authenticate(call, body.auth, self.flows)
        if body.password is None:
            raise MissingParam("password is missing")
        self._limits.count(_LIMIT, address)
        new = NewAccount(
            user_id=user_id or await self._accounts.free_user_id(),
            password=body.password,
            login=None if body.inhibit_login else choice,
        )
        return await self._create(new, proof)

    async def available(self, call: Call[UsernameQuery]) -> Json:
        """Whether a username is free."""
        self._check_open("user")
        self._limits.check(_LIMIT, call.request.client_address)
        await self._accounts.check_username(call.query.username)
        return Json({"available": True})

    async def token_validity(self, call: Call[TokenQuery]) -> Json:
        """Whether a registration token could be used now."""
        self._check_open("user")
        return Json({"valid": await self._is_valid(call.query.token)})

    async def _create(self, new: NewAccount, proof: Proof) -> Json:
        records = proof.records
        token = proof.results.get(self._token_stage.type)
        if token is not None:
            # It may have been proved a while ago.
            if not await self._is_valid(token):
                raise Forbidden("The registration token is not valid any more")
            records = (*records, UsedRegistrationToken(token))
        try:
            created = await self._accounts.create(new, records=lambda _account: records)
        except DataError:
            if token is None:
                raise
            raise Forbidden("The registration token has been used up") from None
        return Json(login_answer(created.user_id, self._server_name, created.login))

    async def _is_valid(self, token: str) -> bool:
        found = await self._tokens.get(token)
        return found is not None and found.is_valid(milliseconds(self._clock))

    def _check_open(self, kind: str) -> None:
        if kind == "guest":
            raise Forbidden("Guests cannot register on this server")
        if not self._policy.enabled:
            raise Forbidden("Registration is disabled")
