# SPDX-License-Identifier: Apache-2.0
"""Proof of identity by password, for logins and for user-interactive authentication."""

from __future__ import annotations

import logging

import attrs

from federation.errors import Forbidden, UserDeactivated, UserLocked
from homeserver.accounts.accounts import Accounts, LocalUser
from homeserver.accounts.limits import Limits, NoLimits
from homeserver.accounts.logins import DeviceChoice, Login, Logins
from homeserver.accounts.passwords import Passwords
from storage.accounts import RehashedPassword

logger = logging.getLogger(__name__)


@attrs.frozen
class LoggedIn:
    """Who logged in, and their login."""

    user_id: str
    login: Login


class PasswordCheck:
    """Checks passwords, and logs in with them.

    Attempts count against the limits `rc_login.account` and `rc_login.failed_attempts` of the account.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        passwords: Passwords,
        logins: Logins,
        limits: Limits | None = None,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._logins = logins
        self._limits = limits or NoLimits()

    async def check(self, user: str, password: str) -> LocalUser:
        """The user whom `user`, a user id or a localpart, means, if it is their password.

        Raises `Forbidden` (it is not, or there is no such user), `UserDeactivated`, `LimitExceeded`.
        """
        found = await self._accounts.find(user)
        name = user.lower() if found is None else found.user_id
        self._limits.check("rc_login.failed_attempts", name)
        password_hash = None if found is None else found.account.password_hash
        if await self._passwords.verify(password, password_hash):
            assert found is not None, "no hash, no match"
            return found
        if found is not None and found.account.is_deactivated:
            raise UserDeactivated("This account has been deactivated")
        self._limits.count("rc_login.failed_attempts", name)
        raise Forbidden("Invalid username or password")

    async def log_in(self, user: str, password: str, choice: DeviceChoice) -> LoggedIn:
        """Log a user in on a device. Raises what `check` raises, and `UserLocked`."""
        found = await self.check(user, password)
        if found.account.is_locked:
            raise UserLocked
        self._limits.count("rc_login.account", found.user_id)
        login = await self._logins.log_in(found.number, choice, await self._rehashed(found, password))
        if not await self._still_holds(found, password):
            await self._logins.log_out_device(found.number, login.device_id)
            raise Forbidden("The account was changed meanwhile")
        return LoggedIn(found.user_id, login)

    async def _rehashed(self, found: LocalUser, password: str) -> tuple[RehashedPassword, ...]:
        """A newer hash in place of an outdated one; the password is only known now."""
        old = found.account.password_hash
        if old is None or not self._passwords.is_outdated(old):
            return ()
        return (RehashedPassword(found.number, await self._passwords.hash(password), replaces=old),)

    async def _still_holds(self, found: LocalUser, password: str) -> bool:
        """Whether the password is right also after the login was written.

        A new password ends the logins that it finds; this one may have been on its way meanwhile.
        """
        now = await self._accounts.find(found.user_id)
        if now is None or now.account.is_deactivated:
            return False
        password_hash = now.account.password_hash
        same = password_hash == found.account.password_hash
        return same or await self._passwords.verify(password, password_hash)
