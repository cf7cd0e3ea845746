# SPDX-License-Identifier: Apache-2.0
"""SIGTERM with requests and long polls in flight, and the start after it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.databases import DatabaseHome
from tests.support.load import Load
from tests.support.postgres_cluster import Cluster
from tests.support.process import ProcessClient, ServerProcess

STOP_SECONDS = 10
WHOLE = json.dumps({"room": {"timeline": {"limit": 100}}})


@pytest.fixture
def server(database_home: DatabaseHome, tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server", database_home.configuration())
    server.start()
    yield server
    server.remove()


def send_request(client: ProcessClient, method: str, path: str, body: Any) -> http.client.HTTPConnection:
    """Send a whole request over a connection of its own, and leave its answer for later."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, {"Authorization": f"Bearer {client.token}"})
    return connection


def answer_to(connection: http.client.HTTPConnection) -> Any:
    """The body of the answer, which must be 200."""
    try:
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        return body
    finally:
        connection.close()


def timeline(sync: Any, room_id: str) -> list[str]:
    """The events of a room in an answer to a sync."""
    room = sync.get("rooms", {}).get("join", {}).get(room_id, {"timeline": {"events": []}})
    return [event["event_id"] for event in room["timeline"]["events"]]


def until_polls_wait(server: ServerProcess, client: ProcessClient) -> None:
    """Return when the server has read all that was sent before."""
    for _ in range(3):
        client.json("GET", "/_matrix/client/v3/account/whoami")
        time.sleep(0.1)


def test_what_is_in_flight_is_answered(server: ServerProcess) -> None:
    alice = server.register("alice")
    room_id = alice.create_room()
    since = alice.json("GET", "/_matrix/client/v3/sync")["next_batch"]
    poll = f"/_matrix/client/v3/sync?since={since}&timeout=60000&filter={quote(WHOLE)}"
    polls = [send_request(alice, "GET", poll, None) for _ in range(40)]
    until_polls_wait(server, alice)
    send = f"/_matrix/client/v3/rooms/{room_id}/send/m.room.message/"
    hello = {"msgtype": "m.text", "body": "hello"}
    requests = [send_request(alice, "PUT", f"{send}{i}", hello) for i in range(20)]
    requests += [
        send_request(alice, "POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
        for _ in range(10)
    ]
    time.sleep(0.03)
    began = time.monotonic()
    server.ask_to_stop()
    sent = [answer_to(request) for request in requests]
    polled = [answer_to(one) for one in polls]
    assert server.wait() == 0
    assert time.monotonic() - began < STOP_SECONDS
    assert "Traceback" not in server.log()
    alice.close()
    server.start()
    messages = [event["event_id"] for event in alice.messages(room_id)][-20:]
    assert {answer["event_id"] for answer in sent[:20]} == set(messages)
    joined = alice.json("GET", "/_matrix/client/v3/joined_rooms")["joined_rooms"]
    assert {room_id, *(answer["room_id"] for answer in sent[20:])} == set(joined)
    # Whoever was told of a part finds the rest.
    for answer in polled[::10]:
        missing = alice.json("GET", "/_matrix/client/v3/sync", since=answer["next_batch"], filter=WHOLE)
        assert [*timeline(answer, room_id), *timeline(missing, room_id)] == messages


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_stops_and_starts_under_load(server: ServerProcess) -> None:
    load = Load(server, writers=10, rooms=2)
    for _ in range(3):
        load.until_acknowledged(50, seconds=20)
        began = time.monotonic()
        server.ask_to_stop()
        assert server.wait() == 0
        assert time.monotonic() - began < STOP_SECONDS
        server.start()
    load.until_acknowledged(50, seconds=20)
    load.end()
    load.check()
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("engine", ["postgresql"])
def test_a_stop_while_the_database_is_away(
    engine: str,
    private_cluster: Callable[..., Cluster],
    database_homes: Callable[..., DatabaseHome],
    tmp_path: Path,
) -> None:
    cluster = private_cluster()
    server = ServerProcess(tmp_path / "server", database_homes(cluster=cluster).configuration())
    server.start()
    try:
        alice = server.register("alice")
        room_id = alice.create_room()
        since = alice.json("GET", "/_matrix/client/v3/sync")["next_batch"]
        poll = send_request(alice, "GET", f"/_matrix/client/v3/sync?since={since}&timeout=60000", None)
        cluster.stop()
        assert alice.send(room_id, "1", "hello").status == 503
        began = time.monotonic()
        server.ask_to_stop()
        poll.getresponse().read()
        poll.close()
        assert server.wait() == 0
        assert time.monotonic() - began < STOP_SECONDS
    finally:
        server.remove()
