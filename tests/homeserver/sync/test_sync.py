# SPDX-License-Identifier: Apache-2.0
"""The endpoint, its tokens, and its long polls. spec: client-server-api, "Syncing"."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.engine.database import Database
from tests.support.databases import one_set
from tests.support.reactor import in_reactor
from tests.support.room_server import ok, refused
from tests.support.sync_server import Client, SyncServer, sync_path, sync_server

_EMPTY = {
    "account_data": {"events": []},
    "rooms": {"join": {}, "invite": {}, "leave": {}, "knock": {}},
    "presence": {"events": []},
    "to_device": {"events": []},
    "device_lists": {"changed": [], "left": []},
    "device_one_time_keys_count": {"signed_curve25519": 0},
    "device_unused_fallback_key_types": [],
}


def token(user: Client) -> str:
    return str(user.sync()["next_batch"])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that wait."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def waiting(server: SyncServer) -> int:
    async def count() -> int:
        return sum(len(ground.feed.waiting) for ground in server.grounds)

    return in_reactor(count())


def poll(server: SyncServer, pool: ThreadPoolExecutor, user: Client, since: str, **query: Any) -> Future[Any]:
    """A long poll that waits by now."""
    before = waiting(server)
    future = pool.submit(lambda: user.sync(since, timeout=15_000, **query))
    wait_for(lambda: waiting(server) == before + 1)
    return future


def test_nothing_at_all(server: SyncServer) -> None:
    answer = server.alice.sync()
    since = answer.pop("next_batch")
    [rules] = answer["account_data"].pop("events")
    assert rules["type"] == "m.push_rules"
    assert rules["content"]["global"].keys() == {"override", "underride", "content", "room", "sender"}
    assert answer == {**_EMPTY, "account_data": {}}
    answer = server.alice.sync(since)
    assert answer.pop("next_batch") == since
    assert answer == _EMPTY


def test_the_token_follows_the_feed_while_nothing_is_to_be_told(server: SyncServer) -> None:
    since = token(server.alice)
    room_id = server.bob.create_room()
    answer = server.alice.sync(since)
    assert answer["next_batch"] != since
    assert answer["next_batch"] == token(server.alice)
    server.bob.say(room_id, "x")
    assert server.alice.sync(answer["next_batch"])["rooms"] == _EMPTY["rooms"]


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({"since": "s72594_4483_1934"}, "M_INVALID_PARAM"),
        ({"since": "t1_1"}, "M_INVALID_PARAM"),
        ({"since": "t1_-1_0"}, "M_INVALID_PARAM"),
        ({"since": "t1_1_1_x"}, "M_INVALID_PARAM"),
        ({"since": ""}, "M_INVALID_PARAM"),
        ({"since": "t1_" + "9" * 40 + "_0"}, "M_INVALID_PARAM"),
        ({"since": "t1_\u0661_0"}, "M_INVALID_PARAM"),
        ({"filter": "unknown"}, "M_INVALID_PARAM"),
        ({"filter": ""}, "M_INVALID_PARAM"),
        ({"filter": "{"}, "M_NOT_JSON"),
        ({"filter": '{"room":[]}'}, "M_BAD_JSON"),
        ({"filter": '{"room":{"timeline":{"limit":-1}}}'}, "M_BAD_JSON"),
        ({"timeout": "-1"}, "M_INVALID_PARAM"),
        ({"timeout": "soon"}, "M_INVALID_PARAM"),
        ({"full_state": "maybe"}, "M_INVALID_PARAM"),
        ({"set_presence": "asleep"}, "M_INVALID_PARAM"),
    ],
)
def test_bad_parameters(server: SyncServer, query: dict[str, str], errcode: str) -> None:
    assert refused(server.alice.get(sync_path(**query))) == (400, errcode)


def test_the_other_parameters(server: SyncServer) -> None:
    since = token(server.alice)
    for presence in ("offline", "online", "unavailable"):
        assert server.alice.sync(since, set_presence=presence)["presence"] == {"events": []}
    assert server.alice.sync(use_state_after=True)["rooms"]["join"] == {}


def test_a_filter_by_its_id(server: SyncServer) -> None:
    room_id = server.alice.create_room()
    path = f"/user/{server.alice.id}/filter"
    filter_id = ok(server.alice.post(path, {"room": {"timeline": {"limit": 1}}}))["filter_id"]
    room = server.alice.sync(filter=filter_id)["rooms"]["join"][room_id]
    assert len(room["timeline"]["events"]) == 1
    assert refused(server.bob.get(sync_path(filter=filter_id))) == (400, "M_INVALID_PARAM")


def test_without_a_token_of_access(server: SyncServer) -> None:
    answer = server.server.client(None).get("/_matrix/client/v3/sync")
    assert refused(answer) == (401, "M_MISSING_TOKEN")


def _message(server: SyncServer, room_id: str) -> None:
    server.bob.say(room_id, "hello")


def _typing(server: SyncServer, room_id: str) -> None:
    server.bob.typing(room_id, True)


def _invite(server: SyncServer, _room_id: str) -> None:
    server.bob.create_room(invite=[server.alice.id])


def _account_data(server: SyncServer, _room_id: str) -> None:
    server.alice2.account_data("org.example", {})


def _kick(server: SyncServer, room_id: str) -> None:
    ok(server.bob.membership("kick", room_id, user_id=server.alice.id))


def _join_elsewhere(server: SyncServer, _room_id: str) -> None:
    server.alice2.create_room()


@pytest.mark.parametrize("happen", [_message, _typing, _invite, _account_data, _kick, _join_elsewhere])
def test_what_ends_a_long_poll(
    server: SyncServer, pool: ThreadPoolExecutor, happen: Callable[[SyncServer, str], None]
) -> None:
    room_id = server.bob.create_room(preset="public_chat")
    server.alice.join(room_id)
    since = token(server.alice)
    future = poll(server, pool, server.alice, since)
    happen(server, room_id)
    answer = future.result(10)
    assert {**answer, "next_batch": None} != {**_EMPTY, "next_batch": None}
    assert {**server.alice.sync(answer["next_batch"]), "next_batch": None} == {**_EMPTY, "next_batch": None}
    assert waiting(server) == 0


def test_a_receipt_ends_a_long_poll_and_a_private_one_only_its_owners(
    server: SyncServer, pool: ThreadPoolExecutor
) -> None:
    room_id = server.bob.create_room(preset="public_chat")
    server.alice.join(room_id)
    event_id = server.alice.say(room_id, "x")
    alices = poll(server, pool, server.alice, token(server.alice))
    bobs = poll(server, pool, server.bob2, token(server.bob2))
    server.bob.receipt(room_id, event_id, "m.read.private")
    assert room_id in bobs.result(10)["rooms"]["join"]
    assert not alices.done()
    server.bob.receipt(room_id, event_id)
    assert room_id in alices.result(10)["rooms"]["join"]


def test_a_long_poll_goes_on_when_what_happens_is_filtered_away(
    server: SyncServer, pool: ThreadPoolExecutor
) -> None:
    room_id = server.bob.create_room(preset="public_chat")
    server.alice.join(room_id)
    a_filter = {"room": {"timeline": {"types": ["org.wanted"]}, "ephemeral": {"types": []}}}
    future = poll(server, pool, server.alice, token(server.alice), filter=a_filter)
    server.bob.say(room_id, "x")
    server.bob.typing(room_id, True)
    wait_for(lambda: waiting(server) == 1)
    server.bob.write("PUT", f"/rooms/{room_id}/send/org.wanted/1", {})
    [event] = future.result(10)["rooms"]["join"][room_id]["timeline"]["events"]
    assert event["type"] == "org.wanted"


def test_a_long_poll_times_out(server: SyncServer) -> None:
    since = token(server.alice)
    began = time.monotonic()
    answer = server.alice.sync(since, timeout=200)
    assert 0.15 < time.monotonic() - began < 5
    assert answer == {**_EMPTY, "next_batch": since}


def test_a_client_that_goes_away_waits_no_longer(server: SyncServer) -> None:
    path = "/_matrix/client/v3" + sync_path(token(server.alice), timeout=60_000)
    connection = http.client.HTTPConnection("127.0.0.1", server.server.port, timeout=10)
    connection.request("GET", path, headers={"Authorization": "Bearer alice"})
    wait_for(lambda: waiting(server) == 1)
    connection.close()
    wait_for(lambda: waiting(server) == 0)


def test_a_client_that_goes_away_in_an_initial_sync(server: SyncServer) -> None:
    for _ in range(3):
        server.alice.create_room()
    connection = http.client.HTTPConnection("127.0.0.1", server.server.port, timeout=10)
    connection.request("GET", "/_matrix/client/v3/sync", headers={"Authorization": "Bearer alice"})
    connection.close()
    assert len(server.alice.sync()["rooms"]["join"]) == 3


def test_no_message_is_missed_or_told_twice_under_load(server: SyncServer) -> None:
    room_id = server.bob.create_room(preset="public_chat")
    server.alice.join(room_id)
    since = token(server.alice)

    def send(user: Client) -> None:
        for i in range(25):
            user.say(room_id, f"{user.id} {i}")

    senders = [threading.Thread(target=send, args=(user,)) for user in (server.bob, server.alice2)]
    for sender in senders:
        sender.start()
    seen: list[str] = []
    while len(seen) < 50:
        answer = server.alice.sync(since, timeout=5_000, filter={"room": {"timeline": {"limit": 100}}})
        since = answer["next_batch"]
        events = answer["rooms"]["join"][room_id]["timeline"]["events"]
        seen += [event["content"]["body"] for event in events]
    for sender in senders:
        sender.join()
    assert len(set(seen)) == len(seen) == 50
    for user in (server.bob, server.alice2):
        assert [body for body in seen if body.startswith(user.id)] == [f"{user.id} {i}" for i in range(25)]


def test_a_token_from_ahead_is_waited_for(server: SyncServer, pool: ThreadPoolExecutor) -> None:
    room_id = server.bob.create_room(preset="public_chat")
    server.alice.join(room_id)
    position, typing = token(server.alice).removeprefix("t1_").split("_")
    ahead = f"t1_{int(position) + 1}_{typing}"
    future = pool.submit(server.alice.sync, ahead, timeout=5_000)
    time.sleep(0.1)
    assert not future.done()
    # Whichever moment it wakes at, it waits for what it does not know.
    server.bob.say(room_id, "told elsewhere")
    server.bob.say(room_id, "told here")
    events = future.result(10)["rooms"]["join"][room_id]["timeline"]["events"]
    assert [event["content"]["body"] for event in events] == ["told here"]
    rest = server.alice.sync(ahead)["rooms"]["join"][room_id]["timeline"]["events"]
    assert [event["content"]["body"] for event in rest] == ["told here"]


def test_tokens_outlive_a_restart(database: Database, tmp_path: Path) -> None:
    with sync_server(database, tmp_path) as server:
        room_id = server.bob.create_room(preset="public_chat")
        server.alice.join(room_id)
        server.bob.create_room(invite=[server.alice.id])
        event_id = server.bob.say(room_id, "known")
        since = token(server.alice)
        server.bob.say(room_id, "new")
        server.bob.receipt(room_id, event_id)
        server.bob.state(room_id, "m.room.topic", {"topic": "new"})
        server.alice.account_data("org.example", {})
    with sync_server(database, tmp_path) as server:
        assert server.alice.sync(token(server.alice))["rooms"]["join"] == {}
        answer = server.alice.sync(since)
        room = answer["rooms"]["join"][room_id]
        assert [event["type"] for event in room["timeline"]["events"]] == ["m.room.message", "m.room.topic"]
        assert [event["type"] for event in room["ephemeral"]["events"]] == ["m.receipt"]
        assert [event["type"] for event in answer["account_data"]["events"]] == ["org.example"]
        assert answer["rooms"]["invite"] == {}
        assert server.alice.sync(answer["next_batch"])["rooms"]["join"] == {}


def test_who_typed_before_a_restart_types_no_more(database: Database, tmp_path: Path) -> None:
    with sync_server(database, tmp_path) as server:
        room_id = server.bob.create_room(preset="public_chat")
        server.alice.join(room_id)
        quiet = token(server.alice)
        server.bob.typing(room_id, True)
        since = token(server.alice)
    with sync_server(database, tmp_path) as server:
        answer = server.alice.sync(since)
        [typing] = answer["rooms"]["join"][room_id]["ephemeral"]["events"]
        assert typing == {"type": "m.typing", "content": {"user_ids": []}}
        assert server.alice.sync(answer["next_batch"])["rooms"]["join"] == {}
        assert server.alice.sync(quiet)["rooms"]["join"] == {}


@one_set
def test_what_costs_no_look_at_the_database(server: SyncServer, monkeypatch: pytest.MonkeyPatch) -> None:
    room_id = server.bob.create_room(preset="public_chat")
    server.alice.join(room_id)
    server.bob.say(room_id, "warm")
    since = token(server.alice)
    server.alice.sync(since)
    server.bob.say(room_id, "new")
    database = server.ground.storage.database
    reads: list[str] = []
    read = database.read

    async def counted(name: str, work: Any) -> Any:
        reads.append(name)
        return await read(name, work)

    monkeypatch.setattr(database, "read", counted)
    answer = server.alice.sync(since)
    assert len(answer["rooms"]["join"][room_id]["timeline"]["events"]) == 1
    server.alice.sync(answer["next_batch"])
    assert reads == []
    # A fresh sync of what has been read before: account data alone is looked up.
    server.alice.sync()
    reads.clear()
    server.alice.sync()
    assert reads == ["account data since"]
