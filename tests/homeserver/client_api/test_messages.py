# SPDX-License-Identifier: Apache-2.0
"""Paging through rooms over HTTP, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from federation.graph.drafts import Draft
from storage.engine.database import Database
from tests.support.app_server import AppServer, Reader, app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import ok, refused

ALICE, BOB, CAROL = (f"@{name}:a.example" for name in ("alice", "bob", "carol"))


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


def pages(user: Reader, room_id: str, query: str) -> list[Any]:
    """All pages from the first on, by their `end`."""
    found = [user.page(room_id, query)]
    while "end" in found[-1]:
        assert len(found) < 50
        found.append(user.page(room_id, f"{query}&from={found[-1]['end']}"))
        assert found[-1]["start"] == found[-2]["end"]
    return found


def ids(*answers: Any) -> list[str]:
    return [event["event_id"] for answer in answers for event in answer["chunk"]]


def wanting(**members: Any) -> str:
    """The parameter `filter`."""
    return "filter=" + quote(json.dumps(members))


def test_all_pages_in_both_directions(server: AppServer) -> None:
    room_id = server.shared_room()
    sent = server.alice.say(room_id, *(str(i) for i in range(7)))
    back = pages(server.bob, room_id, "dir=b&limit=4")
    assert all(len(page["chunk"]) == 4 for page in back[:-1])
    assert ids(*back)[:7] == list(reversed(sent))
    assert back[-1]["chunk"][-1]["type"] == "m.room.create"
    forth = pages(server.bob, room_id, "dir=f&limit=4")
    assert ids(*forth) == list(reversed(ids(*back)))
    assert len(set(ids(*forth))) == len(ids(*forth))


def test_the_last_page_has_no_end(server: AppServer) -> None:
    room_id = server.alice.create_room()
    count = len(server.alice.page(room_id, "dir=b&limit=100")["chunk"])
    for limit in (count, count + 1, 1000, 5000):
        page = server.alice.page(room_id, f"dir=b&limit={limit}")
        assert len(page["chunk"]) == count
        assert "end" not in page
    assert "end" in server.alice.page(room_id, f"dir=b&limit={count - 1}")


def test_from_the_last_page_forwards_one_goes_on_when_there_is_more(server: AppServer) -> None:
    room_id = server.alice.create_room()
    server.alice.say(room_id, "a")
    page = server.alice.page(room_id, "dir=f&limit=100")
    none = server.alice.page(room_id, f"dir=f&from={page['end']}")
    assert none["chunk"] == []
    assert "end" not in none
    more = server.alice.say(room_id, *"bc")
    assert ids(server.alice.page(room_id, f"dir=f&from={page['end']}")) == more
    assert ids(server.alice.page(room_id, f"dir=b&limit=1&from={page['end']}")) == ids(page)[-1:]


def test_a_page_has_ten_events_unless_told_otherwise(server: AppServer) -> None:
    room_id = server.alice.create_room()
    server.alice.say(room_id, *(str(i) for i in range(12)))
    assert len(server.alice.page(room_id, "dir=b")["chunk"]) == 10
    assert len(server.alice.page(room_id, f"dir=b&{wanting(limit=3)}")["chunk"]) == 3
    assert len(server.alice.page(room_id, f"dir=b&limit=2&{wanting(limit=3)}")["chunk"]) == 2
    none = server.alice.page(room_id, "dir=b&limit=0")
    assert none["chunk"] == []
    assert none["end"] == none["start"]


def test_between_two_tokens(server: AppServer) -> None:
    room_id = server.alice.create_room()
    sent = server.alice.say(room_id, *"abcdef")
    last = server.alice.page(room_id, "dir=b&limit=2")
    middle = server.alice.page(room_id, f"dir=b&limit=2&from={last['end']}")
    between = server.alice.page(room_id, f"dir=b&from={last['end']}&to={middle['end']}")
    assert ids(between) == [sent[3], sent[2]]
    assert "end" not in between
    forth = server.alice.page(room_id, f"dir=f&from={middle['end']}&to={last['end']}")
    assert ids(forth) == [sent[2], sent[3]]
    # From the start of a page one gets back to where it began.
    assert ids(server.alice.page(room_id, f"dir=f&from={middle['end']}"))[-4:] == sent[2:]
    assert ids(server.alice.page(room_id, f"dir=f&from={last['start']}")) == []


def test_tokens_of_a_sync(server: AppServer) -> None:
    room_id = server.alice.create_room()
    before = server.alice.say(room_id, *"ab")
    token = ok(server.alice.get("/sync"))["next_batch"]
    after = server.alice.say(room_id, *"cd")
    assert ids(server.alice.page(room_id, f"dir=b&limit=2&from={token}")) == list(reversed(before))
    assert ids(server.alice.page(room_id, f"dir=f&from={token}")) == after
    assert ids(server.alice.page(room_id, f"dir=b&to={token}")) == list(reversed(after))
    timeline = wanting(room={"timeline": {"limit": 1}})
    joined = ok(server.alice.get(f"/sync?{timeline}"))["rooms"]["join"][room_id]["timeline"]
    assert [event["event_id"] for event in joined["events"]] == [after[1]]
    older = server.alice.page(room_id, f"dir=b&limit=3&from={joined['prev_batch']}")
    assert ids(older) == [after[0], before[1], before[0]]


BAD_QUERIES = [
    "",
    "dir=x",
    "dir=b&limit=-1",
    "dir=b&limit=ten",
    "dir=b&from=nonsense",
    "dir=b&to=p1_99999999999999999999_1",
    f"dir=f&from=p1_{2**63 - 1}_1",
]


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_bad_parameters(server: AppServer, query: str) -> None:
    room_id = server.alice.create_room()
    status, errcode = refused(server.alice.room(room_id, f"/messages?{query}"))
    assert status == 400
    assert errcode in ("M_INVALID_PARAM", "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("text", "errcode"), [("{", "M_NOT_JSON"), ("[]", "M_BAD_JSON"), ('{"types":1}', "M_BAD_JSON")]
)
def test_bad_filters(server: AppServer, text: str, errcode: str) -> None:
    room_id = server.alice.create_room()
    answer = server.alice.room(room_id, f"/messages?dir=b&filter={quote(text)}")
    assert refused(answer) == (400, errcode)


def test_filters(server: AppServer) -> None:
    room_id = server.shared_room()
    [a] = server.alice.say(room_id, "a")
    [b] = server.bob.say(room_id, "b")
    image = {"msgtype": "m.image", "body": "i", "url": "mxc://a.example/i"}
    url = ok(server.carol.put(f"/rooms/{room_id}/send/m.room.message/t", image))["event_id"]

    def found(**members: Any) -> list[str]:
        return ids(server.alice.page(room_id, f"dir=f&limit=100&{wanting(**members)}"))

    assert found(types=["m.room.message"]) == [a, b, url]
    assert found(types=["m.room.mess*"], not_senders=[BOB]) == [a, url]
    assert found(contains_url=True) == [url]
    assert found(types=["m.room.message"], contains_url=False) == [a, b]
    assert found(senders=[BOB], not_types=["m.room.member"]) == [b]
    assert found(types=[]) == []
    assert found(not_rooms=[room_id]) == []
    assert "end" not in server.alice.page(room_id, f"dir=b&{wanting(types=[])}")


def test_messages_of_ignored_users_are_left_out(server: AppServer) -> None:
    room_id = server.shared_room()
    mine = server.alice.say(room_id, "mine")
    server.bob.say(room_id, *"abcdef")
    ok(server.alice.set_state(room_id, "m.room.power_levels", {"users": {BOB: 50}}))
    name = ok(server.bob.set_state(room_id, "m.room.name", {"name": "Bob's"}))["event_id"]
    more = server.carol.say(room_id, "more")
    ignoring = f"/user/{ALICE}/account_data/m.ignored_user_list"
    ok(server.alice.put(ignoring, {"ignored_users": {BOB: {}}}))
    page = server.alice.page(room_id, "dir=b&limit=4")
    found = [e["event_id"] for e in page["chunk"] if e["type"] != "m.room.power_levels"]
    assert found == [*more, name, *mine]
    assert server.alice.bodies(room_id) == ["more", "mine"]
    assert server.bob.bodies(room_id) == ["more", *"fedcba", "mine"]
    ok(server.alice.put(ignoring, {"ignored_users": {}}))
    assert server.alice.bodies(room_id) == ["more", *"fedcba", "mine"]


def test_a_filtered_page_is_looked_for_far_back(server: AppServer) -> None:
    room_id = server.alice.create_room()
    [rare] = server.alice.say(room_id, "rare")
    for i in range(40):
        ok(server.alice.set_state(room_id, "org.example", {"n": i}))
    query = f"dir=b&limit=1&{wanting(types=['m.room.message'])}"
    page = server.alice.page(room_id, query)
    assert ids(page) == [rare]
    rest = server.alice.page(room_id, f"{query}&from={page['end']}")
    assert rest["chunk"] == []
    assert "end" not in rest


def test_a_long_time_that_is_hidden_is_passed_over_at_once(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"}))
    drafts = [Draft(ALICE, "m.room.message", {"msgtype": "m.text", "body": str(i)}) for i in range(3_000)]

    async def append() -> None:
        await (await server.ground.graphs.get(room_id)).append(lambda _state: drafts)

    in_reactor(append())
    ok(server.bob.membership("join", room_id))
    [seen] = server.alice.say(room_id, "seen")
    back = pages(server.bob, room_id, "dir=b&limit=4")
    assert all(page["chunk"] for page in back)
    assert ids(*back)[0] == seen
    assert back[-1]["chunk"][-1]["type"] == "m.room.create"
    forth = pages(server.bob, room_id, "dir=f&limit=4")
    assert ids(*forth) == ids(*back)[::-1]
    assert server.bob.bodies(room_id) == ["seen"]


def test_members_of_the_senders(server: AppServer) -> None:
    room_id = server.shared_room()
    server.alice.say(room_id, "a")
    server.bob.say(room_id, "b")
    page = server.carol.page(room_id, f"dir=b&limit=2&{wanting(lazy_load_members=True)}")
    assert sorted(event["state_key"] for event in page["state"]) == [ALICE, BOB]
    assert all(event["type"] == "m.room.member" for event in page["state"])
    assert "state" not in server.carol.page(room_id, "dir=b&limit=2")


def test_who_left_sees_what_was_before(server: AppServer) -> None:
    room_id = server.shared_room()
    server.alice.say(room_id, "before")
    ok(server.bob.membership("leave", room_id))
    server.alice.say(room_id, "after")
    assert server.bob.bodies(room_id) == ["before"]
    page = server.bob.page(room_id, "dir=b")
    assert page["chunk"][0]["content"]["membership"] == "leave"
    assert page["chunk"][0]["state_key"] == BOB
    assert ids(*pages(server.bob, room_id, "dir=f&limit=5")) == list(
        reversed(ids(*pages(server.bob, room_id, "dir=b&limit=5")))
    )
    now = ok(server.alice.get("/sync"))["next_batch"]
    assert server.bob.bodies(room_id, f"dir=b&from={now}") == ["before"]
    assert server.bob.bodies(room_id, f"dir=f&from={now}") == []
    ok(server.bob.membership("forget", room_id))
    assert refused(server.bob.room(room_id, "/messages?dir=b")) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("visibility", "seen"),
    [
        ("joined", ["two"]),
        ("invited", ["two", "while invited"]),
        ("shared", ["two", "while invited", "one"]),
    ],
)
def test_history_visibility(server: AppServer, visibility: str, seen: list[str]) -> None:
    room_id = server.alice.create_room()
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": visibility}))
    server.alice.say(room_id, "one")
    ok(server.alice.membership("invite", room_id, user_id=BOB))
    server.alice.say(room_id, "while invited")
    ok(server.bob.membership("join", room_id))
    server.alice.say(room_id, "two")
    assert server.bob.bodies(room_id) == seen
    assert server.bob.bodies(room_id, "dir=f&limit=100") == list(reversed(seen))


def test_a_world_readable_room_shows_only_what_was_sent_as_such(server: AppServer) -> None:
    room_id = server.alice.create_room()
    server.alice.say(room_id, "private")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"}))
    server.alice.say(room_id, "open")
    assert server.carol.bodies(room_id) == ["open"]
    assert server.guest.bodies(room_id) == ["open"]
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "shared"}))
    assert refused(server.carol.room(room_id, "/messages?dir=b")) == (403, "M_FORBIDDEN")


def test_redacted_events_stay_in_their_place(server: AppServer) -> None:
    room_id = server.alice.create_room()
    sent = server.alice.say(room_id, *"abc")
    ok(server.alice.redact(room_id, sent[1], "t"))
    page = server.alice.page(room_id, "dir=b&limit=4")
    assert ids(page)[1:] == list(reversed(sent))
    assert page["chunk"][2]["content"] == {}
