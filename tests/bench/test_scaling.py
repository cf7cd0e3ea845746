# SPDX-License-Identifier: Apache-2.0
"""What the figures of several processes are read with. Run by name: `pytest tests/bench/test_scaling.py`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.bench.load.connection import Address, connections
from tests.bench.options import read_options
from tests.bench.scaling.committing import Task
from tests.bench.scaling.loops import RATE, medians, ratio
from tests.bench.scaling.meter import Meter
from tests.bench.scaling.sockets import listening_ports
from tests.bench.servers.process import ChildProcess, Command

FOUND = {
    "one": [{RATE: 100.0, "p50, ms": 3.0}, {RATE: 50.0, "p50, ms": 5.0}, {RATE: 80.0, "p50, ms": 4.0}],
    "two": [{RATE: 150.0, "p50, ms": 1.0}, {RATE: 100.0, "p50, ms": 2.0}, {RATE: 40.0, "p50, ms": 9.0}],
}


def test_ratios_are_taken_within_a_turn() -> None:
    assert ratio(FOUND, "two", "one") == 1.5  # of 1.5, 2 and 0.5; that of the medians is 1.25


def test_each_thing_has_its_median() -> None:
    assert medians(FOUND) == {
        f"one: {RATE}": 80.0,
        "one: p50, ms": 4.0,
        f"two: {RATE}": 100.0,
        "two: p50, ms": 2.0,
    }


def test_the_port_of_a_process_is_found() -> None:
    with socket.socket() as listening, socket.socket() as idle:
        listening.bind(("127.0.0.1", 0))
        idle.bind(("127.0.0.1", 0))
        listening.listen()
        found = listening_ports([os.getpid()])
        assert listening.getsockname()[1] in found
        assert idle.getsockname()[1] not in found


def test_connections_take_turns_at_addresses() -> None:
    accepted: list[int] = []

    async def count() -> None:
        servers = []
        for number in range(2):

            def connected(_reader: object, writer: asyncio.StreamWriter, number: int = number) -> None:
                accepted.append(number)
                writer.close()

            servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        addresses = [Address(*server.sockets[0].getsockname()[:2]) for server in servers]
        async with connections(addresses, 105) as opened:
            assert len(opened) == 105
            while len(accepted) < 105:
                await asyncio.sleep(0.01)
        for server in servers:
            server.close()

    asyncio.run(asyncio.wait_for(count(), 20))
    assert sorted(accepted) == [0] * 53 + [1] * 52


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_meter_tells_who_worked(tmp_path: Path) -> None:
    cores = frozenset(os.sched_getaffinity(0))
    worker = "import time\nwhile time.process_time() < 0.5: pass\ntime.sleep(20)"
    processes = [
        ChildProcess(Command([sys.executable, "-c", code], tmp_path), cores=cores, log=tmp_path / "log")
        for code in (worker, "import time; time.sleep(20)")
    ]
    try:
        meter = Meter(processes[:1], processes[1], cores)
        deadline = time.monotonic() + 15
        while meter.read()["server 0"] < 0.4 and time.monotonic() < deadline:
            time.sleep(0.05)
        read = meter.read()
    finally:
        for process in processes:
            process.end()
    assert 0.4 <= read["server 0"] < 1.0
    assert read["database"] < 0.3
    assert 0.0 <= read["others"] <= 1.0


def test_a_task_comes_back_as_it_was() -> None:
    task = Task(process=2, database={"name": "psycopg2"}, begin=1.5, seconds=3.0, in_flight=4)
    assert Task.decode(task.encode()) == task


def test_the_group_is_asked_for_by_its_name() -> None:
    names = [figure.name for figure in read_options(["--figures", "scaling"]).figures]
    assert names == ["scaling-sends", "scaling-reads", "scaling-seen", "scaling-polls", "scaling-commits"]
    assert not any(figure.group == "scaling" for figure in read_options(["--heavy"]).figures)
