# SPDX-License-Identifier: Apache-2.0
"""Two processes that do not hear of each other, or not of their database, for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.databases import DatabaseHome
from tests.support.load import Load
from tests.support.postgres_cluster import Cluster, run_sql
from tests.support.process import ProcessClient
from tests.support.redis_server import RedisServer
from tests.support.server_processes import ServerProcesses
from tests.support.several import (
    check_logs,
    check_refusals,
    check_same_everywhere,
    owner_among,
    pid_of,
    process_ids,
    until,
)

SEEN_SECONDS = 3
CAUGHT_UP_SECONDS = 10
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'trellis notices'"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.parametrize("engine", ["postgresql"])]


@pytest.fixture
def cluster(private_cluster: Callable[..., Cluster]) -> Cluster:
    return private_cluster(durable=True)


@pytest.fixture
def start(
    cluster: Cluster, database_homes: Callable[..., DatabaseHome], tmp_path: Path
) -> Iterator[Callable[..., Two]]:
    """Starts two processes, with these further settings."""
    homes = database_homes(cluster=cluster)
    made: list[ServerProcesses] = []

    def start(**settings: Any) -> Two:
        made.append(ServerProcesses(tmp_path, homes.configuration(), **settings))
        made[0].start()
        return Two(made[0], dict(homes.settings.arguments))

    yield start
    made[0].remove()


@attrs.frozen
class Two:
    """Two processes and the arguments that lead to their database."""

    servers: ServerProcesses
    arguments: dict[str, str | int]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return run_sql(self.arguments, statement)

    def pids(self) -> list[int]:
        return [pid_of(server) for server in self.servers.servers]

    def room_of_the_first(self, owner: ProcessClient) -> str:
        """A room that the first of them owns."""
        ids = process_ids(self.arguments, self.pids())
        return next(room for _ in range(50) if owner_among(room := owner.create_room(), ids) == 0)


class Watcher:
    """Reads along at the second process what alice writes at the first."""

    def __init__(self, two: Two) -> None:
        servers = two.servers
        alice = servers.register("alice")
        self.room_id = two.room_of_the_first(alice)
        self._writer, self._reader = (server.client(alice.token) for server in servers.servers)
        self._since = self._reader.json("GET", "/_matrix/client/v3/sync")["next_batch"]
        self._number = 0

    def check_seen(self, lose: Callable[[], None]) -> None:
        """A message that is sent right after `lose` wakes a long poll of the second process soon."""
        self._number += 1
        seen: dict[str, float] = {}
        thread = threading.Thread(target=self._read, args=(f"message {self._number}", seen), daemon=True)
        thread.start()
        time.sleep(0.3)
        lose()
        began = time.monotonic()
        assert self._writer.send(self.room_id, f"{self._number}", f"message {self._number}").status == 200
        thread.join(SEEN_SECONDS + 5)
        assert seen["at"] - began < SEEN_SECONDS

    def _read(self, body: str, seen: dict[str, float]) -> None:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            answer = self._reader.json("GET", "/_matrix/client/v3/sync", since=self._since, timeout=10_000)
            self._since = answer["next_batch"]
            room = answer["rooms"]["join"].get(self.room_id, {"timeline": {"events": []}})
            if any(event["content"].get("body") == body for event in room["timeline"]["events"]):
                seen["at"] = time.monotonic()
                return


def check_caught_up(load: Load) -> None:
    """Whoever reads along has in time what was acknowledged up to now."""
    acknowledged = {event_id for writer in load.writers for event_id in [*writer.acknowledged.values()]}

    def has_all() -> bool:
        return acknowledged <= {event_id for seen in [*load.follower.seen.values()] for event_id in [*seen]}

    until(has_all, "the reader has caught up", seconds=CAUGHT_UP_SECONDS)


def check_goes_on(load: Load, since: float) -> None:
    load.until_every_room_accepts(since, seconds=CAUGHT_UP_SECONDS)
    check_caught_up(load)


def check_all(two: Two, load: Load, pids: list[int]) -> None:
    """All is there, and no process has ended or was started anew."""
    load.end()
    load.check()
    check_same_everywhere(load, two.servers.servers)
    check_refusals(load)
    check_logs(two.servers.servers)
    assert two.pids() == pids
    assert all(server.process is not None and server.process.poll() is None for server in two.servers.servers)


def test_a_lost_notification_holds_up_nobody(start: Callable[..., Two], engine: str) -> None:
    two = start()
    watcher = Watcher(two)
    until(lambda: len(two.sql(LISTENERS)) == 2, "both listen")
    watcher.check_seen(lambda: None)
    for _ in range(3):
        watcher.check_seen(
            lambda: [two.sql(f"SELECT pg_terminate_backend({p})") for (p,) in two.sql(LISTENERS)]
        )
    check_logs(two.servers.servers)


def listeners_of(server: RedisServer) -> int:
    return server.command(b"CLIENT", b"LIST", b"TYPE", b"pubsub").count(b" sub=1 ")


def test_a_redis_that_goes_and_comes_back(
    start: Callable[..., Two], redis_server: RedisServer, engine: str
) -> None:
    two = start(redis={"enabled": True, "host": "127.0.0.1", "port": redis_server.port})
    until(lambda: listeners_of(redis_server) == 2, "both listen")
    pids = two.pids()
    watcher = Watcher(two)
    load = Load(two.servers, writers=12, rooms=4, pause=0.2)
    watcher.check_seen(lambda: None)
    watcher.check_seen(lambda: redis_server.command(b"CLIENT", b"KILL", b"TYPE", b"pubsub"))
    watcher.check_seen(redis_server.pause)
    redis_server.go_on()
    watcher.check_seen(redis_server.kill)
    watcher.check_seen(lambda: None)
    redis_server.start()
    check_goes_on(load, time.monotonic())
    until(lambda: listeners_of(redis_server) == 2, "both listen again")
    watcher.check_seen(lambda: None)
    check_all(two, load, pids)


def test_a_postgresql_that_goes_and_comes_back(
    start: Callable[..., Two], cluster: Cluster, engine: str
) -> None:
    two = start()
    pids = two.pids()
    load = Load(two.servers, writers=12, rooms=4, pause=0.2)
    for end in (cluster.stop, cluster.kill):
        load.until_acknowledged(24, seconds=20)
        end()
        load.until_refused(12, seconds=20)
        cluster.start()
        check_goes_on(load, time.monotonic())
    check_all(two, load, pids)
