# SPDX-License-Identifier: Apache-2.0
"""What comes into a room's graph from outside, case by case: order, references, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from federation.errors import RoomInUse
from federation.graph.batches import Incoming
from federation.graph.receiving import RoomNotBegun
from federation.graph.room_memory import RoomGone
from storage.engine.database import Database
from storage.event import Event, StateAt
from tests.reference.resolver import naive_resolve
from tests.support.graphs import message, state
from tests.support.receiver import Ids, Receiver, bent, ids_of
from tests.support.rooms import ALICE, BOB, Room, make_room

CARL = "@carl:c.example"
BOTH_IDS = pytest.mark.parametrize("version", ["1", "10", "12"])


def together(*coroutines: Any) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


# Order within a batch


@BOTH_IDS
async def test_events_in_the_wrong_order_are_lacking_what_comes_after_them(
    database: Database, version: str
) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    first, second, third = (room.message(BOB, str(i)) for i in range(3))
    received = await (await receiver.graph()).receive(Incoming([third, second, first]))
    assert [stored.event for stored in received.stored] == [first]
    assert received.lacking == {
        second.event_id: frozenset({first.event_id}),
        third.event_id: frozenset({second.event_id}),
    }
    assert await receiver.extremities() == {first.event_id}
    await receiver.receive(second, third)
    assert await receiver.extremities() == {third.event_id}


async def test_an_event_before_its_auth_events_is_lacking_them(database: Database) -> None:
    room = make_room()
    receiver = await Receiver.of(room, database)
    join = room.join(BOB)
    hello = room.message(BOB, after=[join])
    lacking = await (await receiver.graph()).receive(Incoming([hello, join]))
    assert lacking.lacking == {hello.event_id: frozenset({join.event_id})}
    await receiver.receive(hello)


async def test_an_event_whose_predecessor_comes_later_in_the_batch_leaves_no_gap(database: Database) -> None:
    room = make_room(members=[BOB])
    receiver = await Receiver.of(room, database)
    earlier = room.message(BOB, "earlier")
    later = room.message(BOB, "later")
    given = await receiver.given_with(later, state=room.state)
    stored = await receiver.receive(later, earlier, given=given.given)
    assert [one.event for one in stored] == [later, earlier]
    assert await receiver.gaps() == []
    assert await receiver.extremities() == {later.event_id}
    receiver.restart()
    [after] = await receiver.send(message(ALICE, "after"))
    assert after.event.prev_events == (later.event_id,)


async def test_an_event_twice_in_a_batch_is_stored_once(database: Database) -> None:
    room = make_room(members=[BOB])
    receiver = await Receiver.of(room, database)
    hello = room.message(BOB)
    topic = room.set_state(ALICE, "m.room.topic", {"topic": "x"})
    stored = await receiver.receive(hello, hello, topic, hello, topic)
    assert [one.event for one in stored] == [hello, topic]
    assert await receiver.current() == ids_of(room.state)


@BOTH_IDS
async def test_the_same_batch_twice_at_once_is_stored_once(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    batch = [room.message(BOB), room.set_state(ALICE, "m.room.topic", {"topic": "x"}), room.message(BOB)]
    first, second = await together(receiver.receive(*batch), receiver.receive(*batch))
    assert ([one.event for one in first], second) == (batch, [])
    assert await receiver.current() == ids_of(room.state)
    assert await receiver.extremities() == {batch[-1].event_id}


# Prev events


@BOTH_IDS
async def test_twenty_prev_events_are_followed(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    start = room.heads
    forks = [room.message(BOB, str(i), after=start) for i in range(20)]
    merge = room.message(BOB, "merge", after=forks)
    await receiver.receive(*forks, merge)
    assert await receiver.extremities() == {merge.event_id}
    assert await receiver.state((await receiver.stored(merge)).before) == ids_of(room.state)


@BOTH_IDS
async def test_a_prev_event_named_twice_counts_once(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    topic = room.set_state(ALICE, "m.room.topic", {"topic": "x"}, after=[head, head])
    [stored] = await receiver.receive(topic)
    assert (stored.before, stored.rejected) == (StateAt(0, 5), False)
    assert await receiver.extremities() == {topic.event_id}
    assert await receiver.current() == ids_of(room.state)


@BOTH_IDS
async def test_an_auth_event_named_twice_is_refused_by_the_rule_of_duplicates(
    database: Database, version: str
) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    cited = [room.state["m.room.member", BOB], room.state["m.room.power_levels", ""]]
    if version != "12":
        cited.append(room.create)
    event = room.message(BOB, auth_events=[*cited, cited[0]], check=False)
    [stored] = await receiver.receive(event)
    assert stored.rejected
    refusal = await receiver.refusal(event)
    assert refusal is not None
    assert refusal.rule == {"1": "2.1", "10": "2.1", "12": "3.1"}[version]


async def test_an_event_that_follows_itself_is_lacking(database: Database) -> None:
    # In versions 1 and 2 the sender chooses the id.
    room = make_room("1", members=[BOB])
    receiver = await Receiver.of(room, database)
    event = room.message(BOB)
    event = bent(room, event, prev_events=[event.event_id])
    assert await receiver.lacking(event) == {event.event_id: frozenset()}


async def test_an_event_that_follows_itself_is_lacking_even_with_a_given_state(database: Database) -> None:
    room = make_room("1", members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    event = room.message(BOB)
    event = bent(room, event, prev_events=[event.event_id])
    given = await receiver.given_with(event, state=room.state_after(head))
    assert await receiver.lacking(event, given=given.given)
    assert await receiver.gaps() == []
    assert await receiver.extremities() == {head.event_id}


async def test_events_that_follow_each_other_are_lacking(database: Database) -> None:
    room = make_room("1", members=[BOB])
    receiver = await Receiver.of(room, database)
    one, two = room.message(BOB, "one"), room.message(BOB, "two")
    one = bent(room, one, prev_events=[two.event_id])
    assert await receiver.lacking(one, two) == {
        one.event_id: frozenset({two.event_id}),
        two.event_id: frozenset({one.event_id}),
    }


async def test_a_circle_with_a_given_state_leaves_the_room_usable(database: Database) -> None:
    room = make_room("1", members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    one, two = room.message(BOB, "one"), room.message(BOB, "two")
    one = bent(room, one, prev_events=[two.event_id])
    given = await receiver.given_with(one, state=room.state_after(head))
    await receiver.receive(one, two, given=given.given)
    assert await receiver.gaps() == []
    assert head.event_id in await receiver.extremities()
    receiver.restart()
    [after] = await receiver.send(message(ALICE, "after"))
    assert head.event_id in after.event.prev_events


# Other rooms


async def _elsewhere(receiver: Receiver, other: Room) -> Receiver:
    elsewhere = Receiver(other, receiver.database, receiver.parts, receiver.told)
    await elsewhere.begin(Incoming(other.events))
    return elsewhere


def _two_rooms(version: str) -> tuple[Room, Room]:
    """A room, and one in which other rules hold."""
    room = make_room(version, members=[BOB], localpart="here")
    other = make_room(version, creator=BOB, members=[ALICE], localpart="there")
    other.power_levels(BOB, {"users": {} if version == "12" else {BOB: 100}, "events_default": 50})
    return room, other


@BOTH_IDS
async def test_an_event_of_another_room_is_not_taken_in(database: Database, version: str) -> None:
    room, other = _two_rooms(version)
    receiver = await Receiver.of(room, database)
    elsewhere = await _elsewhere(receiver, other)
    hello = other.message(BOB)
    assert await receiver.lacking(hello) == {hello.event_id: frozenset()}
    assert not await receiver.is_stored(hello)
    assert await receiver.current() == ids_of(room.state)
    [stored] = await elsewhere.receive(hello)
    assert not stored.rejected


@BOTH_IDS
async def test_a_prev_event_of_another_room_is_a_missing_one(database: Database, version: str) -> None:
    room, other = _two_rooms(version)
    receiver = await Receiver.of(room, database)
    await _elsewhere(receiver, other)
    foreign = other.heads[0]
    event = bent(room, room.message(BOB), prev_events=[foreign.event_id])
    assert await receiver.lacking(event) == {event.event_id: frozenset({foreign.event_id})}


@BOTH_IDS
async def test_a_gap_of_one_room_says_nothing_of_another(database: Database, version: str) -> None:
    room, other = _two_rooms(version)
    receiver = await Receiver.of(room, database)
    elsewhere = await _elsewhere(receiver, other)
    [head] = room.heads
    foreign = other.message(BOB)
    event = bent(room, room.message(BOB), prev_events=[foreign.event_id])
    given = await receiver.given_with(event, state=room.state_after(head))
    await receiver.receive(event, given=given.given)
    [gap] = await receiver.gaps()
    assert gap.event_id == foreign.event_id
    await elsewhere.receive(foreign)
    assert await elsewhere.extremities() == {foreign.event_id}
    assert await receiver.gaps() == [gap]


async def test_an_id_that_an_event_of_another_room_has_is_not_taken_in(database: Database) -> None:
    room, other = _two_rooms("1")
    receiver = await Receiver.of(room, database)
    elsewhere = await _elsewhere(receiver, other)
    [there] = await elsewhere.receive(other.message(BOB))
    here = bent(room, room.message(BOB, "another"), event_id=there.event.event_id)
    assert await receiver.lacking(here) == {here.event_id: frozenset()}
    assert (await elsewhere.stored(there.event)).event.room_id == other.room_id


@BOTH_IDS
async def test_an_auth_event_of_another_room_is_refused(database: Database, version: str) -> None:
    room, other = _two_rooms(version)
    receiver = await Receiver.of(room, database)
    await _elsewhere(receiver, other)
    cited = [other.state["m.room.member", BOB], room.state["m.room.power_levels", ""]]
    if version != "12":
        cited.append(room.create)
    event = room.message(BOB, auth_events=cited, check=False)
    [stored] = await receiver.receive(event)
    assert stored.rejected
    refusal = await receiver.refusal(event)
    assert refusal is not None
    assert refusal.rule == {"1": "2.5", "10": "2.5", "12": "3.5"}[version]


# Create events


@pytest.mark.parametrize("version", ["1", "10", "11"])
async def test_a_second_create_event_is_refused(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    rows, [head] = await _rows(receiver), room.heads
    content = {"creator": ALICE, "room_version": version}
    second = room.send(ALICE, "m.room.create", content, state_key="", after=(), check=False)
    [stored] = await receiver.receive(second)
    assert stored.rejected
    refusal = await receiver.refusal(second)
    assert refusal is not None
    assert refusal.rule.startswith("1")
    assert await receiver.extremities() == {head.event_id}
    assert await receiver.current() == ids_of(room.state_after(head))
    assert await _rows(receiver) == rows


async def test_a_second_create_event_of_version_12_is_of_another_room(database: Database) -> None:
    room = make_room("12", members=[BOB])
    receiver = await Receiver.of(room, database)
    second = Room("12", ALICE, localpart="second").create
    assert await receiver.lacking(second) == {second.event_id: frozenset()}


async def _rows(receiver: Receiver) -> int:
    [(count,)] = await receiver.database.read(
        "count", lambda txn: txn.rows("SELECT count(*) FROM state_rows")
    )
    return int(count)


@pytest.mark.parametrize("version", ["1", "10", "11"])
async def test_a_second_create_event_that_follows_on_the_room_is_refused(
    database: Database, version: str
) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    content = {"creator": ALICE, "room_version": version}
    second = room.send(ALICE, "m.room.create", content, state_key="", auth_events=(), check=False)
    [stored] = await receiver.receive(second)
    assert stored.rejected
    assert await receiver.extremities() == {head.event_id}
    assert await receiver.current() == ids_of(room.state_after(head))


@BOTH_IDS
async def test_what_has_no_prev_events_is_refused(database: Database, version: str) -> None:
    room = make_room(version, members=[BOB])
    receiver = await Receiver.of(room, database)
    rows = await _rows(receiver)
    [head] = room.heads
    cited = [room.state["m.room.member", BOB], room.state["m.room.power_levels", ""]]
    if version != "12":
        cited.append(room.create)
    early = room.message(BOB, after=(), auth_events=cited, check=False)
    [stored] = await receiver.receive(early)
    assert stored.rejected
    assert await receiver.extremities() == {head.event_id}
    assert await _rows(receiver) == rows


# A room that begins


@BOTH_IDS
async def test_a_room_whose_create_event_is_refused_does_not_begin(database: Database, version: str) -> None:
    good = Room(version, localpart="good")
    bad = bent(good, good.create, content={"room_version": "unheard-of", "creator": ALICE})
    receiver = Receiver.over(good, database)
    with pytest.raises(RoomNotBegun) as raised:
        await receiver.parts.graphs.begin_remote(bad.room_id, good.version, Incoming([bad]))
    assert raised.value.refused is not None
    assert raised.value.refused.rule.startswith("1")
    assert not await receiver.is_stored(bad)
    await receiver.begin(Incoming([good.create]))
    assert await receiver.extremities() == {good.create.event_id}


async def test_a_room_whose_first_event_is_lacking_does_not_begin(database: Database) -> None:
    room = make_room(members=[BOB])
    receiver = Receiver.over(room, database)
    with pytest.raises(RoomNotBegun) as raised:
        await receiver.parts.graphs.begin_remote(room.room_id, room.version, Incoming(room.events[2:]))
    assert raised.value.lacking.keys() == {event.event_id for event in room.events[2:]}
    with pytest.raises(RoomGone):
        await receiver.send(message(ALICE, "where?"))
    await receiver.begin(Incoming(room.events))
    assert await receiver.current() == ids_of(room.state)


async def test_a_room_begins_once_if_two_begin_it_at_once(database: Database) -> None:
    room = make_room(members=[BOB])
    receiver = Receiver.over(room, database)

    async def begin() -> str:
        try:
            await receiver.begin(Incoming(room.events))
        except RoomInUse:
            return "in use"
        return "begun"

    assert sorted(await together(begin(), begin(), begin())) == ["begun", "in use", "in use"]
    assert await receiver.current() == ids_of(room.state)


# Rejection and soft failure


async def test_an_event_that_its_auth_events_refuse_and_one_that_the_state_refuses(
    database: Database,
) -> None:
    room = make_room("11", members=[BOB])
    receiver = await Receiver.of(room, database)
    before_ban = room.heads
    cited = [room.state[key] for key in (("m.room.create", ""), ("m.room.power_levels", ""))]
    joined = room.state["m.room.member", BOB]
    ban = room.ban(ALICE, BOB)
    unfounded = room.message(BOB, "cites no join", auth_events=cited, after=before_ban, check=False)
    banned = room.message(BOB, "cites the join", auth_events=[*cited, joined], after=[ban], check=False)
    stored = await receiver.receive(ban, unfounded, banned)
    assert [one.rejected for one in stored] == [False, True, True]
    for event in (unfounded, banned):
        refusal = await receiver.refusal(event)
        assert refusal is not None
        assert (refusal.rule, bool(refusal.reason)) == ("5", True)
    assert await receiver.extremities() == {ban.event_id}


async def test_what_cites_a_rejected_event_is_rejected(database: Database) -> None:
    room = make_room("11", members=[BOB])
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    levels = room.power_levels(BOB, {"users": {BOB: 100}}, check=False)
    cited = [room.create, levels, room.state["m.room.member", BOB]]
    use = room.message(BOB, auth_events=cited, check=False)
    follow = room.message(ALICE, after=[levels])
    follow_well = room.message(
        ALICE,
        "a rejected prev event does no harm",
        after=[levels],
        auth_events=[
            room.state_after(head)[k]
            for k in (("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", ALICE))
        ],
    )
    stored = await receiver.receive(levels, use, follow, follow_well)
    assert [one.rejected for one in stored] == [True, True, True, False]
    refusal = await receiver.refusal(use)
    assert refusal is not None
    assert refusal.rule == "2.3"
    assert await receiver.current() == ids_of(room.state_after(head))
    assert await receiver.state((await receiver.stored(follow_well)).before) == ids_of(room.state_after(head))
    # The graph goes on after the rejected event; both ends are there.
    assert await receiver.extremities() == {head.event_id, follow_well.event_id}
    receiver.restart()
    assert (await receiver.stored(levels)).rejected
    assert (await receiver.stored(levels)).after is None


async def test_what_follows_a_soft_failed_event_brings_its_state_to_the_resolution(
    database: Database,
) -> None:
    room = make_room("11", members=[BOB, CARL], levels={BOB: 50})
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    ban = room.ban(ALICE, CARL)
    renamed = room.set_state(
        CARL, "m.room.member", {"membership": "join", "displayname": "C"}, CARL, after=[head]
    )
    await receiver.receive(ban)
    [soft] = await receiver.receive(renamed)
    assert (soft.soft_failed, soft.rejected) == (True, False)
    refusal = await receiver.refusal(renamed)
    assert refusal is not None
    assert await receiver.extremities() == {ban.event_id}
    # On its own branch somebody sets a topic, which is allowed now: it brings its state along.
    topic = room.set_state(BOB, "m.room.topic", {"topic": "x"}, after=[renamed])
    [accepted] = await receiver.receive(topic)
    assert not accepted.soft_failed
    assert await receiver.extremities() == {ban.event_id, topic.event_id}
    current = await receiver.current()
    assert current["m.room.member", CARL] == ban.event_id
    assert current["m.room.topic", ""] == topic.event_id


async def test_a_soft_failed_event_comes_back_by_a_resolution(database: Database) -> None:
    room = make_room("11", members=[BOB, CARL], levels={BOB: 50, CARL: 60})
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    ban = room.ban(CARL, BOB)
    topic = room.set_state(BOB, "m.room.topic", {"topic": "Bob's"}, after=[head])
    await receiver.receive(ban)
    [soft] = await receiver.receive(topic)
    assert (soft.soft_failed, soft.rejected) == (True, False)
    assert ("m.room.topic", "") not in await receiver.current()
    # Meanwhile Carl has lost the power to ban: in the resolution the ban does not count.
    levels = {"users": {ALICE: 100, BOB: 50}}
    demotion = room.power_levels(ALICE, levels, after=[head])
    follow = room.message(ALICE, "after the topic", after=[topic, demotion])
    await receiver.receive(demotion, follow)
    for _ in range(2):
        current = await receiver.current()
        assert current == _resolved(room, ban, follow)
        assert current["m.room.topic", ""] == topic.event_id
        assert current["m.room.member", BOB] != ban.event_id
        assert await receiver.extremities() == {ban.event_id, follow.event_id}
        assert (await receiver.stored(topic)).soft_failed
        receiver.restart()
    # Bob may speak again.
    [spoken] = await receiver.receive(room.message(BOB, after=[follow]))
    assert not spoken.soft_failed


async def test_a_resolution_removes_an_accepted_event_and_its_key(database: Database) -> None:
    room = make_room("11", members=[BOB, CARL], levels={BOB: 50})
    receiver = await Receiver.of(room, database)
    [head] = room.heads
    name = room.set_state(BOB, "m.room.name", {"name": "Bob's"})
    await receiver.receive(name)
    assert (await receiver.current())["m.room.name", ""] == name.event_id
    revision = await receiver.head()
    ban = room.ban(ALICE, BOB, after=[head])
    await receiver.receive(ban)
    changes = [change for told in receiver.told.resolved_changes for change in told.changes]
    assert {(c.type, c.new and c.new.event_id) for c in changes} == {
        ("m.room.name", None),
        ("m.room.member", ban.event_id),
    }
    for _ in range(2):
        current = await receiver.current()
        assert current == _resolved(room, name, ban)
        assert ("m.room.name", "") not in current
        assert current["m.room.member", BOB] == ban.event_id
        # Before, it was there.
        assert (await receiver.state(revision))["m.room.name", ""] == name.event_id
        stored = await receiver.stored(name)
        assert (stored.rejected, stored.soft_failed) == (False, False)
        receiver.restart()
    [again] = await receiver.send(state(ALICE, "m.room.name", {"name": "Alice's"}))
    assert (await receiver.current())["m.room.name", ""] == again.event.event_id
    # What comes on the other branch only is soft-failed.
    [late] = await receiver.receive(room.message(BOB, after=[name]))
    assert late.soft_failed
    receiver.restart()
    assert (await receiver.current())["m.room.name", ""] == again.event.event_id


def _resolved(room: Room, *ends: Event) -> Ids:
    states = [ids_of(room.state_after(end)) for end in ends]
    return naive_resolve(room.version, states, {e.event_id: e for e in room.events})
