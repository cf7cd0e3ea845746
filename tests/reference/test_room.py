# SPDX-License-Identifier: Apache-2.0
"""The naive room in graphs that are worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from storage.event import Event
from tests.reference.room import NaiveRoom
from tests.support.rooms import ALICE, BOB, Room, make_room

CARL = "@carl:c.example"
NAME = ("m.room.name", "")
VERSIONS = ["11", "12"]


def state_ids(room: Room, event: Event) -> dict[tuple[str, str], str]:
    return {key: value.event_id for key, value in room.state_after(event).items()}


def naive(room: Room, *batches: list[Event]) -> NaiveRoom:
    found = NaiveRoom(room.version)
    for batch in batches:
        found.receive(batch)
    return found


def named_room(version: str) -> Room:
    """A public room of Alice, Bob and Carl, where everybody may set the name."""
    room = make_room(version, members=[BOB, CARL])
    users = {} if version == "12" else {ALICE: 100}
    room.power_levels(ALICE, {"users": users, "events": {"m.room.name": 0}})
    return room


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_chain_has_the_states_of_its_events(version: str, size: int) -> None:
    room = named_room(version)
    events = room.events
    found = naive(room, *(events[i : i + size] for i in range(0, len(events), size)))
    assert not found.rejected
    assert not found.soft_failed
    assert found.extremities == {events[-1].event_id}
    assert found.before[events[0].event_id] == {}
    for one, next_one in pairwise(events):
        assert found.before[next_one.event_id] == found.after[one.event_id] == state_ids(room, one)
    assert found.current == state_ids(room, events[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_banned_user_on_an_old_branch(version: str) -> None:
    """The example of the text: A, then the ban B, C on A, and D on both, or D' on B alone."""
    room = named_room(version)
    a = room.events[-1]
    b = room.ban(ALICE, CARL)
    c = room.set_state(CARL, "m.room.name", {"name": "c"}, after=[a])
    d = room.message(ALICE, after=[b, c])
    found = naive(room, room.events[:-2], [c])
    # 6.x, 5: Carl is not joined in the current state.
    assert found.soft_failed == {c.event_id: "6" if version == "12" else "5"}
    assert found.extremities == {b.event_id}
    assert found.current == state_ids(room, b)
    assert found.after[c.event_id] == state_ids(room, c)
    found.receive([d])
    # The ban is a power event: Carl's name is refused after it.
    assert not found.rejected
    assert found.extremities == {d.event_id}
    assert found.current == found.before[d.event_id] == state_ids(room, b)


def test_a_banned_user_on_an_old_branch_in_version_1() -> None:
    """As the text says of its example: C is in the resolved state, and clients must be told."""
    room = named_room("1")
    a = room.events[-1]
    b = room.ban(ALICE, CARL)
    c = room.set_state(CARL, "m.room.name", {"name": "c"}, after=[a])
    d = room.message(ALICE, after=[b, c])
    found = naive(room, room.events[:-2], [c])
    assert found.soft_failed == {c.event_id: "6"}
    found.receive([d])
    assert found.current == found.before[d.event_id] == {**state_ids(room, b), NAME: c.event_id}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ban_that_comes_later_takes_a_key_away(version: str) -> None:
    room = named_room(version)
    a = room.events[-1]
    c = room.set_state(CARL, "m.room.name", {"name": "c"}, after=[a])
    b = room.ban(ALICE, CARL, after=[a])
    found = naive(room, [e for e in room.events if e != b])
    assert found.current[NAME] == c.event_id
    found.receive([b])
    assert not found.soft_failed
    assert found.extremities == {b.event_id, c.event_id}
    assert found.current == state_ids(room, b)
    assert NAME not in found.current


@pytest.mark.parametrize("version", VERSIONS)
def test_within_a_batch(version: str) -> None:
    room = named_room(version)
    a = room.events[-1]
    b = room.ban(ALICE, CARL, after=[a])
    c = room.message(CARL, after=[a])
    before = room.events[:-2]
    # In one batch, the ban follows on all extremities: Carl's message is judged after it.
    assert set(naive(room, before, [b, c]).soft_failed) == {c.event_id}
    # Where another extremity is left, the batch goes by the current state that it found.
    side = room.message(BOB, after=[a])
    found = naive(room, before, [side], [b, c])
    assert not found.soft_failed
    assert found.extremities == {b.event_id, c.event_id, side.event_id}
    # The next batch knows of the ban.
    again = room.message(CARL, "again", after=[c])
    found.receive([again])
    assert set(found.soft_failed) == {again.event_id}
    assert found.extremities == {b.event_id, c.event_id, side.event_id}


@pytest.mark.parametrize("version", VERSIONS)
def test_rejection(version: str) -> None:
    room = named_room(version)
    a = room.events[-1]
    carl = room.state["m.room.member", CARL]
    levels = room.state["m.room.power_levels", ""]
    create = [] if version == "12" else [room.create]
    b = room.ban(ALICE, CARL)
    # By its auth events Carl is in the room still, by the state before it no more.
    c = room.set_state(
        CARL, "m.room.name", {"name": "c"}, after=[b], auth_events=[*create, levels, carl], check=False
    )
    # Its auth events name somebody else.
    bad = room.message(ALICE, after=[b], auth_events=[*create, levels, carl], check=False)
    # What cites a rejected event is rejected, what only follows on it is not.
    d = room.message(ALICE, after=[c])
    found = naive(room, room.events)
    not_joined, unexpected = ("6", "3.2") if version == "12" else ("5", "2.2")
    assert found.rejected == {c.event_id: not_joined, bad.event_id: unexpected}
    assert not found.soft_failed
    # c is in the graph, but changes nothing; b is an extremity until something that counts follows on it.
    assert found.after[c.event_id] == found.before[d.event_id] == state_ids(room, b)
    assert found.current == state_ids(room, b)
    assert found.extremities == {b.event_id, d.event_id}
    assert found.after[a.event_id] == state_ids(room, a)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_that_cites_a_rejected_one(version: str) -> None:
    room = make_room(version, members=[BOB], join_rule="invite")
    levels = room.state["m.room.power_levels", ""]
    create = [] if version == "12" else [room.create]
    dora = "@dora:a.example"
    join = room.join(dora, check=False)
    name = room.message(dora, auth_events=[*create, levels, join], check=False)
    found = naive(room, room.events)
    assert set(found.rejected) == {join.event_id, name.event_id}
    assert found.rejected[name.event_id] == ("3.3" if version == "12" else "2.3")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_soft_failed_event_that_comes_back(version: str, comes_back: bool) -> None:
    """Carl sets the name on an old branch, where he is not kicked yet; then he joins again."""
    room = named_room(version)
    before = list(room.events)
    a = before[-1]
    kick = room.member(ALICE, CARL, "leave", after=[a])
    again = room.join(CARL, after=[kick])
    time = again.origin_server_ts + (1 if comes_back else -1)
    c = room.set_state(CARL, "m.room.name", {"name": "c"}, after=[a], origin_server_ts=time)
    d = room.message(ALICE, after=[again, c])
    found = naive(room, before, [kick], [c])
    assert set(found.soft_failed) == {c.event_id}
    found.receive([again])
    assert found.current == state_ids(room, again)
    found.receive([d])
    # The kick is a power event and goes first. The join and the name rest on the same power levels, so time
    # decides: a name after the join is allowed, one before it is not.
    name = {NAME: c.event_id} if comes_back else {}
    assert found.current == {**state_ids(room, again), **name}
    assert set(found.soft_failed) == {c.event_id}
