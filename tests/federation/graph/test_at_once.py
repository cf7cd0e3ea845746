# SPDX-License-Identifier: Apache-2.0
"""Batches from outside and local events at the same time."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from federation.graph.batches import Incoming
from federation.graph.resolving import HEAVY
from storage.engine.database import Database
from storage.event import Event
from tests.reference.resolver import conflicts_2, naive_resolve
from tests.support.graphs import Draft, graphs_over, message, state
from tests.support.receiver import Receiver, Told, ids_of
from tests.support.rooms import ALICE, BOB, make_room

CARL = "@carl:c.example"


def together(*coroutines: Any) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


async def test_several_batches_and_local_events(database: Database) -> None:
    room = make_room("10", members=[BOB, CARL], levels={BOB: 50, CARL: 50})
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    batches: list[list[Event]] = []
    for user in (BOB, CARL):
        for i in range(4):
            last, batch = head, []
            for j in range(5):
                last = room.set_state(user, "org.example", {"by": user, "n": j}, f"{i}{j % 2}", after=[last])
                batch.append(last)
            batches.append(batch)
    work: list[Any] = []
    for i, batch in enumerate(batches):
        work.append(receiver.receive(*batch))
        work.append(receiver.send(state(ALICE, "m.room.topic", {"topic": str(i)})))
        work.append(receiver.send(message(ALICE, str(i))))
    results = await together(*work)
    for batch, stored in zip(batches, results[::3], strict=True):
        assert [one.event for one in stored] == batch
        assert not any(one.rejected or one.soft_failed for one in stored)
    # Who was told last is among the ends, and the current state is what the ends resolve to.
    events = {event.event_id: event for event in room.events}
    events |= {one.stored.event.event_id: one.stored.event for one in receiver.told.appended}
    after = {}
    for event_id in await receiver.extremities():
        stored = await receiver.stored(events[event_id])
        after[event_id] = await receiver.state(stored.after or stored.before)
    expected = naive_resolve(room.version, list(after.values()), events)
    for _ in range(2):
        assert await receiver.current() == expected
        receiver.restart()
    [last_sent] = await receiver.send(message(ALICE, "last"))
    assert set(last_sent.event.prev_events) == after.keys()


async def test_local_events_do_not_wait_for_a_heavy_resolution(database: Database) -> None:
    room = make_room("10", members=[BOB], levels={BOB: 50})
    [head] = room.heads
    keys = [str(i) for i in range(HEAVY // 2 + 10)]
    ours, theirs = head, head
    for key in keys:
        ours = room.set_state(ALICE, "org.example", {"by": "a"}, key, after=[ours])
    receiver = await Receiver.of(room, database)
    batch = []
    for key in keys:
        theirs = room.set_state(BOB, "org.example", {"by": "b"}, key, after=[theirs])
        batch.append(theirs)
    states = [ids_of(room.state_after(ours)), ids_of(room.state_after(theirs))]
    _, conflicted = conflicts_2(states)
    assert len(conflicted) > HEAVY
    await receiver.receive(*batch[:100])
    ended: list[str] = []

    async def receive() -> None:
        await receiver.receive(*batch[100:])
        ended.append("batch")

    receiving = Deferred.fromCoroutine(receive())
    await deferLater(reactor, 0.02)
    sent = 0
    while sent < 3:
        await receiver.send(message(ALICE, str(sent)))
        ended.append("send")
        sent += 1
    await receiving
    # The batch needs a process of its own, whose start alone takes longer than a few events.
    assert ended[0] == "send"
    expected = naive_resolve(room.version, states, {event.event_id: event for event in room.events})
    for _ in range(2):
        assert await receiver.current() == expected
        receiver.restart()


async def test_numbers_that_run_out_while_others_take_some(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver = Receiver(room, database, graphs_over(database, numbers=3), Told())
    await receiver.begin(Incoming(room.events))
    [head] = room.heads
    outliers = [room.set_state(ALICE, "org.example.outlier", {"i": i}, str(i)) for i in range(150)]
    target = room.message(BOB, "target", after=[head])
    batch = [target, room.send(BOB, "m.room.redaction", {}, redacts=target.event_id, after=[target])]
    drafts = [Draft(ALICE, "m.room.redaction", {}, redacts=target.event_id), message(ALICE, "hello")]
    await together(
        receiver.parts.graphs.learn(room.room_id, room.version, outliers),
        receiver.receive(*batch),
        *(receiver.send(draft) for draft in drafts * 5),
    )
    numbers = [(await receiver.stored(event)).number for event in [*outliers, *batch]]
    assert len(set(numbers)) == len(numbers)
