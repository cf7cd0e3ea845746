# SPDX-License-Identifier: Apache-2.0
"""`trellis run --processes 2` as a whole homeserver on PostgreSQL, while its processes come and go."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import psycopg2
import pytest

from storage.gone_processes import remove_gone_process
from tests.support.databases import DatabaseHome
from tests.support.postgres_cluster import free_port
from tests.support.process import environment

VERSIONS = "/_matrix/client/versions"


@attrs.frozen
class Front:
    """A running parent of two processes."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def until(self, words: str, times: int = 1, seconds: float = 30) -> None:
        """Return when the log has these words so many times."""
        deadline = time.monotonic() + seconds
        while self.log.read_text(encoding="utf-8").count(words) < times:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")[-3000:]
            assert time.monotonic() < deadline, self.log.read_text(encoding="utf-8")[-3000:]
            time.sleep(0.05)

    def children(self) -> list[int]:
        """The process ids of the two, the oldest first."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text(encoding="ascii").split()]


@pytest.fixture
def home(database_homes: Callable[..., DatabaseHome], engine: str) -> DatabaseHome:
    """An empty database: the first process makes the tables."""
    return database_homes(migrated=False)


@pytest.fixture
def front(home: DatabaseHome, tmp_path: Path) -> Iterator[Front]:
    port = free_port()
    settings = {
        "server_name": "trellis.test",
        "listeners": [
            {"port": port, "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client", "health"]}]}
        ],
        "database": home.configuration(),
        "signing_key_path": str(tmp_path / "signing.key"),
        "media_store_path": str(tmp_path / "media"),
    }
    config, log = tmp_path / "homeserver.yaml", tmp_path / "homeserver.log"
    config.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "homeserver", "run", "--config", str(config), "--processes", "2"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=output, stderr=output)
    front = Front(process, port, log)
    try:
        front.until(f"Trellis is ready on http://127.0.0.1:{port} as trellis.test (2 processes)\n")
        yield front
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(15)


class Asking:
    """Clients with connections of their own that ask all the time, until the end of the context.

    One whose connection ends with an answer opens another, as every client does; whatever else goes wrong
    is noted.
    """

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.answers = 0
        self.connections = 0
        self.failures: list[object] = []

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(15)

    def _ask(self) -> None:
        while not self._over.is_set():
            self.connections += 1
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            ) as connection:
                connection.connect()
                while not self._over.is_set() and connection.sock is not None:
                    self._once(connection)

    def _once(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.request("GET", VERSIONS)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(error)
            connection.close()
            return
        if answer.status != 200:
            self.failures.append(answer.status)
        self.answers += 1
        time.sleep(0.01)


@pytest.mark.parametrize("engine", ["postgresql"])
def test_no_request_fails_while_processes_are_replaced(front: Front, engine: str) -> None:
    before = front.children()
    with Asking(front.port, 8) as asking:
        time.sleep(0.3)
        front.process.send_signal(signal.SIGUSR1)
        front.until("All processes have been replaced")
        time.sleep(0.3)
    assert asking.failures == []
    assert asking.answers > 200
    assert asking.connections >= 16  # each had to go elsewhere at least once
    assert not set(before) & set(front.children())
    front.process.terminate()
    assert front.process.wait(15) == 0
    assert "Traceback" not in front.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("engine", ["postgresql"])
def test_the_others_serve_when_one_is_killed(front: Front, engine: str) -> None:
    first, second = front.children()
    os.kill(first, signal.SIGKILL)
    front.until(f"(pid {first}) has ended by SIGKILL; it is started again at once")
    with Asking(front.port, 4) as asking:
        front.until("is ready\n", 1)
        time.sleep(0.3)
    assert asking.failures == []
    assert asking.answers > 20
    assert len(front.children()) == 2
    assert second in front.children()
    front.process.terminate()
    assert front.process.wait(15) == 0


@pytest.mark.parametrize("engine", ["postgresql"])
def test_the_dead_are_taken_out_of_the_database(engine: str, database_home: DatabaseHome) -> None:
    arguments = database_home.settings.arguments
    with contextlib.closing(psycopg2.connect(**arguments)) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO processes (process, address) VALUES ('dead', 'a:1'), ('alive', 'b:1')")
        connection.commit()
        remove_gone_process(arguments, "dead")
        cursor.execute("SELECT process FROM processes")
        assert cursor.fetchall() == [("alive",)]
