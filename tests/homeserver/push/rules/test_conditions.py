# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from homeserver.push.rules.conditions import Never, read_condition
from homeserver.push.rules.context import NOBODY, EventView, Occasion, Owner, RoomContext
from storage.event import Event
from tests.homeserver.push.rules.events import make_event, make_room


def holds(
    condition: dict[str, Any], event: Event, room: RoomContext | None = None, owner: Owner = NOBODY
) -> bool:
    return read_condition(condition).matches(Occasion(EventView(event), room or make_room(), owner))


def event_match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


TOPIC = make_event("m.room.topic", {"topic": "Lunch plans", "nothing": None}, state_key="")
CREATE = make_event(
    "m.room.create",
    {
        "m.federate": True,
        "room_version": "1",
        "number": 1,
        "one": 1.0,
        "big": 2**53,
        "nothing": None,
        "deep": {"a": "b"},
    },
    state_key="",
)
ALIAS = make_event(
    "m.room.canonical_alias",
    {
        "alias": "#somewhere:example.org",
        "alt_aliases": ["#somewhere:example.org", "#myroom:example.com", 7, None, [1]],
    },
    state_key="",
)


@pytest.mark.parametrize(
    ("event", "key", "pattern", "expected"),
    [
        (TOPIC, "content.topic", "lunc?*", True),
        (TOPIC, "content.topic", "lunch", False),
        (TOPIC, "content.nothing", "*", False),
        (TOPIC, "content.absent", "*", False),
        (TOPIC, "content.topic.more", "*", False),
        (TOPIC, "content", "*", False),
        (TOPIC, "type", "M.ROOM.*", True),
        (TOPIC, "state_key", "", True),
        (TOPIC, "room_id", "!room:example.org", True),
        (TOPIC, "sender", "@sender:*", True),
        (TOPIC, "event_id", "$event", True),
        (TOPIC, "unsigned", "*", False),
        (TOPIC, "depth", "*", False),
        (TOPIC, "origin_server_ts", "*", False),
        (TOPIC, "", "*", False),
        (make_event(), "state_key", "*", False),
        (make_event(content={"body": "An example event."}), "content.body", "ex*ple", True),
        (make_event(content={"body": "An example event."}), "content.body", "exam", False),
        (make_event(content={"formatted_body": "An example"}), "content.formatted_body", "example", False),
        (make_event(content={"body": 5}), "content.body", "5", False),
        (
            make_event(content={"m.relates_to": {"rel_type": "m.thread"}}),
            r"content.m\.relates_to.rel_type",
            "M.thread",
            True,
        ),
        (
            make_event(content={"m.relates_to": {"rel_type": "m.thread"}}),
            "content.m.relates_to.rel_type",
            "m.thread",
            False,
        ),
    ],
)
def test_event_match(event: Event, key: str, pattern: str, expected: bool) -> None:
    assert holds(event_match(key, pattern), event) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (r"content.m\.federate", True, True),
        (r"content.m\.federate", "true", False),
        (r"content.m\.federate", 1, False),
        ("content.number", 1, True),
        ("content.number", True, False),
        ("content.one", 1, False),
        ("content.room_version", "1", True),
        ("content.room_version", 1, False),
        ("content.nothing", None, True),
        ("content.absent", None, False),
        ("content.big", 2**53, False),
        ("content.deep", {"a": "b"}, False),
        ("content.one", 1.0, False),
        ("state_key", "", True),
    ],
)
def test_event_property_is(key: str, value: Any, expected: bool) -> None:
    assert holds({"kind": "event_property_is", "key": key, "value": value}, CREATE) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("content.alt_aliases", "#myroom:example.com", True),
        ("content.alt_aliases", ":example.com", False),
        ("content.alt_aliases", "#MYROOM:example.com", False),
        ("content.alt_aliases", 7, True),
        ("content.alt_aliases", "7", False),
        ("content.alt_aliases", None, True),
        ("content.alt_aliases", [1], False),
        ("content.alias", "#somewhere:example.org", False),
        ("content.absent", "x", False),
    ],
)
def test_event_property_contains(key: str, value: Any, expected: bool) -> None:
    assert holds({"kind": "event_property_contains", "key": key, "value": value}, ALIAS) is expected


@pytest.mark.parametrize(
    ("body", "name", "expected"),
    [
        ("hello Alice!", "Alice", True),
        ("hello alice", "Alice", True),
        ("malice", "Alice", False),
        ("what of Alice *?", "alice *", True),
        ("what of Alice the", "alice *", False),
        ("hello", "", False),
        ("hello", None, False),
        (7, "7", False),
    ],
)
def test_contains_display_name(body: Any, name: str | None, expected: bool) -> None:
    owner = Owner("@alice:example.org", name)

    assert (
        holds({"kind": "contains_display_name"}, make_event(content={"body": body}), owner=owner) is expected
    )


@pytest.mark.parametrize(
    ("comparison", "counts"),
    [
        ("2", {2}),
        ("==2", {2}),
        ("<2", {0, 1}),
        (">2", {3, 4}),
        ("<=2", {0, 1, 2}),
        (">=2", {2, 3, 4}),
        ("", set()),
        ("=2", set()),
        ("!=2", set()),
        ("-2", set()),
        (" 2", set()),
        ("2\n", set()),
        ("2.0", set()),
        ("\u0662", set()),
        ("9" * 5000, set()),
        (2, set()),
    ],
)
def test_room_member_count(comparison: Any, counts: set[int]) -> None:
    condition = {"kind": "room_member_count", "is": comparison}

    assert {n for n in range(5) if holds(condition, TOPIC, make_room(member_count=n))} == counts


@pytest.mark.parametrize(
    ("key", "level", "expected"),
    [("room", 49, False), ("room", 50, True), ("room", float("inf"), True), (5, 100, False)],
)
def test_sender_notification_permission(key: Any, level: int, expected: bool) -> None:
    condition = {"kind": "sender_notification_permission", "key": key}

    assert holds(condition, TOPIC, make_room(sender_level=level)) is expected


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"kind": "device"},
        {"kind": ["event_match"]},
        {"kind": "event_match", "key": "type"},
        {"kind": "event_match", "pattern": "*"},
        {"kind": "event_match", "key": "type", "pattern": None},
        {"kind": "event_property_is", "key": "type"},
        {"kind": "event_property_is", "value": None},
        {"kind": "event_property_contains", "key": 7, "value": 7},
        {"kind": "event_property_contains", "key": "content.alt_aliases"},
        {"kind": "room_member_count"},
        {"kind": "sender_notification_permission"},
    ],
)
def test_what_is_not_understood_never_matches(condition: dict[str, Any]) -> None:
    assert read_condition(condition) == Never()
    assert not holds(condition, ALIAS)
