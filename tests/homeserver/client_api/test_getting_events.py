# SPDX-License-Identifier: Apache-2.0
"""Single events, states and members over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from federation.graph.drafts import Draft
from storage.engine.database import Database
from tests.support.app_server import AppServer, app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import ok, refused

ALICE, BOB, CAROL = (f"@{name}:a.example" for name in ("alice", "bob", "carol"))
NOT_IN_ROOM = (403, "M_FORBIDDEN")


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


def test_one_event(server: AppServer) -> None:
    room_id = server.shared_room()
    [event_id] = server.alice.say(room_id, "hello")
    event = ok(server.alice.room(room_id, f"/event/{quote(event_id)}"))
    unsigned = event.pop("unsigned")
    assert event.pop("origin_server_ts") > 0
    assert event == {
        "type": "m.room.message",
        "sender": ALICE,
        "event_id": event_id,
        "room_id": room_id,
        "content": {"msgtype": "m.text", "body": "hello"},
    }
    assert unsigned["transaction_id"] == "say hello"
    assert unsigned["membership"] == "join"
    assert unsigned["age"] >= 0
    others = ok(server.bob.room(room_id, f"/event/{quote(event_id)}"))
    assert "transaction_id" not in others["unsigned"]


def test_no_event_of_another_room_and_none_that_is_hidden(server: AppServer) -> None:
    room_id, other = server.shared_room(), server.alice.create_room()
    [hidden] = server.alice.say(other, "hidden")
    for name in (hidden, "$nonsense", "%24" + "a" * 300):
        assert refused(server.bob.room(room_id, f"/event/{quote(name)}")) == (404, "M_NOT_FOUND")
    # The same in a room that one is not in, and where there is no room.
    of_others = [server.bob.room(room, f"/event/{quote(hidden)}") for room in (other, "!none:a.example")]
    assert [refused(answer) for answer in of_others] == [(404, "M_NOT_FOUND")] * 2


def test_an_event_from_before_the_join_is_hidden_where_history_is(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"}))
    [before] = server.alice.say(room_id, "before")
    ok(server.bob.membership("join", room_id))
    [after] = server.alice.say(room_id, "after")
    assert refused(server.bob.room(room_id, f"/event/{quote(before)}")) == (404, "M_NOT_FOUND")
    assert ok(server.bob.room(room_id, f"/event/{quote(after)}"))["event_id"] == after


def test_a_redacted_event(server: AppServer) -> None:
    room_id = server.shared_room()
    [event_id] = server.alice.say(room_id, "secret")
    assert ok(server.bob.room(room_id, f"/event/{quote(event_id)}"))["content"]["body"] == "secret"
    redaction = ok(server.alice.redact(room_id, event_id, "t", reason="oops"))["event_id"]
    event = ok(server.bob.room(room_id, f"/event/{quote(event_id)}"))
    assert event["content"] == {}
    because = event["unsigned"]["redacted_because"]
    assert (because["event_id"], because["room_id"]) == (redaction, room_id)
    assert because["content"] == {"redacts": event_id, "reason": "oops"}


def test_the_whole_state(server: AppServer) -> None:
    room_id = server.shared_room(name="We")
    state = {(e["type"], e["state_key"]): e for e in ok(server.bob.room(room_id, "/state"))}
    assert {("m.room.create", ""), ("m.room.name", ""), ("m.room.member", CAROL)} <= state.keys()
    assert state["m.room.name", ""]["content"] == {"name": "We"}
    assert all(event["room_id"] == room_id for event in state.values())


def test_a_large_state_comes_whole(server: AppServer) -> None:
    room_id = server.alice.create_room()
    contents = {str(i): {"n": i} for i in range(1_100)}
    drafts = [Draft(ALICE, "org.example", content, state_key=key) for key, content in contents.items()]

    async def append() -> None:
        await (await server.ground.graphs.get(room_id)).append(lambda _state: drafts)

    in_reactor(append())
    state = ok(server.alice.room(room_id, "/state"))
    found = {e["state_key"]: e["content"] for e in state if e["type"] == "org.example"}
    assert found == contents
    assert {e["type"] for e in state} > {"m.room.create", "m.room.member"}


def test_a_value_of_the_state(server: AppServer) -> None:
    room_id = server.shared_room(name="We")
    ok(server.alice.set_state(room_id, "org.example", {"n": 1}, "a/b ü"))
    assert ok(server.bob.room(room_id, "/state/m.room.name")) == {"name": "We"}
    assert ok(server.bob.room(room_id, "/state/m.room.name/")) == {"name": "We"}
    key = quote("a/b ü", safe="")
    assert ok(server.bob.room(room_id, f"/state/org.example/{key}")) == {"n": 1}
    event = ok(server.bob.room(room_id, f"/state/org.example/{key}?format=event"))
    assert (event["type"], event["state_key"], event["sender"]) == ("org.example", "a/b ü", ALICE)
    assert event["content"] == {"n": 1}
    for path in ("org.example", "org.other", "m.room.name/x"):
        assert refused(server.bob.room(room_id, f"/state/{path}")) == (404, "M_NOT_FOUND")
    wrong = server.bob.room(room_id, "/state/m.room.name?format=pdu")
    assert refused(wrong) == (400, "M_INVALID_PARAM")


def test_a_changed_value_shows_what_it_replaced(server: AppServer) -> None:
    room_id = server.shared_room(name="Old")
    old = ok(server.bob.room(room_id, "/state/m.room.name?format=event"))
    ok(server.alice.set_state(room_id, "m.room.name", {"name": "New"}))
    new = ok(server.bob.room(room_id, "/state/m.room.name?format=event"))
    assert new["unsigned"]["replaces_state"] == old["event_id"]
    assert new["unsigned"]["prev_content"] == {"name": "Old"}


def test_who_left_reads_what_there_was(server: AppServer) -> None:
    room_id = server.shared_room(name="Before")
    ok(server.bob.membership("leave", room_id))
    ok(server.alice.set_state(room_id, "m.room.name", {"name": "After"}))
    ok(server.carol.membership("leave", room_id))
    assert ok(server.alice.room(room_id, "/state/m.room.name")) == {"name": "After"}
    assert ok(server.bob.room(room_id, "/state/m.room.name")) == {"name": "Before"}
    members = ok(server.bob.room(room_id, "/members"))["chunk"]
    assert {e["state_key"]: e["content"]["membership"] for e in members} == {
        ALICE: "join",
        BOB: "leave",
        CAROL: "join",
    }
    assert refused(server.bob.room(room_id, "/joined_members")) == NOT_IN_ROOM
    # A ban or an invite that comes later shows no more of the room.
    ok(server.alice.membership("invite", room_id, user_id=BOB))
    assert ok(server.bob.room(room_id, "/state/m.room.name")) == {"name": "Before"}
    ok(server.alice.membership("ban", room_id, user_id=BOB))
    assert ok(server.bob.room(room_id, "/state/m.room.name")) == {"name": "Before"}


def test_nothing_for_those_who_never_were_in_the_room(server: AppServer) -> None:
    room_id = server.alice.create_room(invite=[BOB])
    answers = set()
    for room in (room_id, "!nowhere:a.example", "nonsense"):
        for path in ("/state", "/state/m.room.name", "/members", "/joined_members", "/messages?dir=b"):
            for user in (server.bob, server.carol):
                answer = user.room(room, path)
                assert refused(answer) == NOT_IN_ROOM
                answers.add(answer.json["error"].replace(user.id, ""))
    assert len(answers) == 1, "the text tells no one whether the room exists"


def test_anybody_reads_a_world_readable_room(server: AppServer) -> None:
    room_id = server.alice.create_room(name="Open")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"}))
    [event_id] = server.alice.say(room_id, "hello")
    for user in (server.carol, server.guest):
        assert ok(user.room(room_id, "/state/m.room.name")) == {"name": "Open"}
        assert ok(user.room(room_id, f"/event/{quote(event_id)}"))["unsigned"]["membership"] == "leave"
    assert refused(server.carol.room(room_id, "/joined_members")) == NOT_IN_ROOM


def test_what_was_open_to_somebody_stays_so_event_by_event(server: AppServer) -> None:
    room_id = server.alice.create_room()
    [before] = server.alice.say(room_id, "before")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"}))
    [open_] = server.alice.say(room_id, "open")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "invited"}))
    ok(server.alice.membership("invite", room_id, user_id=BOB))
    [invited] = server.alice.say(room_id, "invited")
    seen = {
        (user.id, event_id): user.room(room_id, f"/event/{quote(event_id)}").status
        for user in (server.bob, server.carol)
        for event_id in (before, open_, invited)
    }
    assert [seen[BOB, event_id] for event_id in (before, open_, invited)] == [404, 200, 200]
    assert [seen[CAROL, event_id] for event_id in (before, open_, invited)] == [404, 200, 404]
    ok(server.bob.membership("leave", room_id))
    ok(server.bob.membership("forget", room_id))
    assert refused(server.bob.room(room_id, f"/event/{quote(invited)}")) == (404, "M_NOT_FOUND")


def test_members_by_membership(server: AppServer) -> None:
    room_id = server.shared_room()
    ok(server.bob.membership("leave", room_id))
    ok(server.alice.membership("invite", room_id, user_id="@admin:a.example"))

    def members(query: str) -> set[str]:
        return {e["state_key"] for e in ok(server.alice.room(room_id, f"/members{query}"))["chunk"]}

    assert members("") == {ALICE, BOB, CAROL, "@admin:a.example"}
    assert members("?membership=join") == {ALICE, CAROL}
    assert members("?not_membership=leave") == {ALICE, CAROL, "@admin:a.example"}
    assert members("?membership=leave&not_membership=join") == {BOB, "@admin:a.example"}
    wrong = server.alice.room(room_id, "/members?membership=friend")
    assert refused(wrong) == (400, "M_INVALID_PARAM")


def test_members_as_of_a_token(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    early = ok(server.alice.get("/sync"))["next_batch"]
    ok(server.bob.membership("join", room_id))
    page = server.alice.page(room_id, "dir=b&limit=1")
    ok(server.carol.membership("join", room_id))

    def members(at: str) -> set[str]:
        return {e["state_key"] for e in ok(server.alice.room(room_id, f"/members?at={at}"))["chunk"]}

    assert members(early) == {ALICE}
    assert members(page["end"]) == {ALICE}, "the place before Bob's join"
    assert members(page["start"]) == {ALICE, BOB}
    assert members(ok(server.alice.get("/sync"))["next_batch"]) == {ALICE, BOB, CAROL}
    assert refused(server.alice.room(room_id, "/members?at=nonsense")) == (400, "M_INVALID_PARAM")


def test_members_as_of_a_time_that_is_hidden(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"}))
    early = ok(server.alice.get("/sync"))["next_batch"]
    ok(server.bob.membership("join", room_id))
    assert refused(server.bob.room(room_id, f"/members?at={early}")) == NOT_IN_ROOM
    now = ok(server.bob.get("/sync"))["next_batch"]
    assert len(ok(server.bob.room(room_id, f"/members?at={now}"))["chunk"]) == 2


def test_who_left_sees_no_later_members(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.bob.membership("join", room_id))
    ok(server.bob.membership("leave", room_id))
    ok(server.carol.membership("join", room_id))
    now = ok(server.bob.get("/sync"))["next_batch"]
    members = ok(server.bob.room(room_id, f"/members?at={now}"))["chunk"]
    assert {e["state_key"] for e in members} == {ALICE, BOB}


def test_joined_members(server: AppServer) -> None:
    room_id = server.shared_room()
    content = {"membership": "join", "displayname": "Bob", "avatar_url": "mxc://a.example/b"}
    ok(server.bob.set_state(room_id, "m.room.member", content, BOB))
    event_id = ok(
        server.carol.set_state(room_id, "m.room.member", {"membership": "join", "displayname": "X"}, CAROL)
    )
    expected = {BOB: {"display_name": "Bob", "avatar_url": "mxc://a.example/b"}, ALICE: {}}
    joined = ok(server.alice.room(room_id, "/joined_members"))["joined"]
    assert joined == {**expected, CAROL: {"display_name": "X"}}
    ok(server.carol.redact(room_id, event_id["event_id"], "t"))
    joined = ok(server.alice.room(room_id, "/joined_members"))["joined"]
    assert joined == {**expected, CAROL: {}}
