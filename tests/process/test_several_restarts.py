# SPDX-License-Identifier: Apache-2.0
"""All processes of a homeserver are replaced, one after the other, and no client notices."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.databases import DatabaseHome
from tests.support.load import Load, Persistence
from tests.support.process import ServerProcess
from tests.support.server_processes import ServerProcesses
from tests.support.several import check_logs, check_same_everywhere, until

PROCESSES = 3
WRITERS = 20
POLLS = 10
POLL_MS = 2500

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.parametrize("engine", ["postgresql"])]


@pytest.fixture
def home(database_homes: Callable[..., DatabaseHome]) -> DatabaseHome:
    return database_homes()


@contextmanager
def polling(server: ServerProcess | ServerProcesses) -> Iterator[list[Persistence]]:
    """Users for whom there is never news, each of whom always waits for some."""
    stop = threading.Event()
    quiet = server.register("quiet")
    since = quiet.json("GET", "/_matrix/client/v3/sync")["next_batch"]
    askings = [Persistence(server.client(quiet.token), stop) for _ in range(POLLS)]

    def poll(asking: Persistence) -> None:
        token = since
        while not stop.is_set():
            answer = asking.ask("GET", "/_matrix/client/v3/sync", since=token, timeout=POLL_MS)
            if answer is None:
                return
            if any(answer.json["rooms"].values()):
                asking.trouble.append(answer)
            token = answer.json["next_batch"]

    threads = [threading.Thread(target=poll, args=(asking,), daemon=True) for asking in askings]
    for thread in threads:
        thread.start()
    yield askings
    stop.set()
    for thread in threads:
        thread.join(POLL_MS / 1000 + 10)
        assert not thread.is_alive()


def check_nobody_noticed(load: Load, polls: list[Persistence]) -> None:
    for asking in (*load.askings, *polls):
        assert (asking.trouble, asking.refusals, asking.unanswered) == ([], [], [])


def test_processes_that_are_restarted_behind_a_balancer(
    home: DatabaseHome, tmp_path: Path, engine: str
) -> None:
    servers = ServerProcesses(tmp_path, home.configuration(), count=PROCESSES)
    try:
        servers.start()
        load = Load(servers, writers=WRITERS, rooms=6, pause=0.2)
        with polling(servers) as polls:
            for i in range(PROCESSES):
                load.until_acknowledged(3 * WRITERS, seconds=20)
                servers.ask_to_stop(i)
                assert servers.wait(i) == 0
                servers.start_one(i)
                until(
                    lambda i=i: f"Server processes/p{i} is UP" in servers.balancer.log(), "it is asked again"
                )
            load.until_acknowledged(3 * WRITERS, seconds=20)
            load.end()
        check_nobody_noticed(load, polls)
        load.check()
        check_same_everywhere(load, servers.servers)
        check_logs(servers.servers)
        assert [] == []
    finally:
        servers.remove()


def test_processes_that_their_parent_replaces(home: DatabaseHome, tmp_path: Path, engine: str) -> None:
    server = ServerProcess(tmp_path / "server", home.configuration(), options=("--processes", str(PROCESSES)))
    try:
        server.start()
        until(lambda: "(3 processes)" in server.log(), "all processes serve", seconds=30)
        load = Load(server, writers=WRITERS, rooms=6, pause=0.2)
        with polling(server) as polls:
            load.until_acknowledged(3 * WRITERS, seconds=20)
            assert server.process is not None
            server.process.send_signal(signal.SIGUSR1)
            until(lambda: "All processes have been replaced" in server.log(), "new processes", seconds=60)
            load.until_acknowledged(3 * WRITERS, seconds=20)
            load.end()
        check_nobody_noticed(load, polls)
        load.check()
        server.ask_to_stop()
        assert server.wait() == 0
        check_logs([server])
    finally:
        server.remove()
