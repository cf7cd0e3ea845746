# SPDX-License-Identifier: Apache-2.0
"""Many forward extremities: what a local event merges first, and what becomes of the state."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from federation.errors import Forbidden
from federation.graph.batches import Incoming
from federation.graph.merging import DUMMY, MAX_PREV_EVENTS
from federation.rules.base64 import encode_base64
from federation.rules.hashing import reference_hash
from storage.engine.database import Database
from storage.event import Event, StoredEvent
from storage.event_records import NewEvent
from tests.reference.resolver import naive_resolve
from tests.support.graphs import Draft, member, message, state
from tests.support.receiver import Ids, Receiver, ids_of
from tests.support.rooms import ALICE, BOB, Room, make_room, pdu_of

VERSIONS = pytest.mark.parametrize("version", ["1", "6", "12"])
DORA = "@dora:a.example"


def together(*coroutines: Any) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


def forked_room(version: str, count: int) -> tuple[Room, list[Event]]:
    """A room, and forks in which the topic and other state differ; most hold messages only."""
    room = make_room(version, members=[BOB, DORA], levels={BOB: 50})
    return room, forks_of(room, count)


def guarded_room(version: str, count: int) -> tuple[Room, list[Event]]:
    """As `forked_room`, but no user of this server may send what has no level of its own."""
    room = make_room(version, creator=BOB, members=[ALICE])
    own = {} if version == "12" else {BOB: 100}
    levels = {"users": {**own, ALICE: 50}, "events_default": 100, "events": {"m.room.message": 0}}
    room.power_levels(BOB, levels)
    return room, forks_of(room, count)


def forks_of(room: Room, count: int) -> list[Event]:
    [head] = room.heads
    forks = []
    for i in range(count):
        if i % 5 == 0:
            forks.append(room.set_state(BOB, "m.room.topic", {"topic": str(i)}, after=[head]))
        elif i % 5 == 1:
            forks.append(room.set_state(BOB, "org.example.key", {"i": i}, str(i), after=[head]))
        else:
            forks.append(room.message(BOB, str(i), after=[head]))
    return forks


async def receiver_of(room: Room, forks: list[Event], database: Database) -> Receiver:
    """A server whose room has the forks for extremities."""
    receiver = Receiver.over(room, database)
    await receiver.begin(Incoming(room.events[: len(room.events) - len(forks)]))
    await receiver.receive(*forks)
    assert await receiver.extremities() == {event.event_id for event in forks}
    return receiver


def made_by(receiver: Receiver) -> list[StoredEvent]:
    """The last events that were committed, from the first that this server sent itself."""
    records = [record for done in receiver.parts.committed for record in done.unit.records]
    stored = [record.stored for record in records if isinstance(record, NewEvent)]
    theirs = {event.event_id for event in receiver.room.events}
    return [one for one in stored if one.event.event_id not in theirs]


async def check_merges(receiver: Receiver, own: list[StoredEvent]) -> None:
    """Each own event's state before is what the states after its prev events resolve to."""
    room = receiver.room
    events = {event.event_id: event for event in room.events} | {s.event.event_id: s.event for s in own}
    after: dict[str, Ids] = {event.event_id: ids_of(room.state_after(event)) for event in room.events}
    for one in own:
        previous = one.event.prev_events
        assert 1 <= len(previous) <= MAX_PREV_EVENTS
        expected = naive_resolve(room.version, [after[event_id] for event_id in previous], events)
        stored = await receiver.stored(one.event)
        assert not stored.rejected
        assert await receiver.state(stored.before) == expected
        if one.event.state_key is not None:
            expected = {**expected, (one.event.type, one.event.state_key): one.event.event_id}
        after[one.event.event_id] = expected
    assert await receiver.extremities() == {own[-1].event.event_id}
    assert await receiver.current() == after[own[-1].event.event_id]


@VERSIONS
@pytest.mark.parametrize("count", [10, 11, 25])
async def test_extremities_are_merged_before_a_local_event(
    database: Database, version: str, count: int
) -> None:
    room, forks = forked_room(version, count)
    receiver = await receiver_of(room, forks, database)
    [hello] = await receiver.send(message(ALICE, "hello"))
    own = made_by(receiver)
    assert own[-1].event == hello.event
    merges = own[:-1]
    assert len(merges) == {10: 0, 11: 1, 25: 2}[count]
    assert all(one.event.type == DUMMY for one in merges)
    assert {p for one in own for p in one.event.prev_events} == {
        event.event_id for event in [*forks, *(one.event for one in merges)]
    }
    await check_merges(receiver, own)
    receiver.restart()
    assert await receiver.current()
    [after] = await receiver.send(message(ALICE, "after"))
    assert after.event.prev_events == (hello.event.event_id,)


async def test_two_hundred_extremities_are_merged(database: Database) -> None:
    # More merges than a request is built again.
    room, forks = forked_room("12", 200)
    receiver = await receiver_of(room, forks, database)
    await receiver.send(message(ALICE, "hello"))
    own = made_by(receiver)
    assert len(own) == 23
    assert len(await receiver.extremities()) == 1
    assert all(len(one.event.prev_events) <= MAX_PREV_EVENTS for one in own)


@VERSIONS
async def test_a_member_event_merges_where_nobody_may_send_messages(database: Database, version: str) -> None:
    room, forks = guarded_room(version, 11)
    receiver = await receiver_of(room, forks, database)
    [topic] = await receiver.send(state(ALICE, "m.room.topic", {"topic": "ours"}))
    own = made_by(receiver)
    # What may not be sent is not tried on the graph.
    assert [one.event.type for one in own] == ["m.room.member", "m.room.topic"]
    assert own[0].event.content == {"membership": "join"}
    assert own[-1].event == topic.event
    await check_merges(receiver, own)


async def test_a_redacted_member_event_is_not_said_again_as_it_was(database: Database) -> None:
    room, _ = guarded_room("10", 0)
    secret = room.set_state(ALICE, "m.room.member", {"membership": "join", "displayname": "secret"}, ALICE)
    room.send(BOB, "m.room.redaction", {}, redacts=secret.event_id)
    forks = forks_of(room, 11)
    receiver = await receiver_of(room, forks, database)
    await receiver.send(message(ALICE, "hello"))
    assert [one.event.type for one in made_by(receiver)] == ["m.room.member", "m.room.message"]
    assert made_by(receiver)[0].event.content == {"membership": "join"}


async def test_a_merging_member_event_needs_no_signature_of_another_server(database: Database) -> None:
    # Whoever came into a restricted room by another server's leave names it: said again, it would have to
    # sign again.
    room = make_room("10", creator=BOB)
    room.join_rules(BOB, "restricted")
    room.join(ALICE, {"join_authorised_via_users_server": BOB})
    levels = {"users": {BOB: 100}, "events_default": 100, "events": {"m.room.message": 0}}
    room.power_levels(BOB, levels)
    receiver = await receiver_of(room, forks_of(room, 11), database)
    await receiver.send(message(ALICE, "hello"))
    [merge, _] = made_by(receiver)
    assert (merge.event.type, merge.event.content) == ("m.room.member", {"membership": "join"})
    assert not merge.rejected


async def test_where_nobody_here_is_a_member_nobody_merges(database: Database) -> None:
    room = make_room("10", creator=BOB, members=[ALICE])
    room.leave(ALICE)
    receiver = await receiver_of(room, forks_of(room, 12), database)
    with pytest.raises(Forbidden):
        await receiver.send(member(ALICE, ALICE, "join"))
    assert len(await receiver.extremities()) == 12
    # When another server has merged them, the room is as usual.
    merge = room.message(BOB, "merge")
    await receiver.receive(merge)
    [join] = await receiver.send(member(ALICE, ALICE, "join"))
    assert join.event.prev_events == (merge.event_id,)


@VERSIONS
async def test_several_appends_at_once_merge_once(database: Database, version: str) -> None:
    room, forks = forked_room(version, 25)
    receiver = await receiver_of(room, forks, database)
    drafts: list[Draft] = [
        message(ALICE, "a"),
        state(ALICE, "m.room.topic", {"topic": "b"}),
        message(DORA, "c"),
    ]
    sent = await together(*(receiver.send(draft) for draft in drafts))
    own = made_by(receiver)
    assert [one.event.type for one in own].count(DUMMY) == 2
    assert sorted(one.event.event_id for one in own if one.event.type != DUMMY) == sorted(
        one.event.event_id for [one] in sent
    )
    await check_merges(receiver, own)


async def test_a_batch_that_comes_while_extremities_are_merged(database: Database) -> None:
    room, forks = forked_room("12", 25)
    receiver = await receiver_of(room, forks, database)
    late = [room.message(BOB, f"late {i}", after=[forks[i]]) for i in range(12)]
    sent, stored = await together(receiver.send(message(ALICE, "hello")), receiver.receive(*late))
    assert [one.event for one in stored] == late
    [hello] = sent
    ends = await receiver.extremities()
    assert hello.event.event_id in ends or set(hello.event.prev_events) <= {
        one.event.event_id for one in made_by(receiver)
    } | {event.event_id for event in [*forks, *late]}
    await receiver.send(message(ALICE, "again"))
    assert len(await receiver.extremities()) == 1
    receiver.restart()
    assert len(await receiver.extremities()) == 1


async def test_reference_hashes_of_a_merge_are_right_in_version_1(database: Database) -> None:
    room, forks = forked_room("1", 11)
    receiver = await receiver_of(room, forks, database)
    receiver.restart()
    await receiver.send(message(ALICE, "hello"))
    known = {event.event_id: event for event in room.events}
    known |= {one.event.event_id: one.event for one in made_by(receiver)}
    for one in made_by(receiver):
        pdu = pdu_of(one.event)
        for event_id, hashes in [*pdu["prev_events"], *pdu["auth_events"]]:
            expected = encode_base64(reference_hash(pdu_of(known[event_id]), room.version))
            assert hashes == {"sha256": expected}
