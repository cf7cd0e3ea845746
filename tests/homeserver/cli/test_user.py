# SPDX-License-Identifier: Apache-2.0
"""`trellis user`: the command line of it; what it does to accounts is tested where accounts are."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.homeserver.cli.conftest import SMALL, environment


def accounts(directory: Path) -> Any:
    return json.loads((directory / "trellis-data" / "homeserver.json").read_text(encoding="utf-8"))


def test_the_life_of_an_account(trellis: Any, tmp_path: Path) -> None:
    done = trellis("user", "create", "alice", "--admin", "--password-stdin", stdin="correct horse\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "@alice:localhost is an administrator of this server\n"
    assert accounts(tmp_path)["alice"] == {"password": "correct horse", "admin": True}

    done = trellis("user", "password", "@alice:localhost", "--password-stdin", stdin="bättery\r\n")
    assert done.stdout == "@alice:localhost has a new password and is logged out everywhere\n"
    assert accounts(tmp_path)["alice"]["password"] == "bättery"
    assert accounts(tmp_path)["alice"]["logged_out"]

    done = trellis("user", "admin", "alice", "--revoke")
    assert done.stdout == "@alice:localhost is no administrator any more\n"
    assert not accounts(tmp_path)["alice"]["admin"]

    done = trellis("user", "deactivate", "alice", "--erase", "--yes")
    assert done.stdout == "@alice:localhost is deactivated\n"
    assert accounts(tmp_path)["alice"]["erased"]


def test_devices_can_be_kept(trellis: Any, tmp_path: Path) -> None:
    trellis("user", "create", "bob", "--password-stdin", stdin="one")
    done = trellis("user", "password", "bob", "--keep-devices", "--password-stdin", stdin="two")
    assert done.stdout == "@bob:localhost has a new password\n"
    assert accounts(tmp_path)["bob"] == {"password": "two", "admin": False, "logged_out": False}


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
    assert (done.returncode, done.stderr) == (1, "trellis: the name dave is taken\n")
    done = trellis("user", "admin", "carol")
    assert (done.returncode, done.stderr) == (1, "trellis: there is no user carol\n")


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


def test_a_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    status, text = at_a_terminal(tmp_path, ["user", "create", "erin"], ["xyzzy", "xyzzy"])
    assert status == 0
    assert "xyzzy" not in text
    assert accounts(tmp_path)["erin"]["password"] == "xyzzy"
    status, text = at_a_terminal(tmp_path, ["user", "create", "frank"], ["xyzzy", "plugh"])
    assert status == 1
    assert "the two passwords differ" in text
    assert "frank" not in accounts(tmp_path)


def test_the_end_of_an_account_is_asked_for(tmp_path: Path, trellis: Any) -> None:
    trellis("user", "create", "grace", "--password-stdin", stdin="x")
    status, text = at_a_terminal(tmp_path, ["user", "deactivate", "grace"], ["n"])
    assert status == 1
    assert "End the account @grace:localhost for ever?" in text
    assert "deactivated" not in accounts(tmp_path)["grace"]
    status, _ = at_a_terminal(tmp_path, ["user", "deactivate", "grace"], ["y"])
    assert status == 0
    assert accounts(tmp_path)["grace"]["deactivated"]
