# SPDX-License-Identifier: Apache-2.0
"""A database that fails under load: clear refusals, nothing lost, and service again without a hand."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import DatabaseHome
from tests.support.load import Load
from tests.support.postgres_cluster import Cluster
from tests.support.process import ProcessClient, ServerProcess

WRITERS = 10
ANSWER_SECONDS = 6
"""No answer may take longer than this, on a machine that others use too.

It takes three seconds until the server gives up finding out whether something was written.
"""

LOGIN = {
    "type": "m.login.password",
    "identifier": {"type": "m.id.user", "user": "owner"},
    "password": "password",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, where the machine lets us mount one."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def cluster(private_cluster: Callable[..., Cluster]) -> Cluster:
    """A PostgreSQL that syncs what it writes."""
    return private_cluster(durable=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on a database of `disk` or of `cluster`, whichever the test asks for as well."""
    if "disk" in request.fixturenames:
        path = request.getfixturevalue("disk") / "homeserver.db"
        database: dict[str, Any] = {"name": "sqlite3", "args": {"database": str(path)}}
    else:
        homes: Callable[..., DatabaseHome] = request.getfixturevalue("database_homes")
        database = homes(cluster=request.getfixturevalue("cluster")).configuration()
    server = ServerProcess(tmp_path / "server", database)
    server.start()
    yield server
    server.remove()


def fill(disk: Path) -> Path:
    """Leave no room on the disk; returns the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (100_000, 4_096):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass
    return ballast


def check_answers(client: ProcessClient, requests: list[tuple[str, str, Any]], *statuses: int) -> None:
    """Each request is answered soon with one of these statuses, and a refusal with a reason."""
    for method, path, body in requests:
        began = time.monotonic()
        answer = client.request(method, path, body)
        assert time.monotonic() - began < ANSWER_SECONDS
        assert answer.status in statuses, (method, path, answer)
        if answer.status != 200:
            assert answer.json["errcode"] == "M_UNKNOWN"
            assert "database" in answer.json["error"]
            assert int(answer.headers["Retry-After"]) > 0


def writes(room_id: str) -> list[tuple[str, str, Any]]:
    """Requests that must write."""
    base = "/_matrix/client/v3"
    return [
        ("POST", f"{base}/createRoom", {}),
        ("PUT", f"{base}/rooms/{room_id}/state/m.room.topic/", {"topic": str(time.time())}),
        ("POST", f"{base}/login", LOGIN),
    ]


@pytest.mark.parametrize("engine", ["sqlite"])
def test_a_full_disk(server: ServerProcess, disk: Path, engine: str) -> None:
    load = Load(server, writers=WRITERS, rooms=2)
    load.until_acknowledged(50, seconds=20)
    ballast = fill(disk)
    load.until_refused(5 * WRITERS, seconds=20)
    # What is small may still find room in the log.
    check_answers(load.owner, writes(load.room_ids[0]), 200, 503)
    # What is on the disk can still be read.
    check_answers(load.owner, [("GET", "/_matrix/client/v3/sync", None)], 200)
    ballast.unlink()
    load.until_acknowledged(50, seconds=10)
    load.end()
    load.check()
    assert load.longest < ANSWER_SECONDS


@pytest.mark.parametrize("engine", ["sqlite"])
def test_a_server_that_starts_on_a_full_disk_says_so(server: ServerProcess, disk: Path, engine: str) -> None:
    owner = server.register("owner")
    room_id = owner.create_room()
    server.kill()
    owner.close()
    ballast = fill(disk)
    try:
        server.start()
    except AssertionError:
        assert "disk is full" in server.log()
        assert "Traceback" not in server.log()
        server.remove()
    else:
        check_answers(owner, writes(room_id), 200, 503)
        server.kill()
        owner.close()
    ballast.unlink()
    server.start()
    check_answers(owner, writes(room_id), 200)


@pytest.mark.parametrize("engine", ["postgresql"])
def test_a_postgresql_that_goes_and_comes_back(server: ServerProcess, cluster: Cluster, engine: str) -> None:
    load = Load(server, writers=WRITERS, rooms=2)
    for end in (cluster.stop, cluster.kill, cluster.kill):
        load.until_acknowledged(50, seconds=20)
        end()
        load.until_refused(3 * WRITERS, seconds=20)
        check_answers(load.owner, writes(load.room_ids[0]), 503)
        check_answers(load.owner, [("GET", "/_matrix/client/versions", None)], 200)
        cluster.start()
    load.until_acknowledged(50, seconds=15)
    load.end()
    load.check()
    assert load.longest < ANSWER_SECONDS


@pytest.mark.parametrize("engine", ["postgresql"])
def test_sessions_that_postgresql_ends(server: ServerProcess, cluster: Cluster, engine: str) -> None:
    """As an administrator or a proxy does, in the middle of whatever they are at."""
    load = Load(server, writers=WRITERS, rooms=2)
    for _ in range(20):
        load.until_acknowledged(WRITERS, seconds=20)
        cluster.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trellis'"
        )
    load.until_acknowledged(50, seconds=10)
    load.end()
    load.check()
    assert load.longest < ANSWER_SECONDS
