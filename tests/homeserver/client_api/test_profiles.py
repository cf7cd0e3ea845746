# SPDX-License-Identifier: Apache-2.0
"""Profiles over HTTP, on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from homeserver.profiles.propagation import KIND
from storage.engine.database import Database
from storage.jobs import Job
from storage.profiles import ProfileField
from tests.support.app_server import AppServer, app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import ok, refused

ALICE, BOB, CAROL = (f"@{name}:a.example" for name in ("alice", "bob", "carol"))
PROFILE = f"/profile/{BOB}"
NAME = f"{PROFILE}/displayname"
AVATAR = "mxc://a.example/abc"


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def jobs(server: AppServer) -> list[Job]:
    return in_reactor(server.storage.jobs.unfinished())


def member(server: AppServer, room_id: str, user_id: str = BOB) -> Any:
    return ok(server.alice.room(room_id, f"/state/m.room.member/{user_id}"))


def test_set_get_and_delete(server: AppServer) -> None:
    assert ok(server.alice.get(PROFILE)) == {}
    assert refused(server.alice.get(NAME)) == (404, "M_NOT_FOUND")
    assert ok(server.bob.put(NAME, {"displayname": "Bob"})) == {}
    ok(server.bob.put(f"{PROFILE}/avatar_url", {"avatar_url": AVATAR}))
    ok(server.bob.put(f"{PROFILE}/m.tz", {"m.tz": "Europe/London"}))
    ok(server.bob.put(f"{PROFILE}/com.example.pet-1", {"com.example.pet-1": [1, {"a": None}]}))
    everything = {
        "displayname": "Bob",
        "avatar_url": AVATAR,
        "m.tz": "Europe/London",
        "com.example.pet-1": [1, {"a": None}],
    }
    assert ok(server.alice.get(PROFILE)) == everything
    assert ok(server.alice.client.logged_in(None).get(f"/_matrix/client/v3{PROFILE}")) == everything
    assert ok(server.alice.get(NAME)) == {"displayname": "Bob"}
    ok(server.bob.delete(f"{PROFILE}/com.example.pet-1"))
    assert ok(server.bob.delete(f"{PROFILE}/com.example.pet-1")) == {}
    ok(server.bob.put(NAME, {"displayname": ""}))
    ok(server.bob.put(f"{PROFILE}/avatar_url", {"avatar_url": ""}))
    assert ok(server.alice.get(PROFILE)) == {"m.tz": "Europe/London"}


BAD_FIELDS: list[tuple[str, Any, tuple[int, str]]] = [
    ("displayname", {}, (400, "M_MISSING_PARAM")),
    ("displayname", {"displayname": 1}, (400, "M_BAD_JSON")),
    ("displayname", {"displayname": None}, (400, "M_BAD_JSON")),
    ("displayname", {"displayname": "x" * 257}, (400, "M_INVALID_PARAM")),
    ("displayname", {"displayname": "a\0b"}, (400, "M_INVALID_PARAM")),
    ("avatar_url", {"avatar_url": "https://a.example/x"}, (400, "M_INVALID_PARAM")),
    ("avatar_url", {"avatar_url": "mxc://a.example"}, (400, "M_INVALID_PARAM")),
    ("avatar_url", {"avatar_url": "mxc://a.example/" + "x" * 1000}, (400, "M_INVALID_PARAM")),
    ("m.tz", {"m.tz": 1}, (400, "M_BAD_JSON")),
    ("com.example", {"com.example": None}, (400, "M_BAD_JSON")),
    ("plain", {"plain": 1}, (400, "M_INVALID_PARAM")),
    ("Com.example", {"Com.example": 1}, (400, "M_INVALID_PARAM")),
    ("com.", {"com.": 1}, (400, "M_INVALID_PARAM")),
    ("c." + "x" * 254, {"c." + "x" * 254: 1}, (400, "M_KEY_TOO_LARGE")),
    ("com.example", {"com.example": "x" * 65_536}, (400, "M_PROFILE_TOO_LARGE")),
]


@pytest.mark.parametrize(("name", "body", "answer"), BAD_FIELDS)
def test_bad_fields(server: AppServer, name: str, body: Any, answer: tuple[int, str]) -> None:
    assert refused(server.bob.put(f"{PROFILE}/{name}", body)) == answer
    assert ok(server.bob.get(PROFILE)) == {}


def test_all_fields_together_are_bounded(server: AppServer) -> None:
    ok(server.bob.put(f"{PROFILE}/com.a", {"com.a": "x" * 40_000}))
    answer = server.bob.put(f"{PROFILE}/com.b", {"com.b": "x" * 30_000})
    assert refused(answer) == (400, "M_PROFILE_TOO_LARGE")
    ok(server.bob.put(f"{PROFILE}/com.a", {"com.a": 1}))
    ok(server.bob.put(f"{PROFILE}/com.b", {"com.b": "x" * 30_000}))


def test_bad_names_are_not_deleted(server: AppServer) -> None:
    assert refused(server.bob.delete(f"{PROFILE}/plain")) == (400, "M_INVALID_PARAM")


def test_nobody_elses(server: AppServer) -> None:
    assert refused(server.alice.put(NAME, {"displayname": "X"})) == (403, "M_FORBIDDEN")
    assert refused(server.alice.delete(NAME)) == (403, "M_FORBIDDEN")
    ok(server.admin.put(NAME, {"displayname": "Robert"}))
    assert ok(server.bob.get(NAME)) == {"displayname": "Robert"}
    nobody = "/profile/@nobody:a.example/displayname"
    assert refused(server.admin.put(nobody, {"displayname": "X"})) == (404, "M_NOT_FOUND")


def test_guests(server: AppServer) -> None:
    own = "/profile/@guest:a.example"
    ok(server.guest.put(f"{own}/displayname", {"displayname": "Guest"}))
    ok(server.guest.delete(f"{own}/displayname"))
    for answer in (
        server.guest.put(f"{own}/avatar_url", {"avatar_url": AVATAR}),
        server.guest.delete(f"{own}/avatar_url"),
    ):
        assert refused(answer) == (403, "M_GUEST_ACCESS_FORBIDDEN")


@pytest.mark.parametrize("user_id", ["@nobody:a.example", "@bob:elsewhere.example"])
def test_unknown_users(server: AppServer, user_id: str) -> None:
    assert refused(server.alice.get(f"/profile/{user_id}")) == (404, "M_NOT_FOUND")
    assert refused(server.alice.get(f"/profile/{user_id}/displayname")) == (404, "M_NOT_FOUND")


def test_what_is_no_user_id(server: AppServer) -> None:
    assert refused(server.alice.get("/profile/nonsense")) == (400, "M_INVALID_PARAM")


def test_fields_that_are_locked(database: Database) -> None:
    with app_server(database, enable_set_displayname=False) as server:
        assert refused(server.bob.put(NAME, {"displayname": "X"})) == (403, "M_FORBIDDEN")
        assert refused(server.bob.delete(NAME)) == (403, "M_FORBIDDEN")
        ok(server.bob.put(f"{PROFILE}/avatar_url", {"avatar_url": AVATAR}))
        ok(server.admin.put(NAME, {"displayname": "X"}))


def test_only_for_those_who_are_logged_in(database: Database) -> None:
    with app_server(database, require_auth_for_profile_requests=True) as server:
        answer = server.alice.client.logged_in(None).get(f"/_matrix/client/v3{PROFILE}")
        assert refused(answer) == (401, "M_MISSING_TOKEN")
        assert ok(server.alice.get(PROFILE)) == {}


def test_only_for_those_who_share_a_room(database: Database) -> None:
    with app_server(database, limit_profile_requests_to_users_who_share_rooms=True) as server:
        assert refused(server.alice.get(PROFILE)) == (403, "M_FORBIDDEN")
        assert refused(server.alice.get("/profile/@nobody:a.example")) == (403, "M_FORBIDDEN")
        assert ok(server.bob.get(PROFILE)) == {}
        private = server.alice.create_room(invite=[BOB])
        assert refused(server.alice.get(PROFILE)) == (403, "M_FORBIDDEN")
        ok(server.bob.membership("join", private))
        assert ok(server.alice.get(PROFILE)) == {}
        assert refused(server.carol.get(PROFILE)) == (403, "M_FORBIDDEN")
        server.bob.create_room(preset="public_chat")
        assert ok(server.carol.get(PROFILE)) == {}


def test_rooms_are_told(server: AppServer) -> None:
    rooms = [server.shared_room() for _ in range(3)]
    left = server.shared_room()
    ok(server.bob.membership("leave", left))
    ok(server.bob.set_state(rooms[0], "m.room.member", {"membership": "join", "org.example": 1}, BOB))
    ok(server.bob.put(NAME, {"displayname": "Bob"}))
    until(lambda: not jobs(server))
    assert member(server, rooms[0]) == {"membership": "join", "org.example": 1, "displayname": "Bob"}
    assert member(server, rooms[1]) == {"membership": "join", "displayname": "Bob"}
    assert member(server, left) == {"membership": "leave"}
    ok(server.bob.put(f"{PROFILE}/avatar_url", {"avatar_url": AVATAR}))
    ok(server.bob.delete(NAME))
    until(lambda: not jobs(server))
    for room_id in rooms[1:]:
        assert member(server, room_id) == {"membership": "join", "avatar_url": AVATAR}
    # What rooms do not show tells them nothing.
    events = len(server.alice.page(rooms[0], "dir=b&limit=100")["chunk"])
    ok(server.bob.put(f"{PROFILE}/m.tz", {"m.tz": "Europe/London"}))
    assert jobs(server) == []
    assert len(server.alice.page(rooms[0], "dir=b&limit=100")["chunk"]) == events


def test_the_newest_change_wins(server: AppServer) -> None:
    rooms = [server.shared_room() for _ in range(4)]
    for i in range(6):
        ok(server.bob.put(NAME, {"displayname": f"Bob {i}"}))
    until(lambda: not jobs(server))
    assert [member(server, room_id)["displayname"] for room_id in rooms] == ["Bob 5"] * 4


def test_the_same_again_changes_nothing(server: AppServer) -> None:
    room_id = server.shared_room()
    ok(server.bob.put(NAME, {"displayname": "Bob"}))
    until(lambda: not jobs(server))
    events = len(server.alice.page(room_id, "dir=b&limit=100")["chunk"])
    ok(server.bob.put(NAME, {"displayname": "Bob"}))
    assert jobs(server) == []
    assert len(server.alice.page(room_id, "dir=b&limit=100")["chunk"]) == events


def test_a_room_that_refuses_is_passed_over(server: AppServer) -> None:
    rooms = [server.shared_room() for _ in range(3)]
    # With the longest of names, the member event of that room would be too large.
    large = {"membership": "join", "org.example": "x" * 64_000}
    ok(server.bob.set_state(rooms[1], "m.room.member", large, BOB))
    name = "\N{SMILING FACE WITH SUNGLASSES}" * 256
    ok(server.bob.put(NAME, {"displayname": name}))
    until(lambda: not jobs(server))
    assert [member(server, room_id).get("displayname") for room_id in rooms] == [name, None, name]


def test_a_restart_resumes_where_it_was(database: Database) -> None:
    with app_server(database) as server:
        rooms = [server.shared_room() for _ in range(3)]
        numbers = in_reactor(server.storage.strings.find(rooms))
        ordered = sorted(rooms, key=lambda room_id: numbers[room_id])
        bob = server.bob.requester
        # As a stop leaves it after the first room.
        state = {"account": bob.user, "user_id": BOB, "after": numbers[ordered[0]]}
        server.write(ProfileField(bob.user, "displayname", "Bob"), Job(f"{KIND}/{bob.user}", KIND, state))
        assert jobs(server) != []
    with app_server(database) as server:
        until(lambda: not jobs(server))
        shown = [member(server, room_id).get("displayname") for room_id in ordered]
        assert shown == [None, "Bob", "Bob"]


def test_a_change_while_the_job_of_an_older_one_is_stored(database: Database) -> None:
    with app_server(database) as server:
        rooms = [server.shared_room() for _ in range(2)]
        bob = server.bob.requester
        state = {"account": bob.user, "user_id": BOB, "after": 2**40}
        server.write(Job(f"{KIND}/{bob.user}", KIND, state))
        ok(server.bob.put(NAME, {"displayname": "Bob"}))
        until(lambda: not jobs(server))
        assert [member(server, room_id)["displayname"] for room_id in rooms] == ["Bob"] * 2


def test_a_redacted_member_event_is_not_restored(server: AppServer) -> None:
    room_id = server.shared_room()
    content = {"membership": "join", "displayname": "Bad", "org.example": 1}
    event_id = ok(server.bob.set_state(room_id, "m.room.member", content, BOB))["event_id"]
    ok(server.alice.redact(room_id, event_id, "t"))
    ok(server.bob.put(NAME, {"displayname": "Bob"}))
    until(lambda: not jobs(server))
    assert member(server, room_id) == {"membership": "join", "displayname": "Bob"}


def test_new_member_events_show_the_profile(server: AppServer) -> None:
    ok(server.bob.put(NAME, {"displayname": "Bob"}))
    room_id = server.shared_room()
    assert member(server, room_id) == {"membership": "join", "displayname": "Bob"}
