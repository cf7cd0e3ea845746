# SPDX-License-Identifier: Apache-2.0
"""matrix-nio, a client library that others wrote, against a server that is a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.environments import environment_with
from tests.support.databases import DatabaseHome
from tests.support.process import SERVER_NAME, ServerProcess

DRIVER = Path(__file__).with_name("nio_driver.py")
STEPS = 30


@pytest.fixture(scope="module")
def interpreter() -> Path:
    """The interpreter of an environment with matrix-nio."""
    return environment_with("matrix-nio")


@pytest.fixture
def server(database_home: DatabaseHome, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on which anybody may register."""
    server = ServerProcess(
        tmp_path / "server",
        database_home.configuration(),
        enable_registration=True,
        enable_registration_without_verification=True,
    )
    server.start()
    yield server
    server.remove()


@pytest.mark.interop
@pytest.mark.timeout(400)
def test_two_people_chat(interpreter: Path, server: ServerProcess) -> None:
    """Every step of the driver passes, and none of them made the server fail."""
    done = subprocess.run(
        [str(interpreter), str(DRIVER), server.url, SERVER_NAME],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == STEPS, done.stdout
    assert "Traceback" not in server.log()
