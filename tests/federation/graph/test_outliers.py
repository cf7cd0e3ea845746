# SPDX-License-Identifier: Apache-2.0
"""Events without a place: learning them, and what becomes of them when they get one."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from federation.graph.batches import Incoming
from federation.graph.current_state import StateEntry
from federation.graph.outliers import Learnt
from federation.rules.redaction import redact_event
from storage.engine.database import Database
from storage.event import Event
from tests.support.graphs import message
from tests.support.receiver import Receiver, bent, ids_of
from tests.support.rooms import ALICE, BOB, make_room

CARL = "@carl:c.example"
BOTH_IDS = pytest.mark.parametrize("version", ["1", "12"])


def together(*coroutines: Any) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


async def learn(receiver: Receiver, *events: Event) -> Learnt:
    room = receiver.room
    return await receiver.parts.graphs.learn(room.room_id, room.version, events)


@BOTH_IDS
async def test_events_may_come_in_any_order(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = Receiver.over(room, database)
    learnt = await learn(receiver, *reversed(room.events))
    assert not learnt.lacking
    assert learnt.events.keys() == {event.event_id for event in room.events}
    found = learnt.state([event.event_id for event in room.events])
    assert {key: entry.event_id for key, entry in found.items()} == ids_of(room.state)
    bob = found["m.room.member", BOB]
    assert bob == StateEntry(learnt.events[bob.event_id].number, bob.event_id, "join")
    for event in room.events:
        stored = await receiver.stored(event)
        assert (stored.position, stored.topo, stored.before, stored.after) == (None, None, None, None)


async def test_what_is_lacking_an_auth_event_is_not_stored(database: Database) -> None:
    room = make_room(members=[BOB])
    receiver = Receiver.over(room, database)
    join = room.state["m.room.member", BOB]
    rules = room.state["m.room.join_rules", ""]
    topic = room.set_state(ALICE, "m.room.topic", {})
    others = [event for event in room.events if event is not rules]
    learnt = await learn(receiver, *others)
    assert learnt.lacking == {join.event_id: frozenset({rules.event_id})}
    assert not await receiver.is_stored(join)
    assert await receiver.is_stored(topic)
    again = await learn(receiver, rules, join)
    assert not again.lacking
    assert await receiver.is_stored(join)


async def test_events_that_cite_each_other_are_lacking(database: Database) -> None:
    room = make_room("1", members=[BOB])
    receiver = Receiver.over(room, database)
    one, two = room.message(BOB, "one"), room.message(BOB, "two")
    one = bent(room, one, auth_events=[two.event_id, room.create.event_id])
    two = bent(room, two, auth_events=[one.event_id, room.create.event_id])
    itself = room.message(BOB, "itself")
    itself = bent(room, itself, auth_events=[itself.event_id, room.create.event_id])
    learnt = await learn(receiver, room.create, one, two, itself)
    assert learnt.lacking.keys() == {one.event_id, two.event_id, itself.event_id}
    assert learnt.events.keys() == {room.create.event_id}


async def test_what_its_auth_events_refuse_is_no_part_of_a_state(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver = Receiver.over(room, database)
    takeover = room.power_levels(BOB, {"users": {BOB: 100}}, check=False)
    heir = room.set_state(
        BOB,
        "m.room.topic",
        {"topic": "mine"},
        auth_events=[room.create, takeover, room.state["m.room.member", BOB]],
        check=False,
    )
    learnt = await learn(receiver, *room.events)
    assert not learnt.lacking
    for event, rule in ((takeover, "7"), (heir, "2.3")):
        assert learnt.events[event.event_id].rejected
        refusal = await receiver.database.read(
            "why",
            lambda txn, e=event: receiver.parts.storage.rejections.of_event_txn(
                txn, learnt.events[e.event_id].number
            ),
        )
        assert refusal is not None
        assert refusal.rule == rule
    assert learnt.state([takeover.event_id, heir.event_id]) == {}


@BOTH_IDS
async def test_events_of_another_room_are_no_part_of_a_state(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB], localpart="here")
    other = make_room(version, creator=BOB, members=[ALICE], localpart="there")
    receiver = await Receiver.of(room, database)
    elsewhere = Receiver(other, database, receiver.parts, receiver.told)
    levels = other.state["m.room.power_levels", ""]
    unknown = await learn(receiver, levels)
    assert levels.event_id in unknown.lacking
    await elsewhere.begin(Incoming(other.events))
    known = await learn(receiver, levels)
    assert levels.event_id in known.lacking
    assert known.state([levels.event_id]) == {}


async def test_an_id_that_an_event_of_another_room_has_is_not_learnt(database: Database) -> None:
    room = make_room("1", members=[BOB], localpart="here")
    other = make_room("1", creator=BOB, members=[ALICE], localpart="there")
    receiver = await Receiver.of(room, database)
    elsewhere = Receiver(other, database, receiver.parts, receiver.told)
    await elsewhere.begin(Incoming(other.events))
    levels = room.power_levels(ALICE, {"users": {ALICE: 100, BOB: 50}})
    same = bent(room, levels, event_id=other.events[2].event_id)
    learnt = await learn(receiver, same)
    assert learnt.lacking == {same.event_id: frozenset()}
    assert learnt.state([same.event_id]) == {}
    assert (await elsewhere.stored(other.events[2])).event.json == other.events[2].json


async def test_two_who_learn_the_same_at_once_both_learn_it(database: Database) -> None:
    room = make_room(members=[BOB, CARL])
    receiver = Receiver.over(room, database)
    here, there = await together(learn(receiver, *room.events), learn(receiver, *room.events))
    assert not here.lacking
    assert not there.lacking
    numbers = {event_id: stored.number for event_id, stored in here.events.items()}
    assert numbers == {event_id: stored.number for event_id, stored in there.events.items()}
    assert numbers.keys() == {event.event_id for event in room.events}


# Getting a place


@BOTH_IDS
async def test_an_outlier_gets_its_place(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    topic = room.set_state(ALICE, "m.room.topic", {"topic": "x"})
    hello = room.message(BOB)
    await receiver.learn(topic)
    number = (await receiver.stored(topic)).number
    [placed, _] = await receiver.receive(topic, hello)
    assert (placed.number, placed.topo) == (number, len(room.events) - 1)
    for _ in range(2):
        stored = await receiver.stored(topic)
        assert (stored.position, stored.topo, stored.before, stored.after) == (
            placed.position,
            placed.topo,
            placed.before,
            placed.after,
        )
        assert await receiver.current() == ids_of(room.state)
        receiver.restart()


async def test_an_outlier_that_the_state_refuses_becomes_rejected(database: Database) -> None:
    room = make_room("10", members=[BOB, CARL])
    receiver = await Receiver.of(room, database)
    cited = [
        room.state[k] for k in (("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", BOB))
    ]
    ban = room.ban(ALICE, BOB)
    late = room.message(BOB, auth_events=cited, check=False)
    await receiver.learn(late)
    assert not (await receiver.stored(late)).rejected
    await receiver.receive(ban, late)
    receiver.restart()
    assert (await receiver.stored(late)).rejected
    refusal = await receiver.refusal(late)
    assert refusal is not None
    assert refusal.rule == "5"


async def test_an_outlier_that_was_stored_between_reading_and_writing(database: Database) -> None:
    # The same events come as a batch and as auth events of another: whichever is first, both are content.
    room = make_room(members=[BOB])
    receiver = await Receiver.of(room, database)
    events = [room.set_state(ALICE, "org.example", {"i": i}, str(i)) for i in range(20)]
    for i in range(0, 20, 2):
        pair = events[i : i + 2]
        received, learnt = await together(receiver.receive(*pair), learn(receiver, *pair))
        assert [one.event for one in received] == pair
        assert not learnt.lacking
    assert await receiver.current() == ids_of(room.state)
    receiver.restart()
    assert await receiver.current() == ids_of(room.state)


async def test_what_was_stored_of_an_outlier_counts(database: Database) -> None:
    # Its redacted form came first, because of a content hash that did not hold.
    room = make_room("10", members=[BOB])
    receiver = await Receiver.of(room, database)
    full = room.power_levels(ALICE, {"users": {ALICE: 100}, "invite": 50, "org.example": True})
    redacted = redact_event(full, room.version)
    await learn(receiver, redacted)
    await receiver.receive(full)
    in_memory: list[Any] = []

    def look(state: Any) -> tuple[()]:
        in_memory.append(dict(state.power_levels.content))
        return ()

    await (await receiver.graph()).append(look)
    receiver.restart()
    await (await receiver.graph()).append(look)
    assert in_memory == [redacted.content, redacted.content]
    assert (await receiver.stored(full)).event.json == redacted.json


async def test_another_event_with_the_id_of_an_outlier_does_not_take_its_place(database: Database) -> None:
    room = make_room("1", members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    topic = room.set_state(ALICE, "m.room.topic", {"topic": "x"})
    await receiver.learn(topic)
    name = bent(room, room.set_state(ALICE, "m.room.name", {}, after=[head]), event_id=topic.event_id)
    await receiver.receive(name)
    for _ in range(2):
        current = await receiver.current()
        assert current["m.room.topic", ""] == topic.event_id
        assert ("m.room.name", "") not in current
        receiver.restart()


async def test_a_join_finds_what_was_learnt_for_it(database: Database) -> None:
    room = make_room(members=[BOB, CARL])
    joined = room.join("@dora:a.example")
    receiver = await Receiver.joined(room, joined, database)
    assert await receiver.current() == ids_of(room.state)
    assert await receiver.extremities() == {joined.event_id}
    [gap] = await receiver.gaps()
    assert gap.event_id == joined.prev_events[0]
    receiver.restart()
    assert await receiver.current() == ids_of(room.state)
    [hello] = await receiver.send(message("@dora:a.example", "hello"))
    assert hello.event.prev_events == (joined.event_id,)


async def test_a_room_of_many_events_is_learnt_in_chunks(database: Database) -> None:
    room = make_room()
    for i in range(600):
        room.set_state(ALICE, "org.example", {}, str(i))
    receiver = Receiver.over(room, database)
    learnt = await learn(receiver, *room.events[::-1])
    assert (len(learnt.events), learnt.lacking) == (len(room.events), {})
