# SPDX-License-Identifier: Apache-2.0
"""`rooms.join` of a sync. spec: client-server-api, "Syncing"."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.room_server import ok
from tests.support.sync_server import Client, SyncServer, sync_path


def types(section: Any) -> list[str]:
    return [event["type"] for event in section["events"]]


def bodies(room: Any) -> list[str]:
    return [event["content"].get("body", event["type"]) for event in room["timeline"]["events"]]


def public_room(owner: Client, **options: Any) -> str:
    return owner.create_room(preset="public_chat", **options)


def news(user: Client, since: str, room_id: str, **query: Any) -> Any:
    """What an incremental sync tells of a joined room; None if nothing."""
    return user.sync(since, **query)["rooms"]["join"].get(room_id)


def token(user: Client) -> str:
    return str(user.sync()["next_batch"])


def test_everything_of_a_new_room_is_in_its_timeline(server: SyncServer) -> None:
    room_id = public_room(server.alice, name="Tea", topic="Milk first")
    room = server.alice.sync()["rooms"]["join"][room_id]
    assert types(room["timeline"]) == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.name",
        "m.room.topic",
    ]
    assert room["timeline"]["limited"] is False
    assert room["state"] == {"events": []}
    assert room["account_data"] == room["ephemeral"] == {"events": []}
    assert room["summary"] == {"m.joined_member_count": 1, "m.invited_member_count": 0}
    assert room["unread_notifications"] == {"notification_count": 0, "highlight_count": 0}
    assert "unread_thread_notifications" not in room
    assert all("room_id" not in event for event in room["timeline"]["events"])


def test_state_is_that_of_the_start_of_the_timeline(server: SyncServer) -> None:
    room_id = public_room(server.alice, name="Before")
    for i in range(12):
        server.alice.say(room_id, f"{i}")
    server.alice.state(room_id, "m.room.name", {"name": "After"})
    room = server.alice.sync(filter={"room": {"timeline": {"limit": 3}}})["rooms"]["join"][room_id]
    assert bodies(room) == ["10", "11", "m.room.name"]
    assert room["timeline"]["limited"] is True
    [name] = [event for event in room["state"]["events"] if event["type"] == "m.room.name"]
    assert name["content"] == {"name": "Before"}
    assert len(room["state"]["events"]) == 7
    older = ok(
        server.alice.get(
            f"/rooms/{quote(room_id)}/messages?dir=b&from={room['timeline']['prev_batch']}&limit=2"
        )
    )
    assert [event["content"]["body"] for event in older["chunk"]] == ["9", "8"]


def test_one_event_more(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    other = public_room(server.alice)
    since = token(server.alice)
    server.alice.say(room_id, "hello")
    answer = server.alice.sync(since)
    assert answer["rooms"]["join"].keys() == {room_id} != {other}
    room = answer["rooms"]["join"][room_id]
    assert bodies(room) == ["hello"]
    assert room["timeline"]["limited"] is False
    assert room["state"] == {"events": []}
    assert room["summary"] == {}
    assert server.alice.sync(answer["next_batch"])["rooms"]["join"] == {}
    assert server.alice.sync(since)["rooms"]["join"][room_id]["timeline"]["prev_batch"]


def test_a_gap_comes_with_what_changed_in_it(server: SyncServer) -> None:
    room_id = public_room(server.alice, name="First")
    since = token(server.alice)
    server.alice.state(room_id, "m.room.name", {"name": "Second"})
    server.alice.state(room_id, "m.room.topic", {"topic": "Gap"})
    server.bob.join(room_id)
    server.alice.say(room_id, "shown 1")
    server.alice.state(room_id, "m.room.name", {"name": "Third"})
    room = news(server.alice, since, room_id, filter={"room": {"timeline": {"limit": 2}}})
    assert bodies(room) == ["shown 1", "m.room.name"]
    assert room["timeline"]["limited"] is True
    state = {event["type"]: event["content"] for event in room["state"]["events"]}
    assert state == {
        "m.room.name": {"name": "Second"},
        "m.room.topic": {"topic": "Gap"},
        "m.room.member": {"membership": "join"},
    }
    assert room["summary"]["m.joined_member_count"] == 2


@pytest.mark.parametrize("limit", [0, 1])
def test_small_limits(server: SyncServer, limit: int) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    server.alice.state(room_id, "m.room.name", {"name": "Unseen"})
    server.alice.say(room_id, "a")
    a_filter = {"room": {"timeline": {"limit": limit}}}
    room = news(server.alice, since, room_id, filter=a_filter)
    assert bodies(room) == ["a"][:limit]
    assert room["timeline"]["limited"] is True
    assert [event["content"] for event in room["state"]["events"]] == [{"name": "Unseen"}]
    before = ok(
        server.alice.get(
            f"/rooms/{quote(room_id)}/messages?dir=b&from={room['timeline']['prev_batch']}&limit=1"
        )
    )["chunk"]
    assert before[0]["type"] == ("m.room.name" if limit else "m.room.message")


def test_state_that_the_timeline_filter_hides_is_in_the_state(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    server.alice.say(room_id, "a")
    server.alice.state(room_id, "m.room.name", {"name": "Hidden"})
    a_filter = {"room": {"timeline": {"types": ["m.room.message"]}}}
    room = news(server.alice, since, room_id, filter=a_filter)
    assert bodies(room) == ["a"]
    assert [event["content"] for event in room["state"]["events"]] == [{"name": "Hidden"}]
    fresh = server.alice.sync(filter=a_filter)["rooms"]["join"][room_id]
    assert {"name": "Hidden"} in [event["content"] for event in fresh["state"]["events"]]


def test_a_filter_of_which_nothing_is_left_tells_nothing(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    server.alice.say(room_id, "a")
    for a_filter in (
        {"room": {"timeline": {"types": ["m.other"]}}},
        {"room": {"rooms": []}},
        {"room": {"not_rooms": [room_id]}},
        {"room": {"timeline": {"not_senders": [server.alice.id]}}},
    ):
        assert server.alice.sync(since, filter=a_filter)["rooms"]["join"] == {}, a_filter


def test_a_joiner_is_told_the_room_afresh(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    for i in range(12):
        server.alice.say(room_id, f"{i}")
    since = token(server.bob)
    server.bob.account_data("org.example", {"a": 1}, room_id)
    server.bob.join(room_id)
    server.alice.say(room_id, "welcome")
    room = news(server.bob, since, room_id)
    assert bodies(room) == [f"{i}" for i in range(4, 12)] + ["m.room.member", "welcome"]
    assert room["timeline"]["limited"] is True
    assert len(room["state"]["events"]) == 6
    assert room["account_data"]["events"] == [{"type": "org.example", "content": {"a": 1}}]
    assert room["summary"]["m.joined_member_count"] == 2
    assert room["summary"]["m.heroes"] == [server.alice.id]


def test_a_change_of_profile_is_no_joining(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    content = {"membership": "join", "displayname": "Al"}
    server.alice.state(room_id, "m.room.member", content, server.alice.id)
    room = news(server.alice, since, room_id)
    assert [event["content"] for event in room["timeline"]["events"]] == [content]
    assert room["timeline"]["events"][0]["unsigned"]["prev_content"] == {"membership": "join"}
    assert room["timeline"]["limited"] is False
    assert room["state"] == {"events": []}


def test_what_was_said_while_away_stays_hidden(server: SyncServer) -> None:
    joined = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room_id = public_room(server.alice, initial_state=[joined])
    server.bob.join(room_id)
    since = token(server.bob)
    server.alice.say(room_id, "seen")
    server.bob.leave(room_id)
    server.alice.say(room_id, "secret")
    server.alice.state(room_id, "m.room.topic", {"topic": "new"})
    server.bob.join(room_id)
    server.alice.say(room_id, "back")
    room = news(server.bob, since, room_id, filter={"room": {"timeline": {"limit": 4}}})
    assert bodies(room) == ["seen", "m.room.member", "m.room.member", "back"]
    assert room["timeline"]["limited"] is True
    assert {"topic": "new"} in [event["content"] for event in room["state"]["events"]]


def test_full_state(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    quiet = public_room(server.alice)
    since = token(server.alice)
    server.alice.say(room_id, "a")
    answer = server.alice.sync(since, full_state=True, timeout=60_000)
    assert bodies(answer["rooms"]["join"][room_id]) == ["a"]
    assert answer["rooms"]["join"][quiet]["timeline"]["events"] == []
    for room in answer["rooms"]["join"].values():
        assert len(room["state"]["events"]) == 6
        assert room["timeline"]["limited"] is False


def test_who_sends_sees_the_transaction_id(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    server.alice.say(room_id, "mine")
    [event] = news(server.alice, since, room_id)["timeline"]["events"]
    assert event["unsigned"]["transaction_id"] == "mine"
    server.bob.join(room_id)
    for other in (server.alice2, server.bob):
        room = other.sync()["rooms"]["join"][room_id]
        assert all("transaction_id" not in event["unsigned"] for event in room["timeline"]["events"])


def test_redacted_events(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    event_id = server.alice.say(room_id, "oops")
    since = token(server.alice)
    ok(server.alice.redact(room_id, event_id, "t"))
    [redaction] = news(server.alice, since, room_id)["timeline"]["events"]
    assert redaction["type"] == "m.room.redaction"
    assert redaction["redacts"] == event_id
    *_, event, _ = server.alice.sync()["rooms"]["join"][room_id]["timeline"]["events"]
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]


def test_forms_of_events(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    server.alice.say(room_id, "a")
    [event] = news(server.alice, since, room_id, filter={"event_fields": ["content.body"]})["timeline"][
        "events"
    ]
    assert event == {"content": {"body": "a"}}
    [event] = news(server.alice, since, room_id, filter={"event_format": "federation"})["timeline"]["events"]
    assert event["prev_events"]
    assert event["signatures"]


def test_receipts(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    server.bob.join(room_id)
    first, second = server.alice.say(room_id, "1"), server.alice.say(room_id, "2")
    since = {user.id: token(user) for user in (server.alice, server.bob)}
    server.bob.receipt(room_id, first)
    server.bob.receipt(room_id, second, "m.read.private")
    server.bob.receipt(room_id, second, thread_id="main")

    def receipts(user: Client, from_: str | None) -> Any:
        found = {}
        for event in user.sync(from_)["rooms"]["join"][room_id]["ephemeral"]["events"]:
            assert event["type"] == "m.receipt"
            for event_id, by_type in event["content"].items():
                for kind, by_user in by_type.items():
                    for reader, data in by_user.items():
                        found[reader, kind, data.pop("thread_id", None)] = event_id
                        assert data.keys() == {"ts"}
        return found

    public = {(server.bob.id, "m.read", None): first, (server.bob.id, "m.read", "main"): second}
    private = {(server.bob.id, "m.read.private", None): second}
    for from_ in (None, since[server.alice.id]):
        assert receipts(server.alice, from_) == public
    for from_ in (None, since[server.bob.id]):
        assert receipts(server.bob, from_) == public | private


def test_only_a_private_receipt_moves(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    server.bob.join(room_id)
    event_id = server.alice.say(room_id, "1")
    since_alice, since_bob = token(server.alice), token(server.bob)
    server.bob.receipt(room_id, event_id, "m.read.private")
    room = news(server.bob, since_bob, room_id)
    assert room["unread_notifications"] == {"notification_count": 0, "highlight_count": 0}
    assert room["timeline"]["events"] == []
    assert news(server.alice, since_alice, room_id) is None
    # The counts go down for a client, too, that does not want to hear of receipts.
    deaf = news(server.bob, since_bob, room_id, filter={"room": {"ephemeral": {"not_types": ["m.receipt"]}}})
    assert deaf["ephemeral"] == {"events": []}
    assert deaf["unread_notifications"]["notification_count"] == 0


def test_typing(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    server.bob.join(room_id)
    since = token(server.alice)
    server.bob.typing(room_id, True)
    answer = server.alice.sync(since)
    typing = {"type": "m.typing", "content": {"user_ids": [server.bob.id]}}
    assert answer["rooms"]["join"][room_id]["ephemeral"]["events"] == [typing]
    assert server.alice.sync()["rooms"]["join"][room_id]["ephemeral"]["events"] == [typing]
    assert server.alice.sync(answer["next_batch"])["rooms"]["join"] == {}
    server.bob.typing(room_id, False)
    room = news(server.alice, answer["next_batch"], room_id)
    assert room["ephemeral"]["events"] == [{"type": "m.typing", "content": {"user_ids": []}}]
    assert news(server.alice, since, room_id, filter={"room": {"ephemeral": {"types": []}}}) is None


def test_whoever_leaves_types_no_longer(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    server.bob.join(room_id)
    server.bob.typing(room_id, True)
    since = token(server.alice)
    ok(server.bob.membership("leave", room_id))
    room = news(server.alice, since, room_id)
    assert room["ephemeral"]["events"] == [{"type": "m.typing", "content": {"user_ids": []}}]


def test_account_data_and_tags(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    server.alice.account_data("org.example", {"n": 1})
    server.alice.account_data("org.example", {"n": 2}, room_id)
    ok(server.alice.put(f"/user/{quote(server.alice.id)}/rooms/{quote(room_id)}/tags/u.x", {"order": 0.5}))
    for from_ in (None, since):
        answer = server.alice.sync(from_)
        own = {event["type"]: event["content"] for event in answer["account_data"]["events"]}
        assert own["org.example"] == {"n": 1}
        assert ("m.push_rules" in own) is (from_ is None)
        room = answer["rooms"]["join"][room_id]
        assert {event["type"]: event["content"] for event in room["account_data"]["events"]} == {
            "org.example": {"n": 2},
            "m.tag": {"tags": {"u.x": {"order": 0.5}}},
        }
    a_filter = {"account_data": {"types": []}, "room": {"account_data": {"types": ["m.tag"]}}}
    answer = server.alice.sync(since, filter=a_filter)
    assert answer["account_data"] == {"events": []}
    assert types(answer["rooms"]["join"][room_id]["account_data"]) == ["m.tag"]
    assert server.bob.sync()["account_data"]["events"][0]["type"] == "m.push_rules"


def test_unread_counts_by_thread(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    server.bob.join(room_id)
    root = server.alice.say(room_id, "root")
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    server.alice.say(room_id, "in thread", **thread)
    server.alice.say(room_id, "again", **thread, **{"m.mentions": {"user_ids": [server.bob.id]}})
    room = server.bob.sync()["rooms"]["join"][room_id]
    assert room["unread_notifications"] == {"notification_count": 3, "highlight_count": 1}
    assert "unread_thread_notifications" not in room
    by_thread = {"room": {"timeline": {"unread_thread_notifications": True}}}
    room = server.bob.sync(filter=by_thread)["rooms"]["join"][room_id]
    assert room["unread_notifications"] == {"notification_count": 1, "highlight_count": 0}
    assert room["unread_thread_notifications"] == {root: {"notification_count": 2, "highlight_count": 1}}


def test_heroes_of_a_room_whose_name_is_redacted(server: SyncServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    server.bob.join(room_id)
    named = server.alice.state(room_id, "m.room.name", {"name": "Somewhere"})
    since = token(server.alice)
    assert "m.heroes" not in server.alice.sync()["rooms"]["join"][room_id]["summary"]
    ok(server.alice.redact(room_id, named, "t"))
    assert news(server.alice, since, room_id)["summary"]["m.heroes"] == [server.bob.id]
    assert server.alice.sync()["rooms"]["join"][room_id]["summary"]["m.heroes"] == [server.bob.id]


def test_heroes(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    since = token(server.alice)
    server.bob.join(room_id)
    answer = server.alice.sync(since)
    assert answer["rooms"]["join"][room_id]["summary"] == {
        "m.joined_member_count": 2,
        "m.invited_member_count": 0,
        "m.heroes": [server.bob.id],
    }
    ok(server.alice.membership("invite", room_id, user_id=server.carol.id))
    server.bob.leave(room_id)
    summary = news(server.alice, answer["next_batch"], room_id)["summary"]
    assert summary["m.heroes"] == [server.carol.id]
    assert (summary["m.joined_member_count"], summary["m.invited_member_count"]) == (1, 1)
    ok(server.alice.membership("kick", room_id, user_id=server.carol.id))
    assert set(server.alice.sync()["rooms"]["join"][room_id]["summary"]["m.heroes"]) == {
        server.bob.id,
        server.carol.id,
    }
    since = token(server.alice)
    server.alice.state(room_id, "m.room.name", {"name": "Named"})
    assert "m.heroes" not in news(server.alice, since, room_id)["summary"]


def test_who_is_ignored(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    server.bob.join(room_id)
    since = token(server.alice)
    server.alice.account_data("m.ignored_user_list", {"ignored_users": {server.bob.id: {}}})
    server.bob.say(room_id, "spam")
    server.bob.state(room_id, "m.room.member", {"membership": "join", "displayname": "B"}, server.bob.id)
    room = news(server.alice, since, room_id)
    assert bodies(room) == ["m.room.member"]
    assert "spam" not in bodies(server.alice.sync()["rooms"]["join"][room_id])
    server.alice.account_data("m.ignored_user_list", {"ignored_users": []})
    assert "spam" in bodies(server.alice.sync()["rooms"]["join"][room_id])


def test_many_hidden_events_before_the_wanted_one(server: SyncServer) -> None:
    room_id = public_room(server.alice)
    server.alice.state(room_id, "org.example.wanted", {"n": 1})
    for i in range(40):
        server.alice.say(room_id, f"{i}")
    a_filter = {"room": {"timeline": {"types": ["org.example.*"], "limit": 1}}}
    room = server.alice.sync(filter=a_filter)["rooms"]["join"][room_id]
    assert types(room["timeline"]) == ["org.example.wanted"]
    assert room["timeline"]["limited"] is False


def test_more_rooms_than_are_looked_up_at_once(server: SyncServer) -> None:
    rooms = {public_room(server.alice) for _ in range(53)}
    assert server.alice.sync()["rooms"]["join"].keys() == rooms
    assert server.alice.get(sync_path(filter='{"room":{"timeline":{"limit":1}}}')).json["rooms"]["join"]
