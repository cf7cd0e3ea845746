# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from federation.errors import BadJson, MatrixError, NotJson, TooLarge
from homeserver.filtering.filter import NO_FILTER, Filter
from homeserver.filtering.schema import MAX_SIZE, EventFormat

EXAMPLE = {
    "room": {
        "state": {"types": ["m.room.*"], "not_rooms": ["!726s6s6q:example.com"], "lazy_load_members": True},
        "timeline": {
            "limit": 10,
            "types": ["m.room.message"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
        "ephemeral": {"types": ["m.receipt", "m.typing"]},
        "account_data": {"not_types": ["m.tag"]},
        "include_leave": True,
        "not_rooms": ["!hidden:example.com"],
    },
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "account_data": {"types": ["m.direct"]},
    "event_format": "federation",
    "event_fields": ["type", "content", "sender"],
}


@pytest.mark.parametrize("json", [EXAMPLE, msgspec.json.encode(EXAMPLE)], ids=["object", "text"])
def test_a_whole_filter(json: Any) -> None:
    wanted = Filter.parse(json)

    room = "!room:example.com"
    assert wanted.timeline.limit == 10
    assert wanted.timeline.wants("m.room.message", "@a:b", room, {})
    assert not wanted.timeline.wants("m.room.message", "@spam:example.com", room, {})
    assert not wanted.timeline.wants("m.room.message", "@a:b", "!726s6s6q:example.com", {})
    assert wanted.state.wants_type("m.room.member")
    assert wanted.state.lazy_load_members
    assert wanted.ephemeral.wants("m.typing", None, room, {})
    assert not wanted.ephemeral.wants_type("m.other")
    assert not wanted.room_account_data.wants("m.tag", None, room, {})
    assert not wanted.presence.wants("m.presence", "@alice:example.com", None, {})
    assert wanted.account_data.wants("m.direct", None, None, {})
    assert not wanted.account_data.wants("m.push_rules", None, None, {})
    assert wanted.include_leave
    assert wanted.event_format is EventFormat.FEDERATION
    assert wanted.event_fields is not None
    assert wanted.event_fields.of({"type": "a", "unsigned": {}}) == {"type": "a"}
    assert [wanted.wants_room(r) for r in (room, "!hidden:example.com")] == [True, False]


@pytest.mark.parametrize(
    "json", [b"{}", b'{"room":{},"presence":null,"event_fields":[],"x":1}', b'{"room":null}']
)
def test_a_filter_that_says_nothing(json: bytes) -> None:
    assert Filter.parse(json) == NO_FILTER
    assert NO_FILTER.event_format is EventFormat.CLIENT
    assert NO_FILTER.timeline.is_everything
    assert NO_FILTER.wants_all_rooms
    assert not NO_FILTER.include_leave


@pytest.mark.parametrize(
    ("rooms", "not_rooms", "wanted", "all_rooms", "no_room"),
    [
        (None, None, {"!a:b", "!c:d"}, True, False),
        (["!a:b"], None, {"!a:b"}, False, False),
        (["!a:b"], ["!a:b"], set(), False, True),
        ([], None, set(), False, True),
        (None, ["!a:b"], {"!c:d"}, False, False),
        (None, [], {"!a:b", "!c:d"}, True, False),
    ],
)
def test_rooms(rooms: Any, not_rooms: Any, wanted: set[str], all_rooms: bool, no_room: bool) -> None:
    found = Filter.parse({"room": {"rooms": rooms, "not_rooms": not_rooms}})

    assert {room_id for room_id in ("!a:b", "!c:d") if found.wants_room(room_id)} == wanted
    assert (found.wants_all_rooms, found.wants_no_room) == (all_rooms, no_room)


@pytest.mark.parametrize(
    ("json", "error", "text"),
    [
        (b"", NotJson, "no JSON"),
        (b"{", NotJson, "no JSON"),
        (b"\xff", NotJson, "no JSON"),
        (b'{"presence":1,}', NotJson, "no JSON"),
        (b'{"presence":1,"x":1e999}', BadJson, r"filter\.presence: Expected"),
        (b"[]", BadJson, "^filter: Expected"),
        (b'"66696p746572"', BadJson, "^filter: Expected"),
        (b'{"event_format":"other"}', BadJson, r"filter\.event_format"),
        (b'{"event_fields":"type"}', BadJson, r"filter\.event_fields"),
        (b'{"event_fields":["type",1]}', BadJson, r"filter\.event_fields\[1\]"),
        (b'{"presence":{"limit":-1}}', BadJson, r"filter\.presence\.limit"),
        (b'{"presence":{"limit":1.5}}', BadJson, r"filter\.presence\.limit"),
        (b'{"presence":{"limit":"1"}}', BadJson, r"filter\.presence\.limit"),
        (b'{"presence":{"limit":true}}', BadJson, r"filter\.presence\.limit"),
        (b'{"account_data":{"senders":["alice"]}}', BadJson, r"filter\.account_data\.senders\[0\]"),
        (b'{"room":[]}', BadJson, r"filter\.room: "),
        (b'{"room":{"include_leave":1}}', BadJson, r"filter\.room\.include_leave"),
        (b'{"room":{"rooms":["room"]}}', BadJson, r"filter\.room\.rooms\[0\]"),
        (b'{"room":{"timeline":{"types":"m.room.*"}}}', BadJson, r"filter\.room\.timeline\.types"),
        (b'{"room":{"state":{"contains_url":"yes"}}}', BadJson, r"filter\.room\.state\.contains_url"),
        (b'{"x":' + b"[" * 30_000, BadJson, "too deeply"),
        (b'{"room":1,"x":' + b"[" * 30_000, BadJson, "too deeply"),
        (msgspec.json.encode({"presence": {"types": ["a"] * 501}}), BadJson, r"filter\.presence\.types"),
        (msgspec.json.encode({"event_fields": ["a"] * 501}), BadJson, r"filter\.event_fields"),
        (b" " * (MAX_SIZE + 1), TooLarge, "65536"),
    ],
)
def test_what_is_refused(json: bytes, error: type[MatrixError], text: str) -> None:
    with pytest.raises(error, match=text):
        Filter.parse(json)


def test_a_large_object_is_refused_as_well() -> None:
    with pytest.raises(TooLarge):
        Filter.parse({"x": "a" * MAX_SIZE})
