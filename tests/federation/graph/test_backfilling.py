# SPDX-License-Identifier: Apache-2.0
"""What is older than what is known: where it stands, what states it has, and what it may not change."""

from __future__ import annotations

import pytest

from federation.graph.batches import Incoming
from storage.engine.database import Database
from storage.event import Event
from tests.support.graphs import message
from tests.support.receiver import Receiver, bent, ids_of
from tests.support.rooms import ALICE, BOB, Room, make_room

CARL = "@carl:c.example"
DORA = "@dora:a.example"
VERSIONS = pytest.mark.parametrize("version", ["1", "12"])


def long_room(version: str = "10") -> tuple[Room, list[Event], Event]:
    """A room with a past of state changes and messages, and a join at its end."""
    room = make_room(version, members=[BOB])
    past = [
        room.set_state(ALICE, "m.room.topic", {"topic": "one"}),
        room.message(BOB, "hello"),
        room.join(CARL),
        room.set_state(ALICE, "m.room.topic", {"topic": "two"}),
        room.message(CARL, "hi"),
        room.leave(CARL),
    ]
    return room, past, room.join(DORA)


async def check_states(receiver: Receiver, events: list[Event]) -> None:
    room = receiver.room
    known = {event.event_id: event for event in room.events}
    for event in events:
        one = await receiver.stored(event)
        before = room.state_before([known[event_id] for event_id in event.prev_events])
        assert await receiver.state(one.before) == ids_of(before)
        assert await receiver.state(one.after or one.before) == ids_of(room.state_after(event))


@VERSIONS
async def test_a_chunk_in_a_line(database: Database, version: str) -> None:
    room, past, join = long_room(version)
    receiver = await Receiver.joined(room, join, database)
    given = await receiver.given_with(*past, backfilled=True)
    received = await (await receiver.graph()).receive(given)
    assert [one.event for one in received.stored] == past
    positions = [one.position or 0 for one in received.stored]
    assert positions == sorted(positions)
    assert positions[-1] < 0
    topos = [one.topo or 0 for one in received.stored]
    assert topos == sorted(set(topos))
    assert topos[-1] < ((await receiver.stored(join)).topo or 0)
    for _ in range(2):
        await check_states(receiver, [*past, join])
        assert await receiver.current() == ids_of(room.state)
        assert await receiver.extremities() == {join.event_id}
        receiver.restart()


@VERSIONS
async def test_down_to_the_create_event(database: Database, version: str) -> None:
    room, _, join = long_room(version)
    receiver = await Receiver.joined(room, join, database)
    older = [event for event in room.events if event is not join]
    stored = await receiver.receive(*older, backfilled=True)
    assert [one.event for one in stored] == older
    assert await receiver.gaps() == []
    for _ in range(2):
        await check_states(receiver, room.events[1:])
        receiver.restart()
    [hello] = await receiver.send(message(DORA, "hello"))
    assert hello.event.prev_events == (join.event_id,)


async def test_event_by_event_from_the_top(database: Database) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    for event in reversed(past):
        given = await receiver.given_with(event, backfilled=True)
        await (await receiver.graph()).receive(given)
        await check_states(receiver, past[past.index(event) :])
        receiver.restart()
    topos = [(await receiver.stored(event)).topo or 0 for event in past]
    assert topos == sorted(set(topos))
    assert await receiver.current() == ids_of(room.state)


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_chunk_that_leads_from_what_is_known_to_what_is_known(
    database: Database, restarts: bool
) -> None:
    # Both ends stand on branches that were given, and neither need be in memory.
    room = make_room("10", members=[BOB])
    topic = room.set_state(ALICE, "m.room.topic", {"topic": "x"})
    here = room.message(BOB, "here")
    carl = room.join(CARL, after=[topic])
    between = room.message(BOB, "between", after=[carl])
    there = room.set_state(ALICE, "m.room.avatar", {"url": "mxc://x/y"}, after=[between])
    merge = room.message(BOB, "merge", after=[here, there])
    receiver = await Receiver.joined(room, room.join(DORA, after=[merge]), database)
    await (await receiver.graph()).receive(await receiver.given_with(merge, backfilled=True))
    given = [await receiver.given_with(tip, backfilled=True) for tip in (here, there)]
    states = {event_id: state for incoming in given for event_id, state in incoming.given.items()}
    await receiver.receive(here, there, given=states, backfilled=True)
    await (await receiver.graph()).receive(await receiver.given_with(topic, backfilled=True))
    if restarts:
        receiver.restart()
    stored = await receiver.receive(carl, between, backfilled=True)
    assert [one.event for one in stored] == [carl, between]
    for _ in range(2):
        await check_states(receiver, [topic, here, carl, between, there, merge])
        receiver.restart()
    # Others may stand where the lower end does.
    beside = room.set_state(ALICE, "m.room.name", {"name": "x"}, after=[here])
    await receiver.receive(beside)
    await check_states(receiver, [topic, here, carl, between, there, merge, beside])


# Unknown states


async def test_without_a_given_state_the_state_is_unknown(database: Database) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    stored = await receiver.receive(*past[2:], backfilled=True)
    assert [(one.before, one.after) for one in stored] == [(None, None)] * 4
    assert not any(one.rejected or one.soft_failed for one in stored)
    assert {gap.event_id for gap in await receiver.gaps()} == {past[1].event_id}
    assert await receiver.extremities() == {join.event_id}
    assert await receiver.current() == ids_of(room.state)


async def test_what_follows_an_unknown_state_is_not_resolved_with(database: Database) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    await receiver.receive(past[-1], backfilled=True)
    beside = room.message(BOB, "beside", after=[past[-1]])
    both = room.message(BOB, "both", after=[past[-1], join])
    stored = await receiver.receive(beside, both)
    # Of the one nothing is known, of the other the state after one of its prev events.
    assert stored[0].before is None
    assert await receiver.state(stored[1].before) == ids_of(room.state_after(join))
    assert await receiver.extremities() == {both.event_id}
    assert await receiver.current() == ids_of(room.state_after(join))


async def test_an_event_that_is_refused_by_its_auth_events_is_rejected_whatever_the_state(
    database: Database,
) -> None:
    room = make_room("10", members=[BOB])
    refused = room.power_levels(BOB, {"users": {BOB: 100}}, check=False)
    join = room.join(DORA, auth_events=[room.create, room.events[2], room.events[3]])
    receiver = Receiver.over(room, database)
    incoming = await receiver.given_with(join, state=room.state_before([room.events[4]]))
    await receiver.begin(incoming)
    [stored] = await receiver.receive(refused, backfilled=True)
    assert (stored.rejected, stored.before) == (True, None)


async def test_a_state_that_is_given_later_makes_the_event_known(database: Database) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    await receiver.receive(*past[2:], backfilled=True)
    given = await receiver.given_with(*past[2:], backfilled=True)
    await (await receiver.graph()).receive(given)
    await check_states(receiver, past[2:])


async def test_an_event_of_unknown_state_that_comes_again_without_one_stays_as_it_is(
    database: Database,
) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    await receiver.receive(*past[2:], backfilled=True)
    received = await (await receiver.graph()).receive(Incoming(past[2:], backfilled=True))
    assert (list(received.stored), received.lacking) == ([], {})
    assert (await receiver.stored(past[2])).before is None


async def test_an_event_whose_state_is_learnt_keeps_its_place(database: Database) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    await receiver.receive(*past[2:], backfilled=True)
    unknown = [await receiver.stored(event) for event in past[2:]]
    received = await (await receiver.graph()).receive(await receiver.given_with(*past[2:], backfilled=True))
    assert [(s.position, s.topo) for s in received.stored] == [(s.position, s.topo) for s in unknown]
    fresh = await receiver.stored(past[2])
    assert (fresh.position, fresh.topo) == (unknown[0].position, unknown[0].topo)
    assert fresh.before is not None


async def test_its_predecessors_make_the_event_known_when_it_comes_again(database: Database) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    await receiver.receive(past[-1], backfilled=True)
    older = [event for event in room.events if event not in (join, past[-1])]
    await receiver.receive(*older, backfilled=True)
    await check_states(receiver, older[1:])
    assert (await receiver.stored(past[-1])).before is None
    assert await receiver.gaps() == []
    await (await receiver.graph()).receive(Incoming([past[-1]], backfilled=True))
    await check_states(receiver, [past[-1]])


# What is not older


@VERSIONS
async def test_what_nothing_known_follows_is_left_out(database: Database, version: str) -> None:
    room, past, join = long_room(version)
    receiver = await Receiver.joined(room, join, database)
    newer = room.message(BOB, "newer")
    beside = room.message(BOB, "beside", after=[past[0]])
    graph = await receiver.graph()
    given = await receiver.given_with(*past, newer, beside, backfilled=True)
    received = await graph.receive(given)
    assert [one.event for one in received.stored] == past
    assert received.lacking == {newer.event_id: frozenset(), beside.event_id: frozenset()}
    assert await receiver.extremities() == {join.event_id}
    receiver.restart()
    [hello] = await receiver.send(message(DORA, "hello"))
    assert hello.event.prev_events == (join.event_id,)


async def test_a_circle_of_older_events_leaves_an_extremity(database: Database) -> None:
    room, past, join = long_room("1")
    receiver = await Receiver.joined(room, join, database)
    older = bent(room, past[-1], prev_events=[join.event_id])
    await receiver.receive(older, backfilled=True)
    assert await receiver.extremities() == {join.event_id}
    receiver.restart()
    [hello] = await receiver.send(message(DORA, "hello"))
    assert hello.event.prev_events == (join.event_id,)


async def test_what_is_known_already_is_passed_over(database: Database) -> None:
    room, past, join = long_room()
    receiver = await Receiver.joined(room, join, database)
    for _ in range(2):
        given = await receiver.given_with(*past, backfilled=True)
        received = await (await receiver.graph()).receive(given)
    assert (list(received.stored), received.lacking) == ([], {})


# Gaps that are filled by live events


async def test_a_missing_event_that_comes_live_is_no_extremity(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    missing = room.set_state(ALICE, "m.room.topic", {"topic": "missing"})
    after = room.message(BOB, "after")
    given = await receiver.given_with(after)
    await (await receiver.graph()).receive(given)
    assert await receiver.extremities() == {head.event_id, after.event_id}
    await receiver.receive(missing)
    # It follows on the other end, and so takes it away.
    assert await receiver.extremities() == {after.event_id}
    assert await receiver.gaps() == []
    for _ in range(2):
        assert await receiver.current() == ids_of(room.state)
        receiver.restart()
    [hello] = await receiver.send(message(ALICE, "hello"))
    assert hello.event.prev_events == (after.event_id,)


@pytest.mark.parametrize("how", ["rejected", "soft-failed"])
async def test_a_missing_event_that_only_a_refused_one_follows_is_an_extremity(
    database: Database, how: str
) -> None:
    room = make_room("10", members=[BOB, CARL])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    ban = room.ban(ALICE, CARL)
    missing = room.message(BOB, "missing", after=[ban if how == "rejected" else head])
    if how == "soft-failed":
        await receiver.receive(ban)
    refused = room.message(CARL, "refused", after=[missing], check=False)
    incoming = await receiver.given_with(refused)
    received = await (await receiver.graph()).receive(incoming)
    assert [(one.rejected, one.soft_failed) for one in received.stored] == [
        (how == "rejected", how == "soft-failed")
    ]
    if how == "rejected":
        await receiver.receive(ban)
    await receiver.receive(missing)
    ends = {missing.event_id} if how == "rejected" else {ban.event_id, missing.event_id}
    assert await receiver.extremities() == ends
    receiver.restart()
    [hello] = await receiver.send(message(ALICE, "hello"))
    assert set(hello.event.prev_events) == ends


async def test_a_batch_with_a_gap_says_what_is_missing_until_it_comes(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver = await Receiver.of(room, database)
    missing = [room.message(BOB, str(i)) for i in range(3)]
    after = room.message(BOB, "after")
    assert await receiver.lacking(after) == {after.event_id: frozenset({missing[-1].event_id})}
    await receiver.receive(*missing, after)
    assert await receiver.gaps() == []
    assert await receiver.extremities() == {after.event_id}
