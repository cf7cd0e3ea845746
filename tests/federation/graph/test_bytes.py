# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes, numbers and depths the room versions allow come through the remote entry as they are."""

from __future__ import annotations

from typing import Any

import pytest

from federation.graph.batches import Incoming
from federation.rules.canonical_json import MAX_DEPTH, decode_json
from federation.rules.errors import EventTooLarge, InvalidEventFormat, NotCanonicalJson, NotJson, TooDeep
from federation.rules.receipt import receive_pdu
from federation.rules.room_versions import ROOM_VERSIONS
from storage.engine.database import Database
from storage.event import Event
from tests.support.graphs import message, state
from tests.support.receiver import Receiver, bent, ids_of
from tests.support.rooms import ALICE, BOB, Room, make_room, pdu_of, verify_keys

NUL = "\0"
VERSIONS = pytest.mark.parametrize("version", ["1", "5", "6", "12"])
KEYS = {name: verify_keys(name) for name in ("a.example", "b.example")}


def received(room: Room, event: Event) -> Event:
    """The event as its bytes come over the wire."""
    return receive_pdu(decode_json(event.json), room.version, KEYS)


async def comes_through(room: Room, database: Database, known: int) -> Receiver:
    """Receive what the room has beyond its first `known` events, start again, and compare all of it."""
    receiver = Receiver.over(room, database)
    events = [received(room, event) for event in room.events]
    await receiver.begin(Incoming(events[:known]))
    stored = await receiver.receive(*events[known:])
    assert [one.rejected or one.soft_failed for one in stored] == [False] * len(stored)
    for _ in range(2):
        for event in room.events:
            one = await receiver.stored(event)
            assert one.event.json == event.json
            assert (one.event.type, one.event.state_key, one.event.sender) == (
                event.type,
                event.state_key,
                event.sender,
            )
            assert (one.event.content, one.event.depth) == (event.content, event.depth)
            assert repr(one.event.content) == repr(received(room, event).content)
            assert await receiver.state(one.after or one.before) == ids_of(room.state_after(event))
        assert await receiver.current() == ids_of(room.state)
        receiver.restart()
    return receiver


@VERSIONS
async def test_a_type_that_ends_in_nul_is_not_the_type_without_it(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    known = len(room.events)
    takeover = {"users": {BOB: 100, ALICE: 0}, "events_default": 100}
    room.set_state(ALICE, "m.room.power_levels\0x", takeover)
    room.set_state(ALICE, "m.room.power_levels\0", takeover)
    room.set_state(ALICE, "m.room.member\0", {"membership": "ban"}, ALICE)
    room.set_state(ALICE, "m.room.power_levels", {"users": {}, "events_default": 100}, state_key=NUL)
    room.message(BOB, "still allowed")
    receiver = await comes_through(room, database, known)
    [hello] = await receiver.send(message(ALICE, "the levels are as they were"))
    levels = room.state["m.room.power_levels", ""].event_id
    assert (await receiver.current())["m.room.power_levels", ""] == levels
    assert levels in hello.event.auth_events


@VERSIONS
async def test_nul_in_state_keys_keys_and_values(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    known = len(room.events)
    content = {NUL: NUL, "a\0b": ["c\0d", {"\0e": "f\0"}], "body": "\0", "msgtype": "m.text"}
    room.set_state(ALICE, "org.example\0type", content, "key\0one")
    room.set_state(ALICE, "org.example\0type", content, "key\0two")
    room.set_state(ALICE, "org.example\0type", {}, "key")
    room.send(BOB, "m.room.message", content)
    room.send(BOB, "m.room\0", content)
    await comes_through(room, database, known)


@VERSIONS
@pytest.mark.parametrize("member", ["sender", "room_id"])
def test_nul_in_identifiers_is_refused(version: str, member: str) -> None:
    room = make_room(version, members=[BOB])
    pdu = pdu_of(room.message(BOB))
    pdu[member] = pdu[member][:2] + NUL + pdu[member][3:]
    with pytest.raises(InvalidEventFormat):
        receive_pdu(pdu, room.version, KEYS)


@pytest.mark.parametrize("version", ["1", "2"])
def test_nul_in_event_ids_is_refused(version: str) -> None:
    room = make_room(version, members=[BOB])
    pdu = {**pdu_of(room.message(BOB)), "event_id": "$o\0dd:b.example"}
    with pytest.raises(InvalidEventFormat):
        receive_pdu(pdu, room.version, KEYS)
    pdu = pdu_of(room.message(BOB))
    pdu["prev_events"] = [["$o\0dd:b.example", {"sha256": "x"}]]
    with pytest.raises(InvalidEventFormat):
        receive_pdu(pdu, room.version, KEYS)


async def test_characters_of_every_length(database: Database) -> None:
    room = make_room(members=[BOB])
    known = len(room.events)
    text = "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
    room.set_state(ALICE, text, {text: text}, text)
    room.message(BOB, '"\\/\b\f\n\r\t\x01\x1f\u2028')
    await comes_through(room, database, known)


@pytest.mark.parametrize("version", ["1", "5"])
async def test_numbers_that_old_versions_allow(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    known = len(room.events)
    numbers = [2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 0.5, -1.5e300, 1e-7, -0.0]
    room.set_state(ALICE, "org.example.numbers", {"numbers": numbers})
    room.send(BOB, "m.room.message", {"body": "x", "msgtype": "m.text", "numbers": numbers})
    await comes_through(room, database, known)


@pytest.mark.parametrize("version", ["6", "12"])
@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 0.5])
def test_numbers_that_newer_versions_refuse(version: str, number: float) -> None:
    room = make_room(version, members=[BOB])
    pdu = pdu_of(room.message(BOB))
    pdu["content"]["number"] = number
    with pytest.raises(NotCanonicalJson):
        receive_pdu(pdu, room.version, KEYS)


async def test_the_largest_number_that_newer_versions_allow(database: Database) -> None:
    room = make_room("12", members=[BOB])
    known = len(room.events)
    numbers = {"largest": 2**53 - 1, "smallest": -(2**53) + 1}
    room.send(BOB, "m.room.message", {"body": "x", "msgtype": "m.text", **numbers})
    await comes_through(room, database, known)


@pytest.mark.parametrize(
    ("version", "depth"),
    [(v, d) for v in ("1", "5", "6", "12") for d in (0, 2**53 - 1)] + [("1", 2**63 - 1), ("5", 2**63 - 1)],
)
async def test_a_depth_that_says_nothing_is_kept_and_the_room_goes_on(
    database: Database, version: str, depth: int
) -> None:
    room = make_room(version, members=[BOB])
    known = len(room.events)
    [head] = room.heads
    odd = room.message(BOB, depth=depth)
    receiver = await comes_through(room, database, known)
    assert (await receiver.stored(odd)).topo == known + 1
    largest = 2**63 - 1 if version in ("1", "5") else 2**53 - 1
    [after] = await receiver.send(message(ALICE, "after"))
    assert (after.event.depth, after.topo) == (min(depth + 1, largest), known + 2)
    receiver.restart()
    [topic] = await receiver.send(state(ALICE, "m.room.topic", {"topic": "x"}))
    assert (topic.event.depth, topic.topo) == (min(depth + 2, largest), known + 3)
    # An event of a fork with an extreme depth, after what nobody here knows.
    lost = room.message(BOB, "lost", after=[head], depth=depth)
    beyond = room.message(BOB, "beyond", after=[lost], depth=depth)
    given = await receiver.given_with(beyond, state=room.state_after(head))
    [stored] = await receiver.receive(beyond, given=given.given)
    assert stored.topo is not None
    assert stored.topo == min(depth, known + 3 + 2**40)
    receiver.restart()
    [last] = await receiver.send(message(ALICE, "last"))
    assert last.event.prev_events == (topic.event.event_id, beyond.event_id)
    assert last.topo == max(stored.topo, known + 3) + 1
    [filled] = await receiver.receive(lost, backfilled=True)
    assert filled.topo is not None
    assert filled.topo < stored.topo


@pytest.mark.parametrize(
    ("version", "depth"), [("1", 2**63), ("5", 2**63), ("6", 2**53), ("12", 2**53), ("12", -1), ("1", -1)]
)
def test_depths_that_the_format_refuses(version: str, depth: int) -> None:
    room = make_room(version, members=[BOB])
    pdu = {**pdu_of(room.message(BOB)), "depth": depth}
    with pytest.raises((InvalidEventFormat, NotCanonicalJson)):
        receive_pdu(pdu, room.version, KEYS)


@VERSIONS
async def test_members_of_255_bytes(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    known = len(room.events)
    long = "\U0001f40e" * 63 + "abc"
    user = "@" + "u" * (255 - len("@:b.example")) + ":b.example"
    room.join(user)
    room.set_state(ALICE, long, {"x": 1}, long)
    room.set_state(ALICE, long[:-1] + "d", {"x": 2}, long)
    room.send(user, long, {})
    await comes_through(room, database, known)


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
@pytest.mark.parametrize("member", ["type", "state_key", "sender", "room_id"])
def test_members_of_256_bytes_are_refused(version: str, member: str) -> None:
    room = make_room(version, members=[BOB])
    pdu = pdu_of(room.set_state(ALICE, "m.room.topic", {}))
    sigil, _, domain = pdu[member].partition(":") if member in ("sender", "room_id") else ("", "", "")
    tail = ":" + domain if domain else ""
    pdu[member] = sigil[:1] + "\u00e9" * ((257 - len(sigil[:1] + tail)) // 2) + tail
    with pytest.raises((EventTooLarge, InvalidEventFormat)):
        receive_pdu(pdu, room.version, KEYS)


def _nested(levels: int) -> Any:
    value: Any = "\0"
    for i in range(levels):
        value = [value] if i % 2 else {"\0": value}
    return value


@VERSIONS
async def test_the_deepest_nesting(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    known = len(room.events)
    # The event and its content are two levels.
    room.set_state(ALICE, "org.example.deep", {"deep": _nested(MAX_DEPTH - 2)})
    await comes_through(room, database, known)
    pdu = pdu_of(room.events[-1])
    pdu["content"] = {"deep": _nested(MAX_DEPTH - 1)}
    with pytest.raises(TooDeep):
        receive_pdu(pdu, room.version, KEYS)


LONE = "\ud800"


@VERSIONS
@pytest.mark.parametrize(
    "members",
    [
        {"type": "m.room." + LONE},
        {"state_key": LONE},
        {"sender": f"@{LONE}:b.example"},
        {"content": {LONE: 1}},
        {"content": {"body": LONE}},
        {"content": {"body": [{"x": "\udfff"}]}},
        {LONE: 1},
    ],
)
def test_lone_surrogates_are_refused(version: str, members: dict[str, Any]) -> None:
    room = make_room(version, members=[BOB])
    pdu = {**pdu_of(room.message(BOB)), **members}
    with pytest.raises((NotCanonicalJson, InvalidEventFormat)):
        receive_pdu(pdu, room.version, KEYS)


@pytest.mark.parametrize(
    "text", [b'{"type":"\\ud800"}', b'{"\\udfff":1}', b'["\\ud800\\u0061"]', b'"\xed\xa0\x80"']
)
def test_lone_surrogates_do_not_come_in_as_json(text: bytes) -> None:
    with pytest.raises(NotJson):
        decode_json(text)


async def test_ids_of_versions_1_and_2_may_hold_anything(database: Database) -> None:
    room = make_room("1", members=[BOB])
    known = len(room.events)
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    odd = bent(room, room.message(BOB, "one"), event_id="$odd \u00e9\x01/\U0001f40e:b.example")
    after = bent(room, room.message(BOB, "two"), prev_events=[odd.event_id], event_id="$-:b.example")
    long = bent(room, after, event_id="$" + "x" * 243 + ":b.example", prev_events=[after.event_id])
    assert len(long.event_id) == 254
    stored = await receiver.receive(odd, after, long)
    assert [one.event for one in stored] == [odd, after, long]
    assert len(room.events) == known + 2
    receiver.restart()
    assert (await receiver.stored(odd)).event.json == odd.json
    assert (await receiver.stored(after)).event.prev_events == (odd.event_id,)
    assert await receiver.extremities() == {long.event_id}
    assert head.event_id not in await receiver.extremities()
