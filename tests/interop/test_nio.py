# SPDX-License-Identifier: Apache-2.0
"""matrix-nio, a client library that others wrote, against a server that is a process of its own, or two."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.environments import environment_with
from tests.support.databases import CLIENT_ENGINES, TWO, DatabaseHome
from tests.support.process import SERVER_NAME, ServerProcess
from tests.support.server_processes import ServerProcesses

Server = ServerProcess | ServerProcesses

DRIVER = Path(__file__).with_name("nio_driver.py")
STEPS = 30


@pytest.fixture(scope="module")
def interpreter() -> Path:
    """The interpreter of an environment with matrix-nio."""
    return environment_with("matrix-nio")


@pytest.fixture(params=CLIENT_ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn, and two processes on one."""
    return str(request.param)


@pytest.fixture
def server(engine: str, database_home: DatabaseHome, tmp_path: Path) -> Iterator[Server]:
    """A server on which anybody may register; two processes take turns at the requests of `TWO`."""
    kind = ServerProcesses if engine == TWO else ServerProcess
    server = kind(
        tmp_path / "server",
        database_home.configuration(),
        enable_registration=True,
        enable_registration_without_verification=True,
    )
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.mark.interop
@pytest.mark.timeout(400)
def test_two_people_chat(interpreter: Path, server: Server) -> None:
    """Every step of the driver passes, and none of them made the server fail."""
    check_scenario(interpreter, server, server.url)


@pytest.mark.interop
@pytest.mark.timeout(400)
@pytest.mark.parametrize("engine", [TWO])
def test_two_people_chat_over_two_processes(interpreter: Path, server: ServerProcesses) -> None:
    """The same where each of them always asks another process."""
    check_scenario(interpreter, server, server.server(0).url, server.server(1).url)


def check_scenario(interpreter: Path, server: Server, *urls: str) -> None:
    done = subprocess.run(
        [str(interpreter), str(DRIVER), SERVER_NAME, *urls],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == STEPS, done.stdout
    assert "Traceback" not in server.log()
