# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged survives a server that is killed: once, with its transaction id and every token."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import DatabaseHome
from tests.support.load import Load
from tests.support.process import ServerProcess

KILLS = 10
WRITERS = 20


@pytest.fixture
def server(database_home: DatabaseHome, tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server", database_home.configuration())
    server.start()
    yield server
    server.remove()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_was_acknowledged_survives_ten_kills(server: ServerProcess) -> None:
    load = Load(server, writers=WRITERS, rooms=4)
    moments = random.Random(4)
    for _ in range(KILLS):
        load.until_acknowledged(2 * WRITERS, seconds=20)
        time.sleep(moments.uniform(0, 0.2))
        server.kill()
        server.start()
    load.until_acknowledged(2 * WRITERS, seconds=20)
    load.end()
    load.check()
    assert load.acknowledged > 2 * WRITERS * KILLS
    assert load.refused == 0
