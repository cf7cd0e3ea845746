# SPDX-License-Identifier: Apache-2.0
"""What a process does by and by goes on when it is killed: profiles in all rooms, and who is typing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.databases import DatabaseHome
from tests.support.process import ProcessClient
from tests.support.server_processes import ServerProcesses
from tests.support.several import check_logs, owner_among, pid_of, process_ids, until

PROCESSES = 3
ROOMS = 30
NAMED_SECONDS = 20
SEEN_SECONDS = 2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.parametrize("engine", ["postgresql"])]


@pytest.fixture
def home(database_homes: Callable[..., DatabaseHome]) -> DatabaseHome:
    return database_homes()


@pytest.fixture
def servers(home: DatabaseHome, tmp_path: Path) -> Iterator[ServerProcesses]:
    made = ServerProcesses(tmp_path, home.configuration(), count=PROCESSES)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def ids(servers: ServerProcesses, home: DatabaseHome) -> list[str]:
    """The ids of the processes, in their order."""
    return process_ids(home.settings.arguments, [pid_of(server) for server in servers.servers])


def name_in(client: ProcessClient, room_id: str) -> str:
    """The user's name as the room has it."""
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/state/m.room.member/{quote(client.user_id)}"
    name: str = client.json("GET", path)["displayname"]
    return name


def test_a_name_reaches_all_rooms_though_who_spreads_it_is_killed(
    servers: ServerProcesses, ids: list[str], engine: str
) -> None:
    alice = servers.register("alice")
    room_ids = [alice.create_room() for _ in range(ROOMS)]
    assert {owner_among(room_id, ids) for room_id in room_ids} == {0, 1, 2}
    doomed = owner_among(alice.user_id, ids)
    other = servers.server((doomed + 1) % PROCESSES).client(alice.token, alice.user_id)
    path = f"/_matrix/client/v3/profile/{quote(alice.user_id)}/displayname"
    other.json("PUT", path, {"displayname": "Alice the Second"})
    servers.kill(doomed)
    done = [room_id for room_id in room_ids if name_in(other, room_id) == "Alice the Second"]
    until(
        lambda: {name_in(other, room_id) for room_id in room_ids} == {"Alice the Second"},
        "all rooms have the name",
        seconds=NAMED_SECONDS,
    )
    assert len(done) < ROOMS, "it was killed too late"
    for room_id in room_ids:
        members = [event for event in other.messages(room_id) if event["type"] == "m.room.member"]
        names = [event["content"]["displayname"] for event in members]
        assert names == ["alice", "Alice the Second"], "once in each room"
    check_logs(servers.servers)


class Typing:
    """Alice, who types in a room at the process that does not own it, and bob, who looks on at another."""

    def __init__(self, servers: ServerProcesses, ids: list[str]) -> None:
        alice, bob = servers.register("alice"), servers.register("bob")
        self.room_id = alice.create_room()
        bob.join(self.room_id)
        self.owner = owner_among(self.room_id, ids)
        first, second = (servers.server((self.owner + i) % PROCESSES) for i in (1, 2))
        self.alice = first.client(alice.token, alice.user_id)
        self.bob = second.client(bob.token, bob.user_id)
        self._since = self.bob.json("GET", "/_matrix/client/v3/sync")["next_batch"]
        path = f"/_matrix/client/v3/rooms/{quote(self.room_id)}/typing/{quote(alice.user_id)}"
        self._put: Callable[[Any], Any] = lambda body: self.alice.json("PUT", path, body)

    def type(self, milliseconds: int) -> None:
        self._put({"typing": True, "timeout": milliseconds})

    def end(self) -> None:
        self._put({"typing": False})

    def seen(self, *, within: float) -> list[str]:
        """Who types by the next that bob hears of it, in so many seconds at the most."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            left = int(1000 * (deadline - time.monotonic()))
            answer = self.bob.json("GET", "/_matrix/client/v3/sync", since=self._since, timeout=left)
            self._since = answer["next_batch"]
            room = answer["rooms"]["join"].get(self.room_id, {"ephemeral": {"events": []}})
            for event in room["ephemeral"]["events"]:
                if event["type"] == "m.typing":
                    users: list[str] = event["content"]["user_ids"]
                    return users
        raise AssertionError("nothing was heard of anybody who types")


def test_typing_is_seen_at_another_process_and_ends(
    servers: ServerProcesses, ids: list[str], engine: str
) -> None:
    typing = Typing(servers, ids)
    typing.type(1500)
    assert typing.seen(within=SEEN_SECONDS) == [typing.alice.user_id]
    assert typing.seen(within=1.5 + SEEN_SECONDS) == []
    typing.type(60_000)
    assert typing.seen(within=SEEN_SECONDS) == [typing.alice.user_id]
    typing.end()
    assert typing.seen(within=SEEN_SECONDS) == []
    typing.type(60_000)
    assert typing.seen(within=SEEN_SECONDS) == [typing.alice.user_id]
    servers.kill(typing.owner)
    typing.end()  # by the process that owns the room now
    assert typing.seen(within=SEEN_SECONDS) == []
    check_logs(servers.servers)
