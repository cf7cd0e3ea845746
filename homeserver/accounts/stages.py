# SPDX-License-Identifier: Apache-2.0
"""The stages of user-interactive authentication. spec: client-server-api, "Authentication types"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from federation.errors import BadJson, Forbidden, MissingParam, Unauthorized
from federation.http.endpoint import Requester
from homeserver.accounts.password_check import PasswordCheck
from homeserver.accounts.user_identifiers import UserIdentifier, identifier_of, user_of
from storage.registration_tokens import RegistrationTokens
from storage.runtime.clock import Clock, milliseconds


class Stage(Protocol):
    """One stage: what a client has to prove."""

    @property
    def type(self) -> str:
        """The authentication type."""

    @property
    def params(self) -> Mapping[str, Any] | None:
        """What a client needs to know for it; None for nothing."""

    async def attempt(self, auth: Mapping[str, Any], requester: Requester | None) -> Any:
        """What comes of the proof in `auth`, as a JSON value.

        Raises `Forbidden` or `Unauthorized` where it is none: the client may try again. Other errors end
        the request.
        """


Flow: TypeAlias = tuple[Stage, ...]
"""Stages that are to be completed in this order."""


class DummyStage:
    """`m.login.dummy`: always succeeds."""

    type = "m.login.dummy"
    params = None

    async def attempt(self, auth: Mapping[str, Any], requester: Requester | None) -> bool:  # noqa: ARG002
        """True, whatever is in `auth`."""
        return True


class PasswordStage:
    """`m.login.password`: the password of the user who makes the request. Its result is their user id."""

    type = "m.login.password"
    params = None

    def __init__(self, *, password_check: PasswordCheck) -> None:
        self._password_check = password_check

    async def attempt(self, auth: Mapping[str, Any], requester: Requester | None) -> str:
        """Check the password."""
        try:
            identifier = msgspec.convert(auth.get("identifier"), UserIdentifier | None)
        except msgspec.ValidationError as error:
            raise BadJson(f"auth.identifier: {error}") from None
        user = user_of(identifier_of(identifier, text_of(auth, "user"), None, None))
        password = text_of(auth, "password")
        if password is None:
            raise MissingParam("auth.password is missing")
        found = await self._password_check.check(user, password)
        if requester is not None and found.number != requester.user:
            raise Forbidden("That is another user's password")
        return found.user_id


class RegistrationTokenStage:
    """`m.login.registration_token`: a token that an administrator gave out. Its result is the token."""

    type = "m.login.registration_token"
    params = None

    def __init__(self, *, tokens: RegistrationTokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    async def attempt(self, auth: Mapping[str, Any], requester: Requester | None) -> str:  # noqa: ARG002
        """Check that the token may be used now; it is used up with the registration."""
        token = text_of(auth, "token")
        if token is None:
            raise MissingParam("auth.token is missing")
        found = await self._tokens.get(token)
        if found is None or not found.is_valid(milliseconds(self._clock)):
            raise Unauthorized("The registration token is not valid")
        return token


def text_of(auth: Mapping[str, Any], name: str) -> str | None:
    """A member of an authentication dictionary; None if it is not there. Raises `BadJson` for no text."""
    value = auth.get(name)
    if value is not None and not isinstance(value, str):
        raise BadJson(f"auth.{name}: Expected `str`")
    return value
