# SPDX-License-Identifier: Apache-2.0
"""Typing over HTTP, on both databases."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from storage.engine.database import Database
from tests.support.app_server import AppServer, app_server
from tests.support.room_server import ok, refused

ALICE, BOB = "@alice:a.example", "@bob:a.example"


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


def typing(server: AppServer, room_id: str) -> Sequence[str]:
    """Who types, as a new client of Alice's learns it."""
    events = ok(server.alice.get("/sync"))["rooms"]["join"][room_id]["ephemeral"]["events"]
    users: Sequence[str] = next((e["content"]["user_ids"] for e in events if e["type"] == "m.typing"), ())
    return users


def test_start_and_stop(server: AppServer) -> None:
    room_id = server.shared_room()
    path = f"/rooms/{room_id}/typing/{BOB}"
    assert ok(server.bob.put(path, {"typing": True, "timeout": 30_000})) == {}
    assert typing(server, room_id) == [BOB]
    ok(server.alice.put(f"/rooms/{room_id}/typing/{ALICE}", {"typing": True}))
    assert typing(server, room_id) == [ALICE, BOB]
    ok(server.bob.put(path, {"typing": False}))
    assert typing(server, room_id) == [ALICE]


def test_it_ends_by_itself(server: AppServer) -> None:
    room_id = server.shared_room()
    ok(server.bob.put(f"/rooms/{room_id}/typing/{BOB}", {"typing": True, "timeout": 300}))
    assert typing(server, room_id) == [BOB]
    deadline = time.monotonic() + 10
    while typing(server, room_id):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_time_at_all_stops(server: AppServer) -> None:
    room_id = server.shared_room()
    path = f"/rooms/{room_id}/typing/{BOB}"
    ok(server.bob.put(path, {"typing": True, "timeout": 2**53 - 1}))
    assert typing(server, room_id) == [BOB]
    ok(server.bob.put(path, {"typing": True, "timeout": 0}))
    assert typing(server, room_id) == ()


def test_refused(server: AppServer) -> None:
    room_id, other = server.shared_room(), server.alice.create_room()
    on = {"typing": True}
    assert refused(server.bob.put(f"/rooms/{room_id}/typing/{ALICE}", on)) == (403, "M_FORBIDDEN")
    assert refused(server.bob.put(f"/rooms/{other}/typing/{BOB}", on)) == (403, "M_FORBIDDEN")
    path = f"/rooms/{room_id}/typing/{BOB}"
    assert refused(server.bob.put(path, {**on, "timeout": -1})) == (400, "M_INVALID_PARAM")
    assert refused(server.bob.put(path, {**on, "timeout": "1"})) == (400, "M_BAD_JSON")
    assert refused(server.bob.put(path, {"typing": "yes"})) == (400, "M_BAD_JSON")
    assert refused(server.bob.put(path, {})) == (400, "M_MISSING_PARAM")
    assert typing(server, room_id) == ()
