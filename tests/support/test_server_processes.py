# SPDX-License-Identifier: Apache-2.0
"""Whoever asks the balancer is answered whichever process is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.databases import DatabaseHome
from tests.support.process import ProcessClient
from tests.support.server_processes import ServerProcesses

VERSIONS = "/_matrix/client/versions"


@pytest.fixture
def servers(database_home: DatabaseHome, tmp_path: Path) -> Iterator[ServerProcesses]:
    made = ServerProcesses(tmp_path, database_home.configuration())
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("engine", ["postgresql"])
def test_all_requests_are_answered_while_one_process_is_away(servers: ServerProcesses, engine: str) -> None:
    client = servers.client()
    answered_always(client)
    servers.kill(0)
    answered_always(client)
    servers.start_one(0)
    servers.ask_to_stop(1)
    answered_always(client)
    assert servers.wait(1) == 0
    answered_always(client)
    servers.start_one(1)
    servers.server(1).client().json("GET", VERSIONS)
    assert "Traceback" not in servers.log()


@pytest.mark.parametrize("engine", ["postgresql"])
def test_a_paused_process_gets_no_requests(servers: ServerProcesses, engine: str) -> None:
    servers.pause(1)
    until(lambda: "Server processes/p1 is DOWN" in servers.balancer.log())
    answered_always(servers.client())
    servers.resume(1)
    until(lambda: "Server processes/p1 is UP" in servers.balancer.log())
    answered_always(servers.client())


def answered_always(client: ProcessClient) -> None:
    for _ in range(6):
        client.json("GET", VERSIONS)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
