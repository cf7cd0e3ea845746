# SPDX-License-Identifier: Apache-2.0
"""Account data over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.engine.database import Database
from tests.support.app_server import AppServer, app_server
from tests.support.room_server import ok, refused

ALICE, BOB = "@alice:a.example", "@bob:a.example"
MINE = f"/user/{ALICE}/account_data"


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


@pytest.fixture(params=["global", "room"])
def base(request: pytest.FixtureRequest, server: AppServer) -> str:
    """The path of Alice's account data, global and of a room."""
    if request.param == "global":
        return MINE
    return f"/user/{ALICE}/rooms/{server.alice.create_room()}/account_data"


def test_put_and_get(server: AppServer, base: str) -> None:
    path = f"{base}/org.example"
    assert refused(server.alice.get(path)) == (404, "M_NOT_FOUND")
    assert ok(server.alice.put(path, {"a": [1, None, "ü"]})) == {}
    assert ok(server.alice.get(path)) == {"a": [1, None, "ü"]}
    ok(server.alice.put(path, {}))
    assert ok(server.alice.get(path)) == {}


def test_content_is_kept_as_it_came(server: AppServer, base: str) -> None:
    text = b'{"n": 1.0, "large": 123456789012345678901234567890, "nul": "\\u0000"}'
    ok(server.alice.put(f"{base}/org.example", body=text))
    assert server.alice.get(f"{base}/org.example").content == text


def test_a_room_has_data_of_its_own(server: AppServer, base: str) -> None:
    ok(server.alice.put(f"{base}/org.example", {"here": True}))
    other = f"/user/{ALICE}/rooms/{server.alice.create_room()}/account_data/org.example"
    assert refused(server.alice.get(other)) == (404, "M_NOT_FOUND")


def test_only_ones_own(server: AppServer, base: str) -> None:
    ok(server.alice.put(f"{base}/org.example", {"secret": 1}))
    assert refused(server.bob.get(f"{base}/org.example")) == (403, "M_FORBIDDEN")
    assert refused(server.bob.put(f"{base}/org.example", {})) == (403, "M_FORBIDDEN")
    assert ok(server.alice.get(f"{base}/org.example")) == {"secret": 1}


@pytest.mark.parametrize("type_", ["m.fully_read", "m.push_rules"])
def test_what_the_server_manages(server: AppServer, base: str, type_: str) -> None:
    assert refused(server.alice.put(f"{base}/{type_}", {})) == (405, "M_BAD_JSON")


def test_push_rules_are_read_as_any_other(server: AppServer) -> None:
    assert ok(server.alice.get(f"{MINE}/m.push_rules")).keys() == {"global"}


BAD_BODIES = [(b"[]", "M_BAD_JSON"), (b'"x"', "M_BAD_JSON"), (b"{", "M_NOT_JSON"), (b"\xff", "M_NOT_JSON")]


@pytest.mark.parametrize(("body", "errcode"), BAD_BODIES)
def test_bad_bodies(server: AppServer, base: str, body: bytes, errcode: str) -> None:
    assert refused(server.alice.put(f"{base}/org.example", body=body)) == (400, errcode)


def test_bad_names(server: AppServer) -> None:
    long = "x" * 256
    assert refused(server.alice.put(f"{MINE}/{long}", {})) == (400, "M_INVALID_PARAM")
    for method in (server.alice.get, lambda path: server.alice.put(path, {})):
        answer = method(f"/user/{ALICE}/rooms/nonsense/account_data/org.example")
        assert refused(answer) == (400, "M_INVALID_PARAM")


def test_a_sync_tells_it(server: AppServer) -> None:
    room_id = server.alice.create_room()
    since = ok(server.alice.get("/sync"))["next_batch"]
    ok(server.alice.put(f"{MINE}/org.example", {"n": 1}))
    ok(server.alice.put(f"/user/{ALICE}/rooms/{room_id}/account_data/org.example", {"n": 2}))
    news = ok(server.alice.get(f"/sync?since={since}"))
    assert news["account_data"]["events"] == [{"type": "org.example", "content": {"n": 1}}]
    events = news["rooms"]["join"][room_id]["account_data"]["events"]
    assert events == [{"type": "org.example", "content": {"n": 2}}]
