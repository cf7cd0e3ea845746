# SPDX-License-Identifier: Apache-2.0
"""Accounts: made, changed and ended. Whether somebody may do so is for the caller to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from federation.errors import Exclusive, UserInUse
from federation.rules.identifiers import parse_user_id
from homeserver.accounts import usernames
from homeserver.accounts.logins import DeviceChoice, Login, Logins
from homeserver.accounts.password_policy import check_new_password
from homeserver.accounts.passwords import Passwords
from homeserver.config.passwords import PasswordPolicy
from storage import accounts as storage
from storage.accounts import Account, ChangedAccount, ChangedPassword
from storage.engine.errors import DataError
from storage.persist import Unit
from storage.profiles import ProfileField
from storage.runtime.clock import Clock, milliseconds
from storage.strings import Strings
from storage.write_queue import WriteQueue

_GENERATED_NAMES = 5


@attrs.frozen
class LocalUser:
    """A user of this server and their account."""

    user_id: str
    account: Account

    @property
    def number(self) -> int:
        """The number of the user id."""
        return self.account.account


@attrs.frozen
class NewAccount:
    """An account to be made. `login` is the device that it is logged in with at once, None for none."""

    user_id: str
    password: str | None = attrs.field(default=None, repr=False)
    is_admin: bool = False
    user_type: str | None = None
    login: DeviceChoice | None = None


@attrs.frozen
class CreatedAccount:
    """A new account; `login` is None where none was asked for."""

    user_id: str
    account: int
    login: Login | None


def nobody_else(_user_id: str) -> bool:
    """There are no application services that claim user ids."""
    return False


class Accounts:
    """The accounts of one server.

    `is_exclusive` says whether a user id belongs to the exclusive namespace of an application service.
    """

    def __init__(
        self,
        *,
        server_name: str,
        accounts: storage.Accounts,
        strings: Strings,
        write_queue: WriteQueue,
        clock: Clock,
        passwords: Passwords,
        password_policy: PasswordPolicy,
        logins: Logins,
        is_exclusive: Callable[[str], bool] = nobody_else,
    ) -> None:
        self._server_name = server_name
        self._accounts = accounts
        self._strings = strings
        self._write_queue = write_queue
        self._clock = clock
        self._passwords = passwords
        self._password_policy = password_policy
        self._logins = logins
        self._is_exclusive = is_exclusive

    async def find(self, user: str) -> LocalUser | None:
        """The local user that `user`, a user id or a localpart, means; None if there is none."""
        for user_id in usernames.user_ids_meant_by(user, self._server_name):
            number = (await self._strings.find((user_id,))).get(user_id)
            account = None if number is None else await self._accounts.get(number)
            if account is not None:
                return LocalUser(user_id, account)
        return None

    async def check_username(self, username: str) -> str:
        """The user id that an account with this name would have.

        Raises `InvalidUsername`, `Exclusive`, `UserInUse`.
        """
        user_id = usernames.user_id_of_new(username, self._server_name)
        if self._is_exclusive(user_id):
            raise Exclusive("The user ID belongs to an application service")
        if await self.find(user_id) is not None:
            raise UserInUse("The user ID is taken")
        return user_id

    async def free_user_id(self) -> str:
        """A user id that nobody has, for somebody who names none."""
        for _ in range(_GENERATED_NAMES):
            try:
                return await self.check_username(usernames.generated_localpart())
            except (UserInUse, Exclusive):
                continue
        raise UserInUse("No free user ID was found, choose a username")

    def check_new_password(self, password: str) -> None:
        """Raises `WeakPassword` or `InvalidParam` for a password that no account may have."""
        check_new_password(password, self._password_policy)

    async def create(
        self, new: NewAccount, *, records: Callable[[int], Sequence[Any]] = lambda _account: ()
    ) -> CreatedAccount:
        """Make an account, with a login if one is asked for, all or nothing.

        The display name is the localpart until `records` or the user say otherwise. `records` makes what is
        to be written along of the account's number. Raises `UserInUse`, the errors
        of `check_new_password`, and `DataError` where the database refuses one of `records`.
        """
        if new.password is not None:
            self.check_new_password(new.password)
        password_hash = None if new.password is None else await self._passwords.hash(new.password)
        number = (await self._strings.intern((new.user_id,)))[new.user_id]
        account = Account(
            account=number,
            created_ts=milliseconds(self._clock),
            password_hash=password_hash,
            user_type=new.user_type,
            is_admin=new.is_admin,
        )
        # COMPAT: clients show a user without a display name by the whole user id.
        name = ProfileField(number, "displayname", parse_user_id(new.user_id).localpart)
        login, made = None, ()  # type: tuple[Login | None, tuple[Any, ...]]
        if new.login is not None:
            login, made = self._logins.prepare(number, new.login)
        try:
            await self._write_queue.submit(Unit(records=(account, name, *made, *records(number))))
        except DataError:
            if await self._accounts.get(number) is not None:
                raise UserInUse("The user ID is taken") from None
            raise
        return CreatedAccount(new.user_id, number, login)

    async def set_password(
        self, account: int, password: str, *, log_out: bool, keep_device: int | None = None
    ) -> None:
        """Give an account another password; with `log_out` its logins end, but for that of `keep_device`.

        Raises the errors of `check_new_password`.
        """
        self.check_new_password(password)
        changed = ChangedPassword(account, await self._passwords.hash(password))
        if log_out:
            await self._change_and_log_out(account, (changed,), keep=keep_device)
        else:
            await self._write_queue.submit(Unit(records=(changed,)))

    async def deactivate(self, account: int) -> None:
        """End an account for ever: it cannot be logged in to, and its user id is not given again."""
        changed = ChangedAccount(account, is_deactivated=True, is_admin=False)
        await self._change_and_log_out(account, (changed, ChangedPassword(account, None)))

    async def change(self, changed: ChangedAccount) -> None:
        """Change what an account is and may do."""
        await self._write_queue.submit(Unit(records=(changed,)))

    async def _change_and_log_out(
        self, account: int, changes: Sequence[Any], *, keep: int | None = None
    ) -> None:
        ends = await self._logins.ends_of_all(account, keep=keep)
        await self._write_queue.submit(Unit(records=(*changes, *ends)))
        # A login may have been written between the two; one that comes later looks for the change itself.
        await self._logins.log_out_all(account, keep=keep)
