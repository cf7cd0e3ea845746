# SPDX-License-Identifier: Apache-2.0
"""A server of accounts alone: registration, login and what belongs to them, over a database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from twisted.internet import reactor

from federation.http.endpoint import Endpoint
from homeserver.accounts.access_tokens import AccessTokens
from homeserver.accounts.accounts import Accounts, LocalUser, NewAccount
from homeserver.accounts.last_seen import LastSeen
from homeserver.accounts.limits import Limits, NoLimits
from homeserver.accounts.logins import DeviceChoice, Logins
from homeserver.accounts.password_check import PasswordCheck
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.user_interactive_authentication import UserInteractiveAuthentication
from homeserver.client_api.account_registration import AccountRegistration, RegistrationPolicy
from homeserver.client_api.admin_register import AdminRegister
from homeserver.client_api.login import LoginApi
from homeserver.client_api.user_interactive_authentication import AuthenticationFallback
from homeserver.client_api.whoami import Whoami
from homeserver.config.passwords import PasswordPolicy
from storage.engine.database import Database
from storage.runtime.clock import DelayedCall
from storage.stores import Storage
from tests.support.http import Client, serve
from tests.support.reactor import in_reactor
from tests.support.storing import Storing, storing_into

SERVER = "test.example"
PASSWORD = "correct horse battery"
SHARED_SECRET = "a shared secret"


@attrs.define
class ShiftedClock:
    """The reactor's clock, and how far it is put forward, in seconds."""

    ahead: float = 0.0

    def seconds(self) -> float:
        """The time by this clock."""
        return float(reactor.seconds()) + self.ahead

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> DelayedCall:  # noqa: A002, N802
        """As the reactor does it."""
        return reactor.callLater(delay, callable, *args, **kw)


@attrs.frozen(kw_only=True)
class Settings:
    """What differs between the servers of tests."""

    enabled: bool = True
    requires_token: bool = False
    shared_secret: str | None = SHARED_SECRET
    passwords_enabled: bool = True
    access_token_lifetime: int | None = None
    base_url: str | None = None
    pepper: str = ""
    policy: PasswordPolicy = attrs.field(factory=PasswordPolicy)
    limits: Limits = attrs.field(factory=NoLimits)
    is_exclusive: Callable[[str], bool] = lambda user_id: user_id.startswith("@irc_")


@attrs.frozen
class AccountParts:
    """The parts of such a server."""

    clock: ShiftedClock
    storing: Storing
    passwords: Passwords
    logins: Logins
    access_tokens: AccessTokens
    accounts: Accounts
    password_check: PasswordCheck
    authentication: UserInteractiveAuthentication
    last_seen: LastSeen
    settings: Settings

    @property
    def storage(self) -> Storage:
        """The stores."""
        return self.storing.storage

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of accounts."""
        settings = self.settings
        registration = AccountRegistration(
            server_name=SERVER,
            accounts=self.accounts,
            authentication=self.authentication,
            registration_tokens=self.storage.registration_tokens,
            policy=RegistrationPolicy(enabled=settings.enabled, requires_token=settings.requires_token),
            clock=self.clock,
            limits=settings.limits,
        )
        login = LoginApi(
            server_name=SERVER,
            password_check=self.password_check,
            logins=self.logins,
            passwords_enabled=settings.passwords_enabled,
            base_url=settings.base_url,
        )
        admin = AdminRegister(
            server_name=SERVER,
            accounts=self.accounts,
            shared_secret=settings.shared_secret,
            clock=self.clock,
        )
        whoami = Whoami()
        fallback = AuthenticationFallback(
            server_name=SERVER, authentication=self.authentication, flows=registration.flows
        )
        return (
            *registration.endpoints(),
            *fallback.endpoints(),
            *login.endpoints(),
            *admin.endpoints(),
            *whoami.endpoints(),
        )

    async def create(self, localpart: str, password: str | None = PASSWORD, **more: Any) -> LocalUser:
        """An account without a login."""
        await self.accounts.create(NewAccount(f"@{localpart}:{SERVER}", password, **more))
        found = await self.accounts.find(localpart)
        assert found is not None
        return found

    async def log_in(self, user: LocalUser, device_id: str | None = None) -> str:
        """The access token of a new login."""
        return (await self.logins.log_in(user.number, DeviceChoice(device_id))).access_token


def accounts_over(database: Database, settings: Settings) -> AccountParts:
    """The parts over `database`, as the composition root builds them; `passwords` must be stopped."""
    clock = ShiftedClock()
    storage = Storage.over(database)
    access_tokens = AccessTokens(
        database=database,
        accounts=storage.accounts,
        devices=storage.devices,
        strings=storage.strings,
        clock=clock,
    )
    storing = storing_into(storage, [access_tokens.on_commit])
    passwords = Passwords(reactor=reactor, pepper=settings.pepper)
    logins = Logins(
        devices=storage.devices,
        write_queue=storing.queue,
        clock=clock,
        access_token_lifetime=settings.access_token_lifetime,
    )
    accounts = Accounts(
        server_name=SERVER,
        accounts=storage.accounts,
        strings=storage.strings,
        write_queue=storing.queue,
        clock=clock,
        passwords=passwords,
        password_policy=settings.policy,
        logins=logins,
        is_exclusive=settings.is_exclusive,
    )
    return AccountParts(
        clock=clock,
        storing=storing,
        passwords=passwords,
        logins=logins,
        access_tokens=access_tokens,
        accounts=accounts,
        password_check=PasswordCheck(
            accounts=accounts, passwords=passwords, logins=logins, limits=settings.limits
        ),
        authentication=UserInteractiveAuthentication(
            sessions=storage.user_interactive_sessions, write_queue=storing.queue, clock=clock
        ),
        last_seen=LastSeen(write_queue=storing.queue, clock=clock),
        settings=settings,
    )


@contextlib.contextmanager
def account_parts(database: Database, **settings: Any) -> Iterator[AccountParts]:
    """The parts, for as long as the context lasts."""

    async def build() -> AccountParts:
        return accounts_over(database, Settings(**settings))

    parts = in_reactor(build())
    try:
        yield parts
    finally:
        parts.passwords.stop()


@attrs.frozen
class AccountServer:
    """A server of accounts and a client of it that has no token."""

    parts: AccountParts
    client: Client

    def with_token(self, access_token: str) -> Client:
        """A client with an access token."""
        return self.client.logged_in(access_token)


@contextlib.contextmanager
def account_server(database: Database, **settings: Any) -> Iterator[AccountServer]:
    """A server of accounts that listens on 127.0.0.1."""
    with (
        account_parts(database, **settings) as parts,
        serve(
            parts.endpoints(),
            authenticate=parts.access_tokens.authenticate,
            seen=parts.last_seen.seen,
        ) as server,
    ):
        yield AccountServer(parts, server.client(token=None))
