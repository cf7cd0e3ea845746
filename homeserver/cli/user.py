# SPDX-License-Identifier: Apache-2.0
"""`trellis user`: makes and changes accounts in the database that the configuration names."""

from __future__ import annotations

import argparse
import functools
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from homeserver.accounts.passwords import LONGEST_PASSWORD
from homeserver.cli.asynchronous import until_done
from homeserver.cli.files import add_config_option, chosen_config, make_data_directory
from homeserver.cli.open_accounts import OpenedAccounts, open_accounts
from homeserver.cli.problem import Problem

Work = Callable[[argparse.Namespace, OpenedAccounts, str], Awaitable[str]]
"""One command: what it does with the account of a localpart; returns what to tell."""

WHILE_RUNNING = "; a server that is running takes note within five minutes"


def add_user(commands: argparse._SubParsersAction[argparse.ArgumentParser], *, reactor: Any) -> None:
    """Declare the commands."""
    parser = commands.add_parser("user", help="make and change accounts")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    def add(name: str, work: Work, help_text: str, *, asks_password: bool = False) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=help_text, description=help_text)
        action.add_argument("name", metavar="NAME", help="alice, or @alice:example.org")
        add_config_option(action)
        if asks_password:
            action.add_argument(
                "--password-stdin", action="store_true", help="read the password from standard input"
            )
        command = functools.partial(_carry_out, work=work, reactor=reactor)
        action.set_defaults(command=command, asks_password=asks_password)
        return action

    create = add("create", _create, "make an account", asks_password=True)
    create.add_argument("--admin", action="store_true", help="as an administrator of the server")
    password = add("password", _set_password, "give an account another password", asks_password=True)
    password.add_argument("--keep-devices", action="store_true", help="leave it logged in where it is")
    deactivate = add("deactivate", _deactivate, "end an account; this cannot be undone")
    deactivate.add_argument("--yes", action="store_true", help="do not ask")
    admin = add("admin", _set_admin, "make a user an administrator of the server")
    admin.add_argument("--revoke", action="store_true", help="make an administrator an ordinary user")


def _carry_out(arguments: argparse.Namespace, *, work: Work, reactor: Any) -> int:
    config = chosen_config(arguments)
    localpart = localpart_of(arguments.name, config.server_name)
    if arguments.asks_password:
        arguments.password = _stdin_password() if arguments.password_stdin else _asked_password()
    elif not getattr(arguments, "yes", True):
        _confirm(f"@{localpart}:{config.server_name}")
    make_data_directory(config)

    async def done() -> str:
        async with open_accounts(config, reactor) as accounts:
            return await work(arguments, accounts, localpart)

    print(until_done(done, reactor))
    return 0


async def _create(arguments: argparse.Namespace, accounts: OpenedAccounts, localpart: str) -> str:
    user_id = await accounts.create(localpart, arguments.password, admin=arguments.admin)
    return f"{user_id} {'is an administrator of this server' if arguments.admin else 'has an account'}"


async def _set_password(arguments: argparse.Namespace, accounts: OpenedAccounts, localpart: str) -> str:
    log_out = not arguments.keep_devices
    user_id = await accounts.set_password(localpart, arguments.password, log_out=log_out)
    logged_out = f" and is logged out everywhere{WHILE_RUNNING}" if log_out else ""
    return f"{user_id} has a new password{logged_out}"


async def _deactivate(_arguments: argparse.Namespace, accounts: OpenedAccounts, localpart: str) -> str:
    return f"{await accounts.deactivate(localpart)} is deactivated{WHILE_RUNNING}"


async def _set_admin(arguments: argparse.Namespace, accounts: OpenedAccounts, localpart: str) -> str:
    user_id = await accounts.set_admin(localpart, admin=not arguments.revoke)
    what = "is no administrator any more" if arguments.revoke else "is an administrator of this server"
    return f"{user_id} {what}{WHILE_RUNNING}"


def localpart_of(name: str, server_name: str) -> str:
    """The localpart in `alice` or `@alice:example.org`. Raises `Problem` for a user of another server."""
    if not name.startswith("@"):
        return name
    localpart, _, server = name[1:].partition(":")
    if server and server != server_name:
        raise Problem(f"{name} is not a user of this server, which is {server_name}")
    return localpart


def _stdin_password() -> str:
    line = sys.stdin.buffer.readline(4 * LONGEST_PASSWORD + 2)
    try:
        return _checked(line.decode("utf-8").removesuffix("\n").removesuffix("\r"))
    except UnicodeDecodeError:
        raise Problem("the password is not in UTF-8") from None


def _asked_password() -> str:
    if not sys.stdin.isatty():
        raise Problem("there is no terminal to ask for the password: use --password-stdin")
    password = _checked(getpass.getpass("Password: "))
    if getpass.getpass("Again: ") != password:
        raise Problem("the two passwords differ")
    return password


def _checked(password: str) -> str:
    if not password:
        raise Problem("the password is empty")
    if len(password) > LONGEST_PASSWORD:
        raise Problem(f"the password is longer than {LONGEST_PASSWORD} characters")
    return password


def _confirm(user_id: str) -> None:
    if not sys.stdin.isatty():
        raise Problem("there is no terminal to ask whether that is meant: use --yes")
    if input(f"End the account {user_id} for ever? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Problem("nothing was done")
