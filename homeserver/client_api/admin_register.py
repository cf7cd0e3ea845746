# SPDX-License-Identifier: Apache-2.0
"""Registration by programs that know a shared secret, as Synapse has it: `/_synapse/admin/v1/register`."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Any, Literal

import attrs

from federation.errors import Forbidden, Unknown
from federation.http.endpoint import Auth, Call, Endpoint, Json, NoQuery
from homeserver.accounts.accounts import Accounts, NewAccount
from homeserver.accounts.logins import DeviceChoice
from homeserver.client_api.login import login_answer
from storage.profiles import ProfileField
from storage.runtime.clock import Clock

_PATH = "/_synapse/admin/v1/register"
_NONCE_SECONDS = 60
_TIME_DIGITS = 16
_RANDOM_DIGITS = 32
_TAG_DIGITS = 32


@attrs.frozen
class AdminRegisterBody:
    """The body of the request; `mac` is an HMAC-SHA1 in hexadecimal digits."""

    nonce: str
    username: str
    password: str = attrs.field(repr=False)
    mac: str = attrs.field(repr=False)
    admin: bool = False
    user_type: Literal["bot", "support"] | None = None
    displayname: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool = False

    def signed(self) -> bytes:
        """What the MAC is of."""
        parts = [self.nonce, self.username, self.password, "admin" if self.admin else "notadmin"]
        if self.user_type is not None:
            parts.append(self.user_type)
        return b"\0".join(part.encode() for part in parts)


class Nonces:
    """Values that are given out and come back once within a minute.

    They carry their time and a tag made with a secret, so that nothing is kept of those that do not come
    back, and each process knows those of the others.
    """

    def __init__(self, *, secret: bytes, clock: Clock) -> None:
        self._key = sha256(b"nonces\0" + secret).digest()
        self._clock = clock
        self._spent: dict[str, float] = {}

    def new(self) -> str:
        """A value that was never given out."""
        text = f"{int(self._clock.seconds()):0{_TIME_DIGITS}x}{secrets.token_hex(_RANDOM_DIGITS // 2)}"
        return text + self._tag(text)

    def is_good(self, nonce: str) -> bool:
        """Whether it was given out within the last minute and has not been spent."""
        text, tag = nonce[:-_TAG_DIGITS], nonce[-_TAG_DIGITS:]
        if len(text) != _TIME_DIGITS + _RANDOM_DIGITS or nonce in self._spent:
            return False
        if not hmac.compare_digest(self._tag(text).encode(), tag.encode()):
            return False
        return self._clock.seconds() - int(text[:_TIME_DIGITS], 16) <= _NONCE_SECONDS

    def spend(self, nonce: str) -> None:
        """Take a good one out of use."""
        now = self._clock.seconds()
        for old, until in list(self._spent.items()):
            if until > now:
                break
            del self._spent[old]
        self._spent[nonce] = now + 2 * _NONCE_SECONDS

    def _tag(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), sha256).hexdigest()[:_TAG_DIGITS]


class AdminRegister:
    """`/_synapse/admin/v1/register`; without a `shared_secret` nobody can use it."""

    def __init__(
        self, *, server_name: str, accounts: Accounts, shared_secret: str | None, clock: Clock
    ) -> None:
        self._server_name = server_name
        self._accounts = accounts
        self._secret = None if shared_secret is None else shared_secret.encode()
        self._nonces = Nonces(secret=self._secret or secrets.token_bytes(32), clock=clock)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        return (
            Endpoint("GET", _PATH, self.nonce, auth=Auth.NONE),
            Endpoint("POST", _PATH, self.register, auth=Auth.NONE, body=AdminRegisterBody),
        )

    async def nonce(self, call: Call) -> Json:  # noqa: ARG002
        """A nonce for a registration."""
        self._check_enabled()
        return Json({"nonce": self._nonces.new()})

    async def register(self, call: Call[NoQuery, AdminRegisterBody]) -> Json:
        """Make an account, also where registration is closed."""
        secret, body = self._check_enabled(), call.body
        if not self._nonces.is_good(body.nonce):
            raise Unknown("Unrecognised nonce: it is older than a minute, used or never given out")
        expected = hmac.new(secret, body.signed(), "sha1").hexdigest()
        if not hmac.compare_digest(expected.encode(), body.mac.lower().encode()):
            raise Forbidden("HMAC incorrect")
        self._nonces.spend(body.nonce)
        choice = DeviceChoice(body.device_id, body.initial_device_display_name)
        new = NewAccount(
            user_id=await self._accounts.check_username(body.username),
            password=body.password,
            is_admin=body.admin,
            user_type=body.user_type,
            login=None if body.inhibit_login else choice,
        )
        created = await self._accounts.create(new, records=lambda account: _profile(account, body))
        return Json(login_answer(created.user_id, self._server_name, created.login))

    def _check_enabled(self) -> bytes:
        if self._secret is None:
            raise Unknown("Shared secret registration is not enabled")
        return self._secret


def _profile(account: int, body: AdminRegisterBody) -> tuple[Any, ...]:
    return () if body.displayname is None else (ProfileField(account, "displayname", body.displayname),)
