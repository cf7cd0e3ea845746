# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from federation.errors import BadJson
from homeserver.filtering.event_predicate import EVERYTHING, EventPredicate

MESSAGE = ("m.room.message", "@alice:example.org", "!room:example.org", {"body": "hello"})
IMAGE = ("m.room.message", "@alice:example.org", "!room:example.org", {"url": "mxc://example.org/a"})
MEMBER = ("m.room.member", "@bob:example.org", "!room:example.org", {"membership": "join"})
ELSEWHERE = ("m.room.message", "@alice:example.org", "!other:example.org", {"body": "hello"})
TAGS = ("m.tag", None, "!room:example.org", {})
ALL = {"message": MESSAGE, "image": IMAGE, "member": MEMBER, "elsewhere": ELSEWHERE, "tags": TAGS}


def wanted(**members: Any) -> set[str]:
    predicate = EventPredicate.parse(msgspec.json.encode(members))
    return {name for name, event in ALL.items() if predicate.wants(*event)}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {*ALL}),
        ({"types": ["m.room.message"]}, {"message", "image", "elsewhere"}),
        ({"types": ["m.room.*"]}, {"message", "image", "elsewhere", "member"}),
        ({"types": ["*"]}, {*ALL}),
        ({"types": []}, set()),
        ({"not_types": ["m.room.*"]}, {"tags"}),
        ({"not_types": []}, {*ALL}),
        ({"types": ["m.room.*"], "not_types": ["m.room.member"]}, {"message", "image", "elsewhere"}),
        ({"types": ["m.room.member"], "not_types": ["*"]}, set()),
        ({"senders": ["@alice:example.org"]}, {"message", "image", "elsewhere"}),
        ({"senders": []}, set()),
        ({"not_senders": ["@alice:example.org"]}, {"member", "tags"}),
        ({"senders": ["@alice:example.org"], "not_senders": ["@alice:example.org"]}, set()),
        ({"rooms": ["!other:example.org"]}, {"elsewhere"}),
        ({"rooms": []}, set()),
        ({"not_rooms": ["!room:example.org"]}, {"elsewhere"}),
        ({"rooms": ["!other:example.org"], "not_rooms": ["!other:example.org"]}, set()),
        ({"contains_url": True}, {"image"}),
        ({"contains_url": False}, {"message", "member", "elsewhere", "tags"}),
        ({"contains_url": None, "types": None, "rooms": None}, {*ALL}),
        ({"types": ["m.room.message"], "rooms": ["!room:example.org"], "contains_url": False}, {"message"}),
        ({"limit": 5, "lazy_load_members": True, "of.tomorrow": [1]}, {*ALL}),
    ],
)
def test_which_events_are_wanted(members: dict[str, Any], expected: set[str]) -> None:
    assert wanted(**members) == expected


@pytest.mark.parametrize(
    ("members", "is_everything", "is_nothing"),
    [
        ({}, True, False),
        ({"limit": 3, "lazy_load_members": True}, True, False),
        ({"types": ["*"], "not_types": [], "not_senders": [], "not_rooms": []}, True, False),
        ({"types": ["m.*"]}, False, False),
        ({"not_types": ["m.*"]}, False, False),
        ({"not_senders": ["@a:b"]}, False, False),
        ({"not_rooms": ["!a:b"]}, False, False),
        ({"contains_url": False}, False, False),
        ({"related_by_rel_types": ["m.thread"]}, False, False),
        ({"related_by_senders": ["@a:b"]}, False, False),
        ({"types": []}, False, True),
        ({"senders": []}, False, True),
        ({"rooms": []}, False, True),
        ({"not_types": ["m.x", "*"]}, False, True),
    ],
)
def test_what_needs_no_asking(members: dict[str, Any], is_everything: bool, is_nothing: bool) -> None:
    predicate = EventPredicate.parse(members)

    assert (predicate.is_everything, predicate.is_nothing) == (is_everything, is_nothing)


def test_no_filter_wants_everything() -> None:
    assert EventPredicate.of(None) is EVERYTHING
    assert EventPredicate.parse({}) == EVERYTHING


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, (False, False, False)),
        ({"lazy_load_members": True}, (True, False, False)),
        ({"lazy_load_members": True, "include_redundant_members": True}, (True, True, False)),
        ({"unread_thread_notifications": True, "lazy_load_members": False}, (False, False, True)),
    ],
)
def test_switches(members: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    predicate = EventPredicate.parse(members)

    assert expected == (
        predicate.lazy_load_members,
        predicate.include_redundant_members,
        predicate.unread_thread_notifications,
    )


@pytest.mark.parametrize(
    ("members", "needed", "wanted_relations"),
    [
        ({}, False, {"thread by alice", "edit by bob"}),
        ({"related_by_rel_types": ["m.thread"]}, True, {"thread by alice"}),
        ({"related_by_senders": ["@bob:example.org"]}, True, {"edit by bob"}),
        ({"related_by_rel_types": ["m.thread"], "related_by_senders": ["@bob:example.org"]}, True, set()),
        ({"related_by_rel_types": []}, True, set()),
    ],
)
def test_relations(members: dict[str, Any], needed: bool, wanted_relations: set[str]) -> None:
    predicate = EventPredicate.parse(members)
    relations = {
        "thread by alice": ("m.thread", "@alice:example.org"),
        "edit by bob": ("m.replace", "@bob:example.org"),
    }

    assert predicate.needs_relations is needed
    assert {
        name for name, relation in relations.items() if predicate.wants_relations([relation])
    } == wanted_relations
    assert predicate.wants_relations([]) is not needed


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 10), (0, 0), (1, 1), (100, 100), (101, 100), (2**70, 100)]
)
def test_limits(limit: int | None, expected: int) -> None:
    assert EventPredicate.parse({"limit": limit}).limit_within(default=10, largest=100) == expected
    assert EVERYTHING.limit_within(default=200, largest=100) == 100


def test_an_error_names_the_member() -> None:
    with pytest.raises(BadJson, match=r"filter\.not_rooms\[1\]"):
        EventPredicate.parse({"not_rooms": ["!a:b", "#a:b"]})
