# SPDX-License-Identifier: Apache-2.0
"""A server comes back into a room after a gap: what the join says counts, what was known is set aside."""

from __future__ import annotations

import pytest

from federation.graph.batches import Incoming
from federation.graph.current_state import Key
from storage.engine.database import Database
from storage.event import Event, StateAt
from tests.reference.resolver import naive_resolve
from tests.support.graphs import message
from tests.support.receiver import Receiver, ids_of
from tests.support.rooms import BOB, Room, make_room

CARL = "@carl:c.example"
DORA = "@dora:a.example"
VERSIONS = pytest.mark.parametrize("version", ["1", "6", "12"])


class Gap:
    """A room that this server was in, left, and joins again when much has changed."""

    def __init__(self, version: str) -> None:
        self.room = room = make_room(version, creator=BOB, members=[CARL, DORA])
        self.topic = room.set_state(BOB, "m.room.topic", {"topic": "before"})
        self.last = room.leave(DORA)
        self.known = list(room.events)
        self.name = room.set_state(BOB, "m.room.name", {"name": "meanwhile"})
        self.left = room.leave(CARL)
        self.missed = room.set_state(BOB, "m.room.topic", {"topic": "meanwhile"})
        self.join = room.join(DORA)

    async def receiver(self, database: Database) -> Receiver:
        """The server as it left."""
        receiver = Receiver.over(self.room, database)
        await receiver.begin(Incoming(self.known))
        return receiver

    async def rejoined(self, database: Database, *, restarts: bool = False) -> Receiver:
        """The server as it came back."""
        receiver = await self.receiver(database)
        if restarts:
            receiver.restart()
        incoming = await receiver.given_with(self.join, begins_anew=True)
        received = await (await receiver.graph()).receive(incoming)
        assert [one.event for one in received.stored] == [self.join]
        return receiver


@VERSIONS
@pytest.mark.parametrize("restarts", [False, True])
async def test_the_join_is_the_only_extremity_and_its_state_the_current_one(
    database: Database, version: str, restarts: bool
) -> None:
    gap = Gap(version)
    receiver = await gap.rejoined(database, restarts=restarts)
    stored = await receiver.stored(gap.join)
    assert await receiver.extremities() == {gap.join.event_id}
    assert await receiver.current() == ids_of(gap.room.state)
    assert await receiver.state(stored.before) == ids_of(gap.room.state_after(gap.missed))
    before = len(gap.known)  # each of them is a state event
    # The given state is the next revision, and the join the one after it.
    assert (stored.before, stored.after) == (StateAt(0, before + 1), StateAt(0, before + 2))
    assert await receiver.state(StateAt(0, before)) == ids_of(gap.room.state_after(gap.last))
    [missing] = await receiver.gaps()
    assert (missing.event_id, missing.referrer) == (gap.missed.event_id, stored.number)
    receiver.restart()
    assert await receiver.current() == ids_of(gap.room.state)
    [hello] = await receiver.send(message(DORA, "hello"))
    assert hello.event.prev_events == (gap.join.event_id,)


async def test_contributors_are_told_what_the_given_state_changes(database: Database) -> None:
    gap = Gap("10")
    receiver = await gap.rejoined(database)
    [resolved] = receiver.told.resolved_changes
    changed: dict[Key, tuple[str | None, str | None]] = {
        (c.type, c.state_key): (c.old and c.old.event_id, c.new and c.new.event_id) for c in resolved.changes
    }
    carl = next(event for event in gap.known if event.state_key == CARL)
    assert changed == {
        ("m.room.topic", ""): (gap.topic.event_id, gap.missed.event_id),
        ("m.room.name", ""): (None, gap.name.event_id),
        ("m.room.member", CARL): (carl.event_id, gap.left.event_id),
    }
    told = receiver.told.appended[-1]
    assert told.stored.event == gap.join
    assert [(c.type, c.state_key) for c in told.changes] == [("m.room.member", DORA)]
    assert told.index == resolved.index + 1


async def test_a_key_that_the_given_state_lacks_is_taken_away(database: Database) -> None:
    # Nobody can remove a key, but a resolution may have.
    gap = Gap("10")
    receiver = await gap.receiver(database)
    given = {
        key: event
        for key, event in gap.room.state_after(gap.missed).items()
        if key not in (("m.room.topic", ""), ("m.room.member", CARL))
    }
    incoming = await receiver.given_with(gap.join, state=given, begins_anew=True)
    await (await receiver.graph()).receive(incoming)
    expected = ids_of({**given, ("m.room.member", DORA): gap.join})
    assert await receiver.current() == expected
    [resolved] = receiver.told.resolved_changes
    assert {(c.type, c.state_key) for c in resolved.changes if c.new is None} == {
        ("m.room.topic", ""),
        ("m.room.member", CARL),
    }
    receiver.restart()
    assert await receiver.current() == expected
    old = await receiver.state(StateAt(0, len(gap.known)))
    assert ("m.room.topic", "") in old


@VERSIONS
async def test_older_extremities_come_back_when_received_events_refer_to_them(
    database: Database, version: str
) -> None:
    gap = Gap(version)
    receiver = await gap.rejoined(database)
    receiver.restart()
    # Somebody who was cut off goes on where the server left.
    side = gap.room.set_state(BOB, "m.room.avatar", {"url": "mxc://x/y"}, after=[gap.last])
    [stored] = await receiver.receive(side)
    assert not stored.rejected
    assert await receiver.state(stored.before) == ids_of(gap.room.state_after(gap.last))
    assert await receiver.extremities() == {gap.join.event_id, side.event_id}
    assert await receiver.current() == _resolved(gap.room, gap.join, side)
    receiver.restart()
    assert await receiver.current() == _resolved(gap.room, gap.join, side)
    [hello] = await receiver.send(message(DORA, "hello"))
    assert set(hello.event.prev_events) == {gap.join.event_id, side.event_id}


@VERSIONS
async def test_the_gap_is_filled_afterwards(database: Database, version: str) -> None:
    gap = Gap(version)
    receiver = await gap.rejoined(database)
    missing = [gap.name, gap.left, gap.missed]
    stored = await receiver.receive(*missing, backfilled=True)
    assert [one.event for one in stored] == missing
    assert await receiver.gaps() == []
    for _ in range(2):
        for event in missing:
            one = await receiver.stored(event)
            assert one.topo is not None
            assert await receiver.state(one.after) == ids_of(gap.room.state_after(event))
        assert await receiver.extremities() == {gap.join.event_id}
        assert await receiver.current() == ids_of(gap.room.state)
        receiver.restart()


async def test_a_local_event_meanwhile_does_not_disturb_it(database: Database) -> None:
    room = make_room("10", creator=BOB, members=[DORA])
    receiver = await Receiver.of(room, database)
    known = room.heads
    room.leave(DORA)
    join = room.join(DORA)
    incoming = await receiver.given_with(join, begins_anew=True)
    graph = await receiver.graph()
    [sent] = await receiver.send(message(DORA, "still here"))
    received = await graph.receive(incoming)
    assert [one.event for one in received.stored] == [join]
    assert await receiver.extremities() == {join.event_id}
    assert sent.event.prev_events == (known[0].event_id,)


# What is no rejoin


async def test_a_join_that_is_refused_leaves_the_room_as_it_was(database: Database) -> None:
    gap = Gap("10")
    receiver = await gap.receiver(database)
    ends, current = await receiver.extremities(), await receiver.current()
    banned: dict[Key, Event] = dict(gap.room.state_after(gap.missed))
    banned["m.room.member", DORA] = gap.room.ban(BOB, DORA, after=[gap.missed])
    refused = await receiver.given_with(gap.join, state=banned, begins_anew=True)
    received = await (await receiver.graph()).receive(refused)
    assert [one.rejected for one in received.stored] == [True]
    assert await receiver.extremities() == ends
    assert await receiver.current() == current
    receiver.restart()
    assert await receiver.extremities() == ends


async def test_a_join_that_is_known_already_changes_nothing(database: Database) -> None:
    gap = Gap("10")
    receiver = await gap.rejoined(database)
    [hello] = await receiver.send(message(DORA, "hello"))
    again = await receiver.given_with(gap.join, begins_anew=True)
    received = await (await receiver.graph()).receive(again)
    assert not received.stored
    assert await receiver.extremities() == {hello.event.event_id}
    receiver.restart()
    [after] = await receiver.send(message(DORA, "after"))
    assert after.event.prev_events == (hello.event.event_id,)


async def test_a_join_that_is_lacking_changes_nothing(database: Database) -> None:
    gap = Gap("10")
    receiver = await gap.receiver(database)
    assert gap.join.event_id in await receiver.lacking(gap.join, begins_anew=True)
    assert await receiver.extremities() == {gap.last.event_id}
    assert await receiver.current() == ids_of(gap.room.state_after(gap.last))


async def test_what_follows_a_refused_join_in_the_batch_begins_nothing(database: Database) -> None:
    gap = Gap("10")
    receiver = await gap.receiver(database)
    banned: dict[Key, Event] = dict(gap.room.state_after(gap.missed))
    banned["m.room.member", DORA] = gap.room.ban(BOB, DORA, after=[gap.missed])
    side = gap.room.message(BOB, after=[gap.last])
    refused = await receiver.given_with(gap.join, side, state=banned, begins_anew=True)
    await (await receiver.graph()).receive(refused)
    assert await receiver.extremities() == {side.event_id}
    assert await receiver.current() == ids_of(gap.room.state_after(gap.last))


def _resolved(room: Room, *ends: Event) -> dict[Key, str]:
    states = [ids_of(room.state_after(end)) for end in ends]
    return naive_resolve(room.version, states, {e.event_id: e for e in room.events})
