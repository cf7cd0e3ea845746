# SPDX-License-Identifier: Apache-2.0
"""`trellis user`: accounts made and changed from the command line."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import argon2
import attrs
import pytest
from twisted.internet import reactor

from homeserver.accounts.logins import DeviceChoice, Logins
from storage.accounts import Account
from storage.engine.database import DatabaseSettings
from storage.engine.opening import open_database
from storage.stores import Storage
from tests.homeserver.cli.conftest import SMALL, environment
from tests.support.storing import storing_over


@attrs.frozen
class Kept:
    """What the database holds of an account."""

    account: Account
    devices: int
    password_is: Callable[[str], bool]


async def read(path: Path, user_id: str) -> Kept | None:
    """An account of an SQLite database that no server has open."""
    database = await open_database(DatabaseSettings(engine="sqlite", path=str(path)), reactor=reactor)
    try:
        storage = Storage.over(database)
        number = (await storage.strings.find((user_id,))).get(user_id)
        account = None if number is None else await storage.accounts.get(number)
        if account is None:
            return None
        devices = len(await storage.devices.of_account(account.account))
        return Kept(account, devices, lambda password: verifies(account.password_hash, password))
    finally:
        await database.close()


def verifies(password_hash: str | None, password: str) -> bool:
    """Whether an argon2id hash is of a password, by the library alone."""
    assert password_hash is not None
    assert password_hash.startswith("$argon2id$")
    try:
        return argon2.PasswordHasher().verify(password_hash, password)
    except argon2.exceptions.VerifyMismatchError:
        return False


@pytest.fixture
def kept(tmp_path: Path, run: Any) -> Callable[[str], Kept | None]:
    """Reads an account of the database that the defaults name."""
    path = tmp_path / "trellis-data" / "homeserver.db"
    return lambda localpart: run(read(path, f"@{localpart}:localhost"))


def test_the_life_of_an_account(trellis: Any, kept: Any) -> None:
    done = trellis("user", "create", "Alice", "--admin", "--password-stdin", stdin="correct horse\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "@alice:localhost is an administrator of this server\n"
    assert kept("alice").account.is_admin
    assert kept("alice").password_is("correct horse")

    done = trellis("user", "password", "@alice:localhost", "--password-stdin", stdin="bättery\r\n")
    assert done.stdout.startswith("@alice:localhost has a new password and is logged out everywhere")
    assert kept("alice").password_is("bättery")
    assert not kept("alice").password_is("correct horse")

    done = trellis("user", "admin", "alice", "--revoke")
    assert done.stdout.startswith("@alice:localhost is no administrator any more")
    assert not kept("alice").account.is_admin

    done = trellis("user", "deactivate", "alice", "--yes")
    assert done.stdout.startswith("@alice:localhost is deactivated")
    assert kept("alice").account.is_deactivated
    assert kept("alice").account.password_hash is None

    done = trellis("user", "password", "alice", "--password-stdin", stdin="x")
    assert (done.returncode, done.stderr) == (1, "trellis: @alice:localhost is deactivated\n")


async def log_in(path: Path, user_id: str) -> None:
    """Give an account a device."""
    database = await open_database(DatabaseSettings(engine="sqlite", path=str(path)), reactor=reactor)
    storing = storing_over(database)
    logins = Logins(
        devices=storing.storage.devices, write_queue=storing.queue, clock=reactor, access_token_lifetime=None
    )
    number = (await storing.storage.strings.find((user_id,)))[user_id]
    await logins.log_in(number, DeviceChoice())
    await storing.queue.stop()
    await database.close()


def test_devices_can_be_kept(trellis: Any, kept: Any, tmp_path: Path, run: Any) -> None:
    trellis("user", "create", "bob", "--password-stdin", stdin="one")
    run(log_in(tmp_path / "trellis-data" / "homeserver.db", "@bob:localhost"))
    done = trellis("user", "password", "bob", "--keep-devices", "--password-stdin", stdin="two")
    assert done.stdout == "@bob:localhost has a new password\n"
    assert kept("bob").password_is("two")
    assert kept("bob").devices == 1
    trellis("user", "password", "bob", "--password-stdin", stdin="three")
    assert kept("bob").devices == 0


def test_the_pepper_and_the_policy_of_the_configuration_hold(trellis: Any, tmp_path: Path, run: Any) -> None:
    (tmp_path / "homeserver.yaml").write_text(
        "server_name: example.org\n"
        "password_config: {pepper: salty, policy: {enabled: true, minimum_length: 9}}\n",
        encoding="utf-8",
    )
    done = trellis("user", "create", "heidi", "--password-stdin", stdin="too short")
    assert done.returncode == 0
    found = run(read(tmp_path / "homeserver.db", "@heidi:example.org"))
    assert found.password_is("too shortsalty")
    done = trellis("user", "create", "ivan", "--password-stdin", stdin="short")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "trellis: The password must have at least 9 characters\n"


def test_a_database_that_cannot_be_used_is_one_line(trellis: Any, tmp_path: Path) -> None:
    (tmp_path / "homeserver.yaml").write_text(
        "server_name: example.org\ndatabase: {name: sqlite3, args: {database: absent/a.db}}\n",
        encoding="utf-8",
    )
    done = trellis("user", "create", "judy", "--password-stdin", stdin="x")
    assert done.returncode == 1
    assert done.stderr.startswith("trellis: the database cannot be used: the directory ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["create", "carol", "--password-stdin"], "", "the password is empty"),
        (["create", "carol", "--password-stdin"], "x" * 513, "longer than 512"),
        (["create", "carol", "--password-stdin"], b"\xff\xfe\n", "not in UTF-8"),
        (["create", "carol"], "secret\n", "use --password-stdin"),
        (["create", "@carol:example.org", "--password-stdin"], "x", "not a user of this server"),
        (["deactivate", "carol"], "y\n", "use --yes"),
    ],
)
def test_what_is_refused_is_one_line(
    at_once: Any, arguments: list[str], stdin: str | bytes, words: str
) -> None:
    done = at_once("user", *arguments, stdin=stdin)
    assert done.returncode == 1
    assert done.stderr.startswith("trellis: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_what_accounts_refuse(trellis: Any) -> None:
    trellis("user", "create", "dave", "--password-stdin", stdin="x")
    done = trellis("user", "create", "dave", "--password-stdin", stdin="x")
    assert (done.returncode, done.stderr) == (1, "trellis: The user ID is taken\n")
    done = trellis("user", "admin", "carol")
    assert (done.returncode, done.stderr) == (1, "trellis: there is no user carol on this server\n")


def at_a_terminal(directory: Path, arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """Run a command at a terminal of its own, answer each prompt; the exit status and what stood there."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [*SMALL, *arguments],
        cwd=directory,
        env=environment(),
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    text, deadline = "", time.monotonic() + 30
    left = list(answers)
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                piece = os.read(terminal, 4096).decode()
            except OSError:
                break
            text += piece
            if left and piece.rstrip(" ").endswith((":", "]")):
                # The prompt of getpass is written before it turns off the echo and drops what was typed.
                time.sleep(0.2)
                os.write(terminal, f"{left.pop(0)}\n".encode())
    os.close(terminal)
    return process.wait(10), text


def test_a_password_is_asked_for_twice_and_not_shown(tmp_path: Path, kept: Any) -> None:
    status, text = at_a_terminal(tmp_path, ["user", "create", "erin"], ["xyzzy", "xyzzy"])
    assert status == 0
    assert "xyzzy" not in text
    assert kept("erin").password_is("xyzzy")
    status, text = at_a_terminal(tmp_path, ["user", "create", "frank"], ["xyzzy", "plugh"])
    assert status == 1
    assert "the two passwords differ" in text
    assert kept("frank") is None


def test_the_end_of_an_account_is_asked_for(tmp_path: Path, trellis: Any, kept: Any) -> None:
    trellis("user", "create", "grace", "--password-stdin", stdin="x")
    status, text = at_a_terminal(tmp_path, ["user", "deactivate", "grace"], ["n"])
    assert status == 1
    assert "End the account @grace:localhost for ever?" in text
    assert not kept("grace").account.is_deactivated
    status, _ = at_a_terminal(tmp_path, ["user", "deactivate", "grace"], ["y"])
    assert status == 0
    assert kept("grace").account.is_deactivated
