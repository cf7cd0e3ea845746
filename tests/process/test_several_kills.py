# SPDX-License-Identifier: Apache-2.0
"""Three processes behind a balancer, each of which is killed: all is there once and in order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.databases import DatabaseHome
from tests.support.load import Load
from tests.support.postgres_cluster import Cluster
from tests.support.server_processes import ServerProcesses
from tests.support.several import check_logs, check_refusals, check_same_everywhere

KILLS = 10
WRITERS = 50
ROOMS = 12
MOVED_SECONDS = 10
"""In so many seconds at the most every room takes messages again."""


@pytest.fixture
def servers(
    private_cluster: Callable[..., Cluster], database_homes: Callable[..., DatabaseHome], tmp_path: Path
) -> Iterator[ServerProcesses]:
    home = database_homes(cluster=private_cluster(durable=True))
    made = ServerProcesses(tmp_path, home.configuration(), count=3)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("engine", ["postgresql"])
def test_what_was_acknowledged_survives_ten_kills(servers: ServerProcesses, engine: str) -> None:
    load = Load(servers, writers=WRITERS, rooms=ROOMS, pause=0.4)
    moments = random.Random(4)
    for kill in range(KILLS):
        load.until_acknowledged(WRITERS, seconds=20)
        time.sleep(moments.uniform(0, 0.2))
        killed = time.monotonic()
        servers.kill(kill % 3)
        servers.server(kill % 3).launch()
        load.until_every_room_accepts(killed, seconds=MOVED_SECONDS)
        servers.server(kill % 3).wait_until_it_answers()
    load.until_acknowledged(WRITERS, seconds=20)
    load.end()
    load.check()
    check_same_everywhere(load, servers.servers)
    check_refusals(load)
    check_logs(servers.servers)
    assert load.acknowledged > WRITERS * KILLS
