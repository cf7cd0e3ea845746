# SPDX-License-Identifier: Apache-2.0
"""A process that stood still for longer than commits are kept for it starts anew."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.databases import DatabaseHome
from tests.support.postgres_cluster import run_sql
from tests.support.process import ServerProcess
from tests.support.several import check_logs, event_ids, owner_among, pid_of, process_ids, until

END_NOTICES = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trellis notices'"
)
READY = re.compile(r"Process 2 \(pid \d+\) is ready")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.parametrize("engine", ["postgresql"])]


@pytest.fixture
def home(database_homes: Callable[..., DatabaseHome]) -> DatabaseHome:
    return database_homes()


def children(server: ServerProcess) -> list[int]:
    pid = pid_of(server)
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def test_a_process_that_has_lost_the_thread_is_started_again(
    home: DatabaseHome, tmp_path: Path, engine: str
) -> None:
    database = dict(home.settings.arguments)
    server = ServerProcess(tmp_path / "server", home.configuration(), options=("--processes", "2"))
    try:
        server.start()
        until(lambda: "(2 processes)" in server.log(), "both serve", seconds=30)
        alice = server.register("alice")
        first, second = children(server)
        ids = process_ids(database, [first, second])
        room_id = next(room for _ in range(50) if owner_among(room := alice.create_room(), ids) == 0)
        alice.close()
        os.kill(second, signal.SIGSTOP)
        run_sql(database, END_NOTICES)  # which may carry what was committed
        sent = [alice.send(room_id, name, name).json["event_id"] for name in ("one", "two")]
        run_sql(database, "DELETE FROM commit_log")
        os.kill(second, signal.SIGCONT)
        until(lambda: f"(pid {second}) has ended with status 1" in server.log(), "it has ended", seconds=20)
        assert "is no longer in the log of commits" in server.log()
        until(lambda: READY.search(server.log()), "it is started again", seconds=20)
        assert children(server)[0] == first
        for _ in range(6):  # the one or the other
            reader = server.client(alice.token)
            assert event_ids(reader, room_id)[-2:] == sent
            state = reader.json("GET", f"/_matrix/client/v3/rooms/{quote(room_id)}/joined_members")
            assert list(state["joined"]) == [alice.user_id]
        server.ask_to_stop()
        assert server.wait() == 0
        check_logs([server])
    finally:
        server.remove()
