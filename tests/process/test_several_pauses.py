# SPDX-License-Identifier: Apache-2.0
"""One of two processes stands still for half a minute, as a machine does that is moved, and then goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.databases import DatabaseHome
from tests.support.load import Load
from tests.support.process import ProcessClient
from tests.support.server_processes import ServerProcesses
from tests.support.several import (
    check_logs,
    check_refusals,
    check_same_everywhere,
    owner_among,
    pid_of,
    process_ids,
)

WRITERS = 24
ROOMS = 8
PAUSE_SECONDS = 30
MOVED_SECONDS = 10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.parametrize("engine", ["postgresql"])]


@pytest.fixture
def home(database_homes: Callable[..., DatabaseHome]) -> DatabaseHome:
    return database_homes()


@pytest.fixture
def servers(home: DatabaseHome, tmp_path: Path) -> Iterator[ServerProcesses]:
    made = ServerProcesses(tmp_path, home.configuration())
    try:
        made.start()
        yield made
    finally:
        made.remove()


def topic_path(room_id: str) -> str:
    return f"/_matrix/client/v3/rooms/{quote(room_id)}/state/m.room.topic/"


def set_topic(client: ProcessClient, room_id: str, topic: str) -> None:
    client.json("PUT", topic_path(room_id), {"topic": topic})


def topic(client: ProcessClient, room_id: str) -> str:
    found: str = client.json("GET", topic_path(room_id))["topic"]
    return found


def test_what_a_paused_process_owned_goes_on_without_it(
    servers: ServerProcesses, home: DatabaseHome, engine: str
) -> None:
    load = Load(servers, writers=WRITERS, rooms=ROOMS, pause=0.3, patience=PAUSE_SECONDS + 20)
    ids = process_ids(home.settings.arguments, [pid_of(server) for server in servers.servers])
    pausing = owner_among(load.room_ids[0], ids)
    load.until_acknowledged(3 * WRITERS, seconds=20)
    paused, awake = (servers.server(i).client(load.owner.token) for i in (pausing, 1 - pausing))
    awake.timeout = MOVED_SECONDS
    paused.json("GET", "/_matrix/client/versions")  # its connection is open
    began = time.monotonic()
    servers.pause(pausing)
    for room_id in load.room_ids:
        set_topic(awake, room_id, "while it was away")
    assert time.monotonic() < began + MOVED_SECONDS
    time.sleep(PAUSE_SECONDS - (time.monotonic() - began))
    for room_id in load.room_ids:
        set_topic(awake, room_id, "just before it came back")
    servers.resume(pausing)
    for room_id in load.room_ids:
        assert topic(paused, room_id) == "just before it came back"
    woken = time.monotonic()
    load.until_every_room_accepts(woken, seconds=MOVED_SECONDS)
    load.until_acknowledged(3 * WRITERS, seconds=20)
    load.end()
    load.check()
    check_same_everywhere(load, servers.servers)
    check_refusals(load)
    check_logs(servers.servers)
    assert load.longest > PAUSE_SECONDS / 2, "the paused process had no request in its hands"


def test_a_process_that_was_the_only_one_reads_what_another_wrote_meanwhile(
    home: DatabaseHome, tmp_path: Path, engine: str
) -> None:
    servers = ServerProcesses(tmp_path, home.configuration())
    first, second = servers.servers
    try:
        first.start()
        alice = first.register("alice")
        room_id = alice.create_room(topic="before")
        first.pause()
        second.start()
        set_topic(second.client(alice.token), room_id, "meanwhile")
        first.resume()
        assert topic(alice, room_id) == "meanwhile"
        check_logs(servers.servers)
    finally:
        servers.remove()
