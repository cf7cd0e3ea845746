# SPDX-License-Identifier: Apache-2.0
"""Accounts, logins, and what clients ask before they log in."""

from __future__ import annotations

import attrs

from federation.http.endpoint import Endpoint
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.last_seen import LastSeen
from homeserver.accounts.logins import Logins
from homeserver.accounts.password_check import PasswordCheck
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.user_interactive_authentication import UserInteractiveAuthentication
from homeserver.client_api.account_registration import AccountRegistration, RegistrationPolicy
from homeserver.client_api.admin_register import AdminRegister
from homeserver.client_api.capabilities import Capabilities, Offers
from homeserver.client_api.login import LoginApi
from homeserver.client_api.user_interactive_authentication import AuthenticationFallback
from homeserver.client_api.versions import Versions
from homeserver.client_api.well_known import WellKnown
from homeserver.client_api.whoami import Whoami
from homeserver.composition.ground import Ground


@attrs.frozen(kw_only=True)
class Users:
    """Accounts and who logs into them."""

    passwords: Passwords
    logins: Logins
    accounts: Accounts
    password_check: PasswordCheck
    authentication: UserInteractiveAuthentication
    last_seen: LastSeen


def build_users(ground: Ground) -> Users:
    """The services of accounts."""
    config, storage, reactor = ground.config, ground.storage, ground.reactor
    passwords = Passwords(reactor=reactor, pepper=config.passwords.password_config.pepper)
    logins = Logins(
        devices=storage.devices,
        write_queue=ground.write_queue,
        clock=reactor,
        access_token_lifetime=config.sessions.access_token_lifetime(refreshable=False),
    )
    accounts = Accounts(
        server_name=config.server_name,
        accounts=storage.accounts,
        strings=storage.strings,
        write_queue=ground.write_queue,
        clock=reactor,
        passwords=passwords,
        password_policy=config.passwords.password_config.policy,
        logins=logins,
    )
    return Users(
        passwords=passwords,
        logins=logins,
        accounts=accounts,
        password_check=PasswordCheck(accounts=accounts, passwords=passwords, logins=logins),
        authentication=UserInteractiveAuthentication(
            sessions=storage.user_interactive_sessions, write_queue=ground.write_queue, clock=reactor
        ),
        last_seen=LastSeen(write_queue=ground.write_queue, clock=reactor),
    )


def user_endpoints(ground: Ground, users: Users) -> tuple[Endpoint, ...]:
    """Accounts, logins, and what clients ask before they log in."""
    config, name = ground.config, ground.config.server_name
    passwords = config.passwords.password_config
    registration = config.registration
    account_registration = AccountRegistration(
        server_name=name,
        accounts=users.accounts,
        authentication=users.authentication,
        registration_tokens=ground.storage.registration_tokens,
        policy=RegistrationPolicy(
            enabled=registration.enable_registration,
            requires_token=registration.registration_requires_token,
        ),
        clock=ground.reactor,
    )
    sections = (
        Versions(unstable_features={}),
        WellKnown(base_url=config.server.public_baseurl),
        Capabilities(
            offers=Offers(
                default_room_version=config.rooms.default_room_version,
                change_password=False,
                set_displayname=config.profiles.enable_set_displayname,
                set_avatar_url=config.profiles.enable_set_avatar_url,
                change_third_party_identifiers=False,
                get_login_token=False,
                forget_forced_upon_leave=config.rooms.forget_rooms_on_leave,
            )
        ),
        account_registration,
        AuthenticationFallback(
            server_name=name, authentication=users.authentication, flows=account_registration.flows
        ),
        AdminRegister(
            server_name=name,
            accounts=users.accounts,
            shared_secret=registration.shared_secret(),
            clock=ground.reactor,
        ),
        LoginApi(
            server_name=name,
            password_check=users.password_check,
            logins=users.logins,
            passwords_enabled=passwords.enabled is True and passwords.localdb_enabled,
            base_url=config.server.public_baseurl,
        ),
        Whoami(),
    )
    return tuple(endpoint for section in sections for endpoint in section.endpoints())
