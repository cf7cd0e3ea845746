# SPDX-License-Identifier: Apache-2.0
"""The accounts of a database, opened for one command. A server may run on the database meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from federation.errors import NotFound, UserDeactivated
from homeserver.accounts.accounts import Accounts, LocalUser, NewAccount
from homeserver.accounts.logins import Logins
from homeserver.accounts.passwords import Passwords
from homeserver.config.config import Config
from storage.accounts import ChangedAccount
from storage.commits.log import CommitLog
from storage.commits.logged import LoggedCommits
from storage.engine.database import Database
from storage.engine.opening import open_database
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.strings import Strings
from storage.write_queue import SharedCommits, WriteQueue


class OpenedAccounts:
    """What commands do with accounts; each method takes a localpart and returns the user id."""

    def __init__(self, accounts: Accounts, strings: Strings) -> None:
        self._accounts = accounts
        self._strings = strings

    async def create(self, localpart: str, password: str, *, admin: bool) -> str:
        """Make an account, whether registration is open or not."""
        user_id = await self._accounts.check_username(localpart)
        # A server on SQLite gives numbers in memory, and its next one must not be this user's.
        await self._strings.intern_beside(user_id)
        await self._accounts.create(NewAccount(user_id, password, is_admin=admin))
        return user_id

    async def set_password(self, localpart: str, password: str, *, log_out: bool) -> str:
        """Give an account another password."""
        user = await self._access(localpart)
        await self._accounts.set_password(user.number, password, log_out=log_out)
        return user.user_id

    async def deactivate(self, localpart: str) -> str:
        """End an account for ever."""
        user = await self._access(localpart)
        await self._accounts.deactivate(user.number)
        return user.user_id

    async def set_admin(self, localpart: str, *, admin: bool) -> str:
        """Make an account that of an administrator of the server, or of an ordinary user."""
        user = await self._access(localpart)
        await self._accounts.change(ChangedAccount(user.number, is_admin=admin))
        return user.user_id

    async def _access(self, localpart: str) -> LocalUser:
        user = await self._accounts.find(localpart)
        if user is None:
            raise NotFound(f"there is no user {localpart} on this server")
        if user.account.is_deactivated:
            raise UserDeactivated(f"{user.user_id} is deactivated")
        return user


@asynccontextmanager
async def open_accounts(config: Config, reactor: Any) -> AsyncIterator[OpenedAccounts]:
    """The accounts in the database of `config`, for as long as the context lasts.

    Raises `DatabaseError` where the database cannot be used.
    """
    database = await open_database(config.database.database, reactor=reactor)
    storage = Storage.over(database)
    background = BackgroundTasks()
    write_queue = WriteQueue(
        database=database,
        strings=storage.strings,
        clock=reactor,
        background=background,
        on_commit=(),
        shared=_told_to_servers(database),
    )
    passwords = Passwords(reactor=reactor, pepper=config.passwords.password_config.pepper)
    try:
        accounts = _accounts(config, reactor, storage, write_queue, passwords)
        yield OpenedAccounts(accounts, storage.strings)
    finally:
        passwords.stop()
        await write_queue.stop()
        await background.stop()
        await database.close()


def _told_to_servers(database: Database) -> SharedCommits | None:
    """By which the processes that serve on the database learn of what is written here."""
    if database.dialect == "sqlite":
        return None
    return LoggedCommits(CommitLog(database, process="user"))


def _accounts(
    config: Config, reactor: Any, storage: Storage, write_queue: WriteQueue, passwords: Passwords
) -> Accounts:
    logins = Logins(
        devices=storage.devices, write_queue=write_queue, clock=reactor, access_token_lifetime=None
    )
    return Accounts(
        server_name=config.server_name,
        accounts=storage.accounts,
        strings=storage.strings,
        write_queue=write_queue,
        clock=reactor,
        passwords=passwords,
        password_policy=config.passwords.password_config.policy,
        logins=logins,
    )
