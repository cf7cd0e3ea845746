# SPDX-License-Identifier: Apache-2.0
"""The format of PDUs and their limits. spec: rooms, "Event format"; client-server-api, "Size limits"."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.canonical_json import MAX_INTEGER, decode_json
from federation.rules.errors import (
    EventTooLarge,
    InvalidEventFormat,
    NotCanonicalJson,
    RuleError,
    TooDeep,
)
from federation.rules.event_format import (
    MAX_AUTH_EVENTS,
    MAX_EVENT_SIZE,
    MAX_MEMBER_SIZE,
    MAX_PREV_EVENTS,
    is_event_id,
    parse_pdu,
)
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from tests.support.judging import since
from tests.support.rooms import ALICE, BOB, Room, make_room, pdu_of

ID = "$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"


STANDARD_ID = "$Rqnc+F/dvnEYJTyHq/iKxU2bZ1CI92+kuZq3a5lr5Zg"
OLD_ID = "$opaque:[::1]:8448"

STRICT = [name for name, version in ROOM_VERSIONS.items() if since(version, 6)]
LENIENT = [name for name, version in ROOM_VERSIONS.items() if not since(version, 6)]


def reference(version: RoomVersion, event_id: str | None = None) -> Any:
    """How an event of this version refers to another."""
    if not since(version, 3):
        return [event_id or OLD_ID, {"sha256": "x"}]
    return event_id or (ID if since(version, 4) else STANDARD_ID)


@pytest.fixture(params=list(ROOM_VERSIONS))
def version(request: pytest.FixtureRequest) -> RoomVersion:
    return ROOM_VERSIONS[request.param]


@pytest.fixture
def pdu(version: RoomVersion) -> dict[str, Any]:
    return pdu_of(make_room(version).set_state(ALICE, "m.room.topic", {"topic": "a"}))


def test_a_whole_room_is_read_as_it_was_built(version: RoomVersion) -> None:
    room = make_room(version, members=[BOB])
    for event in room.events:
        read = parse_pdu(pdu_of(event), version)
        assert attrs.asdict(read, recurse=False) == attrs.asdict(event, recurse=False)


def test_unsigned_is_left_out_and_everything_else_stays(pdu: dict[str, Any], version: RoomVersion) -> None:
    event = parse_pdu({**pdu, "unsigned": {"age": 1.5}, "origin": "a", "x": {"y": [None]}}, version)
    assert decode_json(event.json) == {**pdu, "origin": "a", "x": {"y": [None]}}


def test_a_pdu_is_not_changed(pdu: dict[str, Any], version: RoomVersion) -> None:
    given_pdu = {**pdu, "unsigned": {}}
    before = repr(given_pdu)
    parse_pdu(given_pdu, version)
    assert repr(given_pdu) == before


def test_redacts_at_the_top(pdu: dict[str, Any], version: RoomVersion) -> None:
    assert parse_pdu({**pdu, "redacts": ID}, version).redacts == ID
    assert parse_pdu({**pdu, "redacts": 5}, version).redacts is None


@pytest.mark.parametrize(
    "member",
    [
        "type",
        "sender",
        "room_id",
        "content",
        "origin_server_ts",
        "depth",
        "prev_events",
        "auth_events",
        "hashes",
        "signatures",
    ],
)
def test_members_that_must_be_there(pdu: dict[str, Any], version: RoomVersion, member: str) -> None:
    del pdu[member]
    with pytest.raises(InvalidEventFormat) as caught:
        parse_pdu(pdu, version)
    assert caught.value.member == member
    assert member in str(caught.value)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("type", None),
        ("type", 5),
        ("type", ["a"]),
        ("state_key", None),
        ("state_key", 5),
        ("sender", 5),
        ("sender", "alice"),
        ("sender", "@alice"),
        ("sender", "@alice:"),
        ("sender", "@al\0ice:a.example"),
        ("sender", "@alice:a b"),
        ("room_id", 5),
        ("room_id", None),
        ("room_id", ""),
        ("room_id", ID),
        ("room_id", "!room:a b"),
        ("room_id", "!ro\0om:a.example"),
        ("content", None),
        ("content", []),
        ("content", "a"),
        ("origin_server_ts", None),
        ("origin_server_ts", "5"),
        ("origin_server_ts", True),
        ("depth", None),
        ("depth", "5"),
        ("depth", True),
        ("depth", -1),
        ("prev_events", None),
        ("prev_events", {}),
        ("prev_events", ID),
        ("prev_events", [5]),
        ("prev_events", [None]),
        ("prev_events", [[ID, {"sha256": "x"}]]),
        ("prev_events", ["$0:domain"]),
        ("prev_events", [["$0:domain", {"sha256": "x"}, 5]]),
        ("prev_events", [["$0:domain", {}]]),
        ("prev_events", [["$0:domain", {"sha256": 5}]]),
        ("prev_events", [["$0:domain", "x"]]),
        ("prev_events", [["$0:domain"]]),
        ("prev_events", [["$0", {"sha256": "x"}]]),
        ("prev_events", [["0:domain", {"sha256": "x"}]]),
        ("prev_events", [["$0:do main", {"sha256": "x"}]]),
        ("prev_events", [["$" + "0" * 248 + ":domain", {"sha256": "x"}]]),
        ("prev_events", [[5, {"sha256": "x"}]]),
        ("prev_events", [[]]),
        ("prev_events", [{"0": "$0:domain"}]),
        ("prev_events", [STANDARD_ID + "A"]),
        ("prev_events", [STANDARD_ID[:-1] + "h"]),
        ("prev_events", ["Rqnc"]),
        ("prev_events", [ID + "A"]),
        ("prev_events", [ID.replace("-", "+")]),
        ("auth_events", None),
        ("auth_events", [{}]),
        ("auth_events", [""]),
        ("hashes", None),
        ("hashes", []),
        ("hashes", {}),
        ("hashes", {"sha256": 5}),
        ("hashes", {"md5": "x"}),
        ("signatures", None),
        ("signatures", []),
        ("signatures", {"a": 5}),
        ("signatures", {"a": {"ed25519:1": 5}}),
    ],
)
def test_members_of_a_wrong_kind(pdu: dict[str, Any], version: RoomVersion, member: str, value: Any) -> None:
    with pytest.raises(InvalidEventFormat) as caught:
        parse_pdu({**pdu, member: value}, version)
    assert caught.value.member == member


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("type", ""),
        ("type", "a\0b"),
        ("state_key", ""),
        ("state_key", "\0"),
        ("sender", "@:a.example"),
        ("sender", "@日本 \n:[::1]:8448"),
        ("content", {"": {"": [{}]}}),
        ("origin_server_ts", 0),
        ("origin_server_ts", -1),
        ("origin_server_ts", MAX_INTEGER),
        ("origin_server_ts", -MAX_INTEGER),
        ("depth", 0),
        ("depth", MAX_INTEGER),
        ("prev_events", []),
        ("auth_events", []),
        ("hashes", {"sha256": "", "md5": 5}),
        ("signatures", {}),
        ("signatures", {"a": {}, "b": {"x": "y"}}),
    ],
)
def test_members_at_the_edge(pdu: dict[str, Any], version: RoomVersion, member: str, value: Any) -> None:
    event = parse_pdu({**pdu, member: value}, version)
    assert decode_json(event.json)[member] == value


def test_room_ids_of_version_12() -> None:
    version = ROOM_VERSIONS["12"]
    pdu = pdu_of(make_room(version).message(ALICE))
    assert parse_pdu({**pdu, "room_id": "!" + ID[1:]}, version).room_id == "!" + ID[1:]
    for room_id in ("!room:a.example", "!" + ID[1:-1], "!" + ID[1:] + "A", "!" + "A" * 42 + "B"):
        with pytest.raises(InvalidEventFormat, match="room_id"):
            parse_pdu({**pdu, "room_id": room_id}, version)


@pytest.mark.parametrize("name", ["1", "11"])
def test_room_ids_with_a_domain(name: str) -> None:
    version = ROOM_VERSIONS[name]
    pdu = pdu_of(make_room(version).message(ALICE))
    assert parse_pdu({**pdu, "room_id": "!é:[::1]:1"}, version).room_id == "!é:[::1]:1"
    for room_id in ("!" + ID[1:], "!room", "room:a.example"):
        with pytest.raises(InvalidEventFormat, match="room_id"):
            parse_pdu({**pdu, "room_id": room_id}, version)


@pytest.mark.parametrize("room_id", ["!room:a.example", "!" + ID[1:], None, 5])
def test_a_create_event_of_version_12_has_no_room_id(room_id: Any) -> None:
    room = Room("12")
    with pytest.raises(InvalidEventFormat, match="must be absent"):
        parse_pdu({**pdu_of(room.create), "room_id": room_id}, room.version)


def test_a_create_event_of_version_11_has_a_room_id() -> None:
    room = Room("11")
    pdu = pdu_of(room.create)
    del pdu["room_id"]
    with pytest.raises(InvalidEventFormat, match="room_id"):
        parse_pdu(pdu, room.version)


@pytest.mark.parametrize(
    ("member", "prefix", "suffix"),
    [("type", "", ""), ("state_key", "", ""), ("sender", "@", ":a.example")],
)
@pytest.mark.parametrize("letter", ["a", "é", "\U0001f600"])
def test_limits_of_members_count_bytes(
    pdu: dict[str, Any], version: RoomVersion, member: str, prefix: str, suffix: str, letter: str
) -> None:
    free = MAX_MEMBER_SIZE - len(prefix + suffix)
    count = free // len(letter.encode())
    fill = "a" * (free - count * len(letter.encode()))
    longest = prefix + letter * count + fill + suffix
    assert len(longest.encode()) == MAX_MEMBER_SIZE
    parse_pdu({**pdu, member: longest}, version)
    with pytest.raises(EventTooLarge) as caught:
        parse_pdu({**pdu, member: prefix + "a" + longest[len(prefix) :]}, version)
    assert caught.value.member == member


def test_the_limit_of_a_room_id_counts_bytes() -> None:
    version = ROOM_VERSIONS["11"]
    pdu = pdu_of(make_room(version).message(ALICE))
    longest = "!" + "é" * 126 + ":a"
    assert len(longest.encode()) == MAX_MEMBER_SIZE
    parse_pdu({**pdu, "room_id": longest}, version)
    with pytest.raises(EventTooLarge, match="room_id"):
        parse_pdu({**pdu, "room_id": longest + "a"}, version)


@pytest.mark.parametrize(
    ("member", "most"), [("prev_events", MAX_PREV_EVENTS), ("auth_events", MAX_AUTH_EVENTS)]
)
def test_limits_of_references(pdu: dict[str, Any], version: RoomVersion, member: str, most: int) -> None:
    assert most == {"prev_events": 20, "auth_events": 10}[member]
    parse_pdu({**pdu, member: [reference(version)] * most}, version)
    with pytest.raises(EventTooLarge, match=member):
        parse_pdu({**pdu, member: [reference(version)] * (most + 1)}, version)


def test_the_limit_of_the_event(pdu: dict[str, Any], version: RoomVersion) -> None:
    room_left = MAX_EVENT_SIZE - len(parse_pdu({**pdu, "content": {"a": ""}}, version).json)
    assert MAX_EVENT_SIZE == 65_536
    largest = {**pdu, "content": {"a": "x" * room_left}, "unsigned": {"not": "counted"}}
    assert len(parse_pdu(largest, version).json) == MAX_EVENT_SIZE
    with pytest.raises(EventTooLarge, match="65537 bytes"):
        parse_pdu({**pdu, "content": {"a": "x" * (room_left + 1)}}, version)


@pytest.mark.parametrize("name", STRICT)
@pytest.mark.parametrize("number", [1.0, 2**53, -(2**53), 2**63, 1e100])
def test_numbers_that_are_not_canonical(name: str, number: float) -> None:
    pdu, version = PDUS[name], ROOM_VERSIONS[name]
    for bent in (
        {"content": {"a": [number]}},
        {"x": number},
        {"depth": number},
        {"origin_server_ts": number},
    ):
        with pytest.raises(NotCanonicalJson):
            parse_pdu({**pdu, **bent}, version)


@pytest.mark.parametrize("name", LENIENT)
@pytest.mark.parametrize("number", [1.0, 0.5, 2**53, -(2**53), 2**63, 2**64, 2**100, 1e100, 5e-324])
def test_numbers_of_versions_with_lenient_json(name: str, number: float) -> None:
    """spec: rooms, version 1, "Canonical JSON"."""
    pdu, version = PDUS[name], ROOM_VERSIONS[name]
    event = parse_pdu({**pdu, "content": {"a": [number]}, "x": number}, version)
    assert event.content == {"a": [number]}
    assert decode_json(event.json)["x"] == number
    assert type(decode_json(event.json)["x"]) is type(number)
    assert parse_pdu(decode_json(event.json), version).event_id == event.event_id


@pytest.mark.parametrize("name", LENIENT)
def test_integers_of_versions_with_lenient_json(name: str) -> None:
    """spec: rooms, versions 1 and 3, "Event format": `depth` up to 2^63 - 1."""
    pdu, version = PDUS[name], ROOM_VERSIONS[name]
    for member in ("depth", "origin_server_ts"):
        event = parse_pdu({**pdu, member: 2**63 - 1}, version)
        assert getattr(event, member) == 2**63 - 1
        for number in (2**63, 2**100, -(2**63), 5.0):
            with pytest.raises(InvalidEventFormat) as caught:
                parse_pdu({**pdu, member: number}, version)
            assert caught.value.member == member


@pytest.mark.parametrize("name", LENIENT)
@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), float("-inf"), {1: 2}, (1,), b"a", pytest.param(10**5000, id="long")],
)
def test_what_even_lenient_json_cannot_hold(name: str, value: Any) -> None:
    with pytest.raises(NotCanonicalJson):
        parse_pdu({**PDUS[name], "content": {"a": value}}, ROOM_VERSIONS[name])


def test_an_event_may_refer_twice(pdu: dict[str, Any], version: RoomVersion) -> None:
    twice = [reference(version)] * 2
    event = parse_pdu({**pdu, "prev_events": twice}, version)
    assert decode_json(event.json)["prev_events"] == twice
    assert len(event.prev_events) == 2


@pytest.mark.parametrize(
    ("event_id", "first", "last"),
    [
        ("$0:domain", 1, 2),
        ("$é /:1.2.3.4", 1, 2),
        ("$:domain", 1, 2),
        (STANDARD_ID, 3, 3),
        (STANDARD_ID.replace("+", "A").replace("/", "B"), 3, 12),
        (ID, 4, 12),
        ("$0", 13, 13),
        ("0:domain", 13, 13),
        ("$0:", 13, 13),
        ("$\0:domain", 13, 13),
        ("$" + "é" * 124 + ":domai", 1, 2),
        ("$" + "é" * 124 + ":domain", 13, 13),
        ("", 13, 13),
    ],
)
def test_event_ids(version: RoomVersion, event_id: str, first: int, last: int) -> None:
    """In references; `first` and `last` are the versions that have such ids. spec: rooms, "Event IDs"."""
    known = first <= int(version.identifier) <= last
    assert is_event_id(event_id, version) is known
    pdu = {**PDUS[version.identifier], "auth_events": [reference(version, event_id or "$")]}
    if known:
        assert parse_pdu(pdu, version).auth_events == (event_id,)
    else:
        with pytest.raises(InvalidEventFormat, match="auth_events"):
            parse_pdu(pdu, version)


@pytest.mark.parametrize("name", ["1", "2"])
class TestIdsInPdus:
    """spec: rooms, version 1, "Event IDs" and "Event format"."""

    def test_the_id_is_what_the_pdu_says(self, name: str) -> None:
        event = parse_pdu({**PDUS[name], "event_id": "$any:c.example"}, ROOM_VERSIONS[name])
        assert event.event_id == "$any:c.example"

    @pytest.mark.parametrize("event_id", [None, 5, "", "$", "$x", "x:domain", "$x:a b", "$\0:a", ID, []])
    def test_ids_that_are_none(self, name: str, event_id: Any) -> None:
        with pytest.raises(InvalidEventFormat) as caught:
            parse_pdu({**PDUS[name], "event_id": event_id}, ROOM_VERSIONS[name])
        assert caught.value.member == "event_id"

    def test_the_id_must_be_there(self, name: str) -> None:
        pdu = {key: value for key, value in PDUS[name].items() if key != "event_id"}
        with pytest.raises(InvalidEventFormat, match="event_id"):
            parse_pdu(pdu, ROOM_VERSIONS[name])

    def test_the_id_is_bounded(self, name: str) -> None:
        with pytest.raises(EventTooLarge, match="event_id"):
            parse_pdu({**PDUS[name], "event_id": "$" + "x" * 248 + ":domain"}, ROOM_VERSIONS[name])


def test_lone_surrogates(pdu: dict[str, Any], version: RoomVersion) -> None:
    for bent in ({"content": {"a": "\ud800"}}, {"type": "\udfff"}, {"sender": "@\ud800:a"}):
        with pytest.raises(RuleError):
            parse_pdu({**pdu, **bent}, version)


def test_depth_of_nesting(pdu: dict[str, Any], version: RoomVersion) -> None:
    def content(depth: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return {"a": value}

    parse_pdu({**pdu, "content": content(254)}, version)
    with pytest.raises(TooDeep):
        parse_pdu({**pdu, "content": content(255)}, version)
    with pytest.raises(TooDeep):
        parse_pdu({**pdu, "content": content(50_000)}, version)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
REFERENCES = st.lists(
    st.sampled_from([ID, STANDARD_ID, OLD_ID])
    | st.tuples(st.sampled_from([OLD_ID, ID]) | JSON, st.just({"sha256": "x"}) | JSON).map(list),
    max_size=3,
)
MEMBERS = st.sampled_from(
    [
        "type",
        "sender",
        "room_id",
        "state_key",
        "content",
        "origin_server_ts",
        "depth",
        "prev_events",
        "auth_events",
        "hashes",
        "signatures",
        "unsigned",
        "event_id",
        "redacts",
    ]
)


@given(st.sampled_from(list(ROOM_VERSIONS)), st.dictionaries(MEMBERS, JSON | REFERENCES, max_size=3))
@settings(max_examples=400)
def test_anything_is_read_or_refused(name: str, bent: dict[str, Any]) -> None:
    version = ROOM_VERSIONS[name]
    pdu = {**PDUS[name], **bent}
    try:
        event = parse_pdu(pdu, version)
    except RuleError:
        return
    assert parse_pdu(decode_json(event.json), version).event_id == event.event_id


PDUS = {
    name: pdu_of(make_room(name).set_state(ALICE, "m.room.topic", {"topic": "a"})) for name in ROOM_VERSIONS
}
