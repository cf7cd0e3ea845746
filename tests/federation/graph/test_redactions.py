# SPDX-License-Identifier: Apache-2.0
"""Redactions and their targets, in whatever order they come.

spec: rooms, versions 1 and 3, "Handling redactions".
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from federation.graph.batches import Incoming
from federation.rules.redaction import redacts
from storage.engine.database import Database
from storage.event import Event
from tests.support.graphs import Draft
from tests.support.receiver import Receiver
from tests.support.rooms import ALICE, BOB, Room, make_room

CARL = "@carl:c.example"
BERT = "@bert:b.example"
VERSIONS = pytest.mark.parametrize("version", ["1", "10", "12"])
ENDS = pytest.mark.parametrize("version", ["1", "12"])


def redaction(room: Room, sender: str, target: Event, after: Sequence[Event] | None = None) -> Event:
    if room.version.redacts_in_content:
        content = {"redacts": target.event_id}
        return room.send(sender, "m.room.redaction", content, after=after, check=False)
    return room.send(sender, "m.room.redaction", {}, after=after, check=False, redacts=target.event_id)


async def is_redacted(receiver: Receiver, target: Event) -> str | None:
    """By which event, after looking that memory and disk say the same."""
    cached = (await receiver.stored(target)).redacted_by
    receiver.restart()
    assert (await receiver.stored(target)).redacted_by == cached
    return cached


@VERSIONS
async def test_after_its_target(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    target = room.message(BOB, "secret")
    receiver = await Receiver.of(room, database)
    event = redaction(room, BOB, target)
    assert redacts(event, room.version) == target.event_id
    await receiver.receive(event)
    assert await is_redacted(receiver, target) == event.event_id


@VERSIONS
async def test_in_an_earlier_batch_than_its_target(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    target = room.message(BOB, "secret")
    event = redaction(room, BOB, target, after=[head])
    await receiver.receive(event)
    receiver.restart()
    await receiver.receive(target)
    assert await is_redacted(receiver, target) == event.event_id


@VERSIONS
async def test_before_its_target_in_the_same_batch(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    target = room.message(BOB, "secret")
    event = redaction(room, BOB, target, after=[head])
    await receiver.receive(event, target)
    assert await is_redacted(receiver, target) == event.event_id


@VERSIONS
@pytest.mark.parametrize("first", ["redaction", "target"])
async def test_of_anothers_event_without_the_level(database: Database, version: str, first: str) -> None:
    room = make_room(version, members=[BOB, CARL])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    target = room.message(CARL, "mine")
    event = redaction(room, BOB, target, after=[head])
    stored = await receiver.receive(*((event, target) if first == "redaction" else (target, event)))
    # In version 1 the rules refuse it, else it has no effect.
    assert {one.event.event_id for one in stored if one.rejected} == (
        {event.event_id} if version == "1" else set()
    )
    assert await is_redacted(receiver, target) is None


@ENDS
@pytest.mark.parametrize("first", ["redaction", "target"])
async def test_of_anothers_event_with_the_level(database: Database, version: str, first: str) -> None:
    room = make_room(version, members=[BOB, CARL], levels={BOB: 50})
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    target = room.message(CARL, "theirs")
    event = redaction(room, BOB, target, after=[head])
    for one in (event, target) if first == "redaction" else (target, event):
        await receiver.receive(one)
    assert await is_redacted(receiver, target) == event.event_id


@ENDS
async def test_of_an_event_of_the_same_server(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB, BERT])
    receiver = await Receiver.of(room, database)
    target = room.message(BERT, "ours")
    event = redaction(room, BOB, target)
    await receiver.receive(target, event)
    assert await is_redacted(receiver, target) == event.event_id


async def test_that_names_its_target_in_the_other_place_has_no_effect(database: Database) -> None:
    for version, content, members in (("10", "redacts", {}), ("11", None, {"redacts": ""})):
        room = make_room(version, members=[BOB], localpart=f"v{version}")
        target = room.message(BOB)
        receiver = await Receiver.of(room, database)
        full = {content: target.event_id} if content else {}
        given = {"redacts": target.event_id} if members else {}
        event = room.send(BOB, "m.room.redaction", full, **given)
        [stored] = await receiver.receive(event)
        assert not stored.rejected
        assert await is_redacted(receiver, target) is None


@ENDS
async def test_of_a_rejected_event(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    target = room.message(CARL, "no member", check=False)
    event = redaction(room, ALICE, target, after=[head])
    await receiver.receive(target, event)
    assert (await receiver.stored(target)).rejected
    assert await is_redacted(receiver, target) == event.event_id


@VERSIONS
async def test_that_is_soft_failed_has_no_effect(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    target = room.message(BOB, "here")
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    ban = room.ban(ALICE, BOB)
    late = redaction(room, BOB, target, after=[head])
    [_, stored] = await receiver.receive(ban, late)
    assert (stored.soft_failed, stored.rejected) == (True, False)
    assert await is_redacted(receiver, target) is None


@ENDS
async def test_that_is_soft_failed_before_its_target_has_no_effect(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    ban = room.ban(ALICE, BOB)
    target = room.message(ALICE, "later", after=[ban])
    event = redaction(room, BOB, target, after=[head])
    await receiver.receive(ban, event, target)
    assert await is_redacted(receiver, target) is None


async def test_of_an_event_of_another_room_has_no_effect(database: Database) -> None:
    room, other = make_room(members=[BOB], localpart="one"), make_room(members=[BOB], localpart="two")
    target = other.message(BOB)
    receiver = await Receiver.of(room, database)
    elsewhere = Receiver(other, database, receiver.parts, receiver.told)
    await elsewhere.begin(Incoming(other.events))
    await receiver.receive(redaction(room, BOB, target))
    assert await is_redacted(elsewhere, target) is None


@ENDS
async def test_by_a_local_user_before_its_target(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    target = room.message(BOB, "secret")
    [event] = await receiver.send(Draft(ALICE, "m.room.redaction", {}, redacts=target.event_id))
    await receiver.receive(target)
    assert await is_redacted(receiver, target) == event.event.event_id


# Older events


@ENDS
async def test_of_an_outlier_that_gets_its_place_later(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    target = room.set_state(ALICE, "m.room.topic", {"topic": "secret"})
    join = room.join(CARL)
    receiver = await Receiver.joined(room, join, database)
    assert (await receiver.stored(target)).topo is None
    event = redaction(room, ALICE, target)
    await receiver.receive(event)
    assert await is_redacted(receiver, target) == event.event_id
    given = await receiver.given_with(target, backfilled=True)
    await (await receiver.graph()).receive(given)
    assert (await receiver.stored(target)).topo is not None
    assert await is_redacted(receiver, target) == event.event_id


@ENDS
async def test_of_an_event_that_is_backfilled(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    target = room.message(BOB, "secret")
    join = room.join(CARL)
    receiver = await Receiver.joined(room, join, database)
    event = redaction(room, BOB, target)
    await receiver.receive(event)
    given = await receiver.given_with(target, backfilled=True)
    await (await receiver.graph()).receive(given)
    assert (await receiver.stored(target)).position is not None
    assert await is_redacted(receiver, target) == event.event_id


@ENDS
async def test_that_is_backfilled_with_its_target(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    target = room.message(BOB, "secret")
    event = redaction(room, BOB, target)
    join = room.join(CARL)
    receiver = await Receiver.joined(room, join, database)
    given = await receiver.given_with(target, event, backfilled=True)
    await (await receiver.graph()).receive(given)
    assert await is_redacted(receiver, target) == event.event_id


@ENDS
async def test_that_is_backfilled_before_its_target(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    target = room.message(BOB, "secret")
    event = redaction(room, BOB, target)
    join = room.join(CARL)
    receiver = await Receiver.joined(room, join, database)
    for one in (event, target):
        given = await receiver.given_with(one, backfilled=True)
        await (await receiver.graph()).receive(given)
        receiver.restart()
    assert await is_redacted(receiver, target) == event.event_id


@ENDS
async def test_of_an_event_that_a_given_state_makes_known(database: Database, version: str) -> None:
    # It shows in state sections: what is redacted must not.
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    target = room.set_state(ALICE, "m.room.topic", {"topic": "secret"})
    event = redaction(room, ALICE, target, after=[head])
    after = room.message(BOB, "after", after=[target])
    await receiver.receive(event)
    given = await receiver.given_with(after, state=room.state_after(target))
    await (await receiver.graph()).receive(given)
    assert (await receiver.stored(target)).topo is None
    assert (await receiver.current())["m.room.topic", ""] == target.event_id
    assert await is_redacted(receiver, target) == event.event_id


@ENDS
async def test_by_an_event_of_another_room_of_what_a_given_state_makes_known(
    database: Database, version: str
) -> None:
    room, other = (
        make_room(version, members=[BOB], localpart="one"),
        make_room(version, members=[BOB], localpart="two"),
    )
    elsewhere = await Receiver.of(other, database)
    targets = [room.create, room.state["m.room.power_levels", ""], room.join(CARL)]
    await elsewhere.receive(*(redaction(other, BOB, target) for target in targets))
    receiver = Receiver(room, database, elsewhere.parts, elsewhere.told)
    await receiver.begin(await receiver.given_with(targets[-1]))
    for target in targets:
        assert await is_redacted(receiver, target) is None
    await receiver.receive(*room.events[:-1], backfilled=True)
    for target in targets:
        assert await is_redacted(receiver, target) is None
