# SPDX-License-Identifier: Apache-2.0
"""Receipts and read markers over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from storage.engine.database import Database
from tests.support.app_server import AppServer, Reader, app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import CLIENT, Response, ok, refused

ALICE, BOB = "@alice:a.example", "@bob:a.example"


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


def receipt(user: Reader, room_id: str, event_id: str, kind: str = "m.read", **body: Any) -> Response:
    return user.post(f"/rooms/{room_id}/receipt/{kind}/{quote(event_id)}", body)


def receipts(server: AppServer, user: Reader, room_id: str) -> dict[tuple[bool, str | None], str]:
    """The event ids of the user's receipts by whether they are private, and thread."""

    async def read() -> dict[tuple[bool, str | None], str]:
        room = (await server.storage.strings.find([room_id]))[room_id]
        found = await server.storage.receipts.of_reader(room, user.requester.user)
        return {(r.private, r.thread): r.event_id for r in found}

    return in_reactor(read())


def fully_read(user: Reader, room_id: str) -> Response:
    return user.get(f"/user/{user.id}/rooms/{room_id}/account_data/m.fully_read")


def in_thread(user: Reader, room_id: str, root: str) -> str:
    content = {
        "msgtype": "m.text",
        "body": "in the thread",
        "m.relates_to": {"rel_type": "m.thread", "event_id": root},
    }
    return str(ok(user.put(f"/rooms/{room_id}/send/m.room.message/thread", content))["event_id"])


def test_a_receipt_moves_forward_only(server: AppServer) -> None:
    room_id = server.shared_room()
    a, b = server.alice.say(room_id, "a", "b")
    assert ok(receipt(server.bob, room_id, b)) == {}
    assert receipts(server, server.bob, room_id) == {(False, None): b}
    assert ok(receipt(server.bob, room_id, a)) == {}
    assert receipts(server, server.bob, room_id) == {(False, None): b}
    [c] = server.alice.say(room_id, "c")
    ok(receipt(server.bob, room_id, c))
    assert receipts(server, server.bob, room_id) == {(False, None): c}


def test_each_kind_and_thread_has_its_own(server: AppServer) -> None:
    room_id = server.shared_room()
    [a] = server.alice.say(room_id, "a")
    threaded = in_thread(server.alice, room_id, a)
    [b] = server.alice.say(room_id, "b")
    ok(receipt(server.bob, room_id, b))
    ok(receipt(server.bob, room_id, a, "m.read.private"))
    ok(receipt(server.bob, room_id, a, thread_id="main"))
    ok(receipt(server.bob, room_id, threaded, thread_id=a))
    assert receipts(server, server.bob, room_id) == {
        (False, None): b,
        (True, None): a,
        (False, "main"): a,
        (False, a): threaded,
    }
    # The root is in the main timeline and belongs to its thread too.
    ok(receipt(server.alice, room_id, a, thread_id=a))
    assert receipts(server, server.alice, room_id)[False, a] == a


def test_who_is_told(server: AppServer) -> None:
    room_id = server.shared_room()
    a, b = server.alice.say(room_id, "a", "b")
    since = ok(server.alice.get("/sync"))["next_batch"]
    ok(receipt(server.bob, room_id, a))
    ok(receipt(server.bob, room_id, b, "m.read.private"))

    def told(user: Reader) -> Any:
        joined = ok(user.get(f"/sync?since={since}"))["rooms"]["join"][room_id]
        return {
            (event_id, kind)
            for event in joined["ephemeral"]["events"]
            for event_id, kinds in event["content"].items()
            for kind, readers in kinds.items()
            if BOB in readers
        }

    assert told(server.alice) == {(a, "m.read")}
    assert told(server.bob) == {(a, "m.read"), (b, "m.read.private")}


def test_what_is_read_is_counted_no_longer(server: AppServer) -> None:
    room_id = server.shared_room()
    a, _ = server.alice.say(room_id, "a", "b")

    def unread() -> int:
        joined = ok(server.bob.get("/sync"))["rooms"]["join"][room_id]
        return int(joined["unread_notifications"]["notification_count"])

    assert unread() == 2
    ok(receipt(server.bob, room_id, a))
    assert unread() == 1


BAD_THREADS: list[Any] = ["", None, 1, ["main"], {}, "$nonsense"]


@pytest.mark.parametrize("thread", BAD_THREADS)
def test_bad_threads(server: AppServer, thread: Any) -> None:
    room_id = server.shared_room()
    [a] = server.alice.say(room_id, "a")
    answer = receipt(server.bob, room_id, a, thread_id=thread)
    assert refused(answer) == (400, "M_INVALID_PARAM")
    assert receipts(server, server.bob, room_id) == {}


def test_an_event_of_another_thread(server: AppServer) -> None:
    room_id = server.shared_room()
    a, b = server.alice.say(room_id, "a", "b")
    threaded = in_thread(server.alice, room_id, a)
    for event_id, thread in ((threaded, "main"), (threaded, b), (b, a)):
        answer = receipt(server.bob, room_id, event_id, thread_id=thread)
        assert refused(answer) == (400, "M_INVALID_PARAM")


def test_refused_receipts(server: AppServer) -> None:
    room_id, other = server.shared_room(), server.alice.create_room()
    [a] = server.alice.say(room_id, "a")
    [hidden] = server.alice.say(other, "hidden")
    assert refused(receipt(server.bob, room_id, a, "m.delivered")) == (400, "M_INVALID_PARAM")
    assert refused(receipt(server.bob, room_id, a, "m.fully_read", thread_id="main")) == (
        400,
        "M_INVALID_PARAM",
    )
    assert refused(receipt(server.bob, room_id, hidden)) == (404, "M_NOT_FOUND")
    assert refused(receipt(server.bob, room_id, "$nonsense")) == (404, "M_NOT_FOUND")
    assert refused(receipt(server.bob, other, hidden)) == (403, "M_FORBIDDEN")
    ok(server.bob.membership("leave", room_id))
    assert refused(receipt(server.bob, room_id, a)) == (403, "M_FORBIDDEN")


def test_a_body_is_not_needed(server: AppServer) -> None:
    room_id = server.shared_room()
    [a] = server.alice.say(room_id, "a")
    ok(server.bob.client.post(f"{CLIENT}/rooms/{room_id}/receipt/m.read/{quote(a)}"))
    assert receipts(server, server.bob, room_id) == {(False, None): a}


def test_the_marker_and_both_receipts_at_once(server: AppServer) -> None:
    room_id = server.shared_room()
    a, b, c = server.alice.say(room_id, *"abc")
    path = f"/rooms/{room_id}/read_markers"
    assert ok(server.bob.post(path, {"m.fully_read": a, "m.read": b, "m.read.private": c})) == {}
    assert ok(fully_read(server.bob, room_id)) == {"event_id": a}
    assert receipts(server, server.bob, room_id) == {(False, None): b, (True, None): c}
    # What would move back stays, the rest moves.
    ok(server.bob.post(path, {"m.fully_read": b, "m.read": a, "m.read.private": c}))
    assert ok(fully_read(server.bob, room_id)) == {"event_id": b}
    assert receipts(server, server.bob, room_id) == {(False, None): b, (True, None): c}
    ok(receipt(server.bob, room_id, c, "m.fully_read"))
    assert ok(fully_read(server.bob, room_id)) == {"event_id": c}
    ok(server.bob.post(path, {"m.fully_read": a}))
    assert ok(fully_read(server.bob, room_id)) == {"event_id": c}
    assert ok(server.bob.post(path, {})) == {}


def test_a_marker_reaches_the_users_other_devices(server: AppServer) -> None:
    room_id = server.shared_room()
    [a] = server.alice.say(room_id, "a")
    since = ok(server.bob.get("/sync"))["next_batch"]
    ok(server.bob.post(f"/rooms/{room_id}/read_markers", {"m.fully_read": a}))
    joined = ok(server.bob.get(f"/sync?since={since}"))["rooms"]["join"][room_id]
    events = joined["account_data"]["events"]
    assert events == [{"type": "m.fully_read", "content": {"event_id": a}}]


def test_one_wrong_marker_sets_none(server: AppServer) -> None:
    room_id = server.shared_room()
    [a] = server.alice.say(room_id, "a")
    path = f"/rooms/{room_id}/read_markers"
    answer = server.bob.post(path, {"m.fully_read": a, "m.read": "$nonsense"})
    assert refused(answer) == (404, "M_NOT_FOUND")
    assert refused(fully_read(server.bob, room_id)) == (404, "M_NOT_FOUND")
    assert refused(server.bob.post(path, {"m.fully_read": 1})) == (400, "M_BAD_JSON")
    ok(server.bob.membership("leave", room_id))
    assert refused(server.bob.post(path, {})) == (403, "M_FORBIDDEN")
