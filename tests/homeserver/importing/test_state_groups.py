# SPDX-License-Identifier: Apache-2.0
"""Synapse's state groups as branches, held against rooms that are grown the way Synapse grows them."""

from __future__ import annotations

import time
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.graph.timelines import MOST_LEVELS
from homeserver.importing.state_groups import GroupedEvent, RoomStates, StateGroup, states_of_room
from storage.event import StateAt
from storage.state_records import GivenRow, NewBranch, NewRevision, StateChange
from tests.support.naive_states import Key, NaiveStates

ROOM = 1
MEMBER = 7

State = dict[Key, int]


@attrs.define
class SynapseRoom:
    """A room with its groups, the state before and after each event beside them.

    Groups have a parent where the state only adds to it, until `hops` follow one another.
    """

    hops: int = 100
    groups: dict[int, StateGroup] = attrs.field(factory=dict)
    states: dict[int, State] = attrs.field(factory=dict)
    events: list[GroupedEvent] = attrs.field(factory=list)
    before: dict[int, State | None] = attrs.field(factory=dict)
    after: dict[int, State | None] = attrs.field(factory=dict)
    after_group: dict[int, int] = attrs.field(factory=dict)

    def group(self, state: State, parent: int | None) -> int:
        """A group that holds `state`, as a delta of `parent` if that can be."""
        number = len(self.groups) + 1
        if parent is not None and (
            self.states[parent].keys() - state.keys() or self._hops(parent) >= self.hops
        ):
            parent = None
        old = {} if parent is None else self.states[parent]
        delta = {key: event for key, event in state.items() if old.get(key) != event}
        self.groups[number] = StateGroup(number, parent, delta, 1000 + len(self.events))
        self.states[number] = dict(state)
        return number

    def _hops(self, group: int) -> int:
        parent = self.groups[group].parent
        return 0 if parent is None else 1 + self._hops(parent)

    def send(
        self, key: Key | None, before: int, previous: tuple[int, ...] = (), *, rejected: bool = False
    ) -> int:
        """An event at the group `before`; returns its number."""
        event = 1000 + len(self.events)
        state = self.states[before]
        group = before
        if key is not None and not rejected:
            group = self.group({**state, key: event}, before)
        replaces = None if key is None else state.get(key)
        self.events.append(GroupedEvent(event, key, group, rejected, replaces, previous))
        self.before[event] = state
        self.after[event] = self.states[group] if group != before else None
        self.after_group[event] = group
        return event

    def chain(self, keys: list[Key | None], before: int) -> int:
        """Events one after another; returns the group after the last."""
        for key in keys:
            previous = (self.events[-1].event,) if self.events else ()
            before = self.after_group[self.send(key, before, previous)]
        return before

    def mapped(self, current: State | None = None) -> RoomStates:
        """What becomes of it; the current state is that after the last event unless it is given."""
        last = self.states[self.after_group[self.events[-1].event]]
        return states_of_room(
            room=ROOM,
            groups=self.groups.values(),
            events=self.events,
            current=last if current is None else current,
            memberships={e.event: "join" for e in self.events if e.key and e.key[0] == MEMBER},
        )


def check(room: SynapseRoom, mapped: RoomStates, current: State) -> NaiveStates:
    """Every state is what it was in Synapse, and the records keep to the contract."""
    naive = NaiveStates(mapped.records)
    assert [event.event for event in mapped.events] == [event.event for event in room.events]
    for event in mapped.events:
        before, after = room.before[event.event], room.after[event.event]
        assert (event.before is None) == (before is None)
        assert event.before is None or naive.at(event.before) == before
        assert (event.after is None) == (after is None)
        assert event.after is None or naive.at(event.after) == after
    assert mapped.current.branch == 0
    assert naive.at(mapped.current) == current
    check_order(mapped, naive)
    return naive


def check_order(mapped: RoomStates, naive: NaiveStates) -> None:
    """Branch 0 ends in the current state; its revisions have positions of their own, in order."""
    assert sorted(naive.revisions) == list(range(1, mapped.current.revision + 1))
    positions = [naive.revisions[revision] for revision in sorted(naive.revisions)]
    assert positions == sorted(set(positions))
    indexes = [event.index for event in mapped.events]
    assert indexes == sorted(set(indexes))
    assert {*positions, *indexes} == set(range(1, mapped.positions + 1))
    at = naive.revisions
    for event in mapped.events:
        if event.before and event.before.branch == 0 and event.before.revision:
            assert at[event.before.revision] <= event.index
        if event.after and event.after.branch == 0:
            assert at[event.after.revision] <= event.index
    assert all(naive.level(branch) <= MOST_LEVELS for branch in naive.parents)


def changes(mapped: RoomStates) -> list[StateChange]:
    return [record for record in mapped.records if isinstance(record, StateChange)]


def branches(mapped: RoomStates) -> list[NewBranch]:
    return [record for record in mapped.records if isinstance(record, NewBranch)]


def begun(hops: int = 100) -> tuple[SynapseRoom, int]:
    """A room of our own with ten keys, and the group after them."""
    room = SynapseRoom(hops)
    return room, room.chain([(MEMBER, key) for key in range(10)], room.group({}, None))


def test_an_own_room_begins_with_nothing() -> None:
    """The create event stands at revision 0, each state event makes the next, a message none."""
    room = SynapseRoom()
    room.chain([(1, 0), (MEMBER, 1), None, (2, 0), None], room.group({}, None))
    mapped = room.mapped()
    assert [(e.index, e.before, e.after) for e in mapped.events] == [
        (1, StateAt(0, 0), StateAt(0, 1)),
        (2, StateAt(0, 1), StateAt(0, 2)),
        (3, StateAt(0, 2), None),
        (4, StateAt(0, 2), StateAt(0, 3)),
        (5, StateAt(0, 3), None),
    ]
    assert mapped.records == [
        StateChange(ROOM, 0, 1, 0, 1, 1000, None),
        StateChange(ROOM, 0, MEMBER, 1, 2, 1001, "join"),
        StateChange(ROOM, 0, 2, 0, 3, 1003, None),
        NewRevision(ROOM, 1, 1),
        NewRevision(ROOM, 2, 2),
        NewRevision(ROOM, 3, 4),
    ]
    assert (mapped.current, mapped.positions) == (StateAt(0, 3), 5)


def test_a_joined_room_begins_with_the_given_state() -> None:
    """What held before the first event is given, and holds since ever."""
    room = SynapseRoom()
    before = room.group({(1, 0): 500, (MEMBER, 1): 501}, None)
    room.send((MEMBER, 2), before)
    mapped = room.mapped()
    assert mapped.records == [
        GivenRow(ROOM, 0, 1, 0, 500, None),
        GivenRow(ROOM, 0, MEMBER, 1, 501, None),
        StateChange(ROOM, 0, MEMBER, 2, 1, 1000, "join"),
        NewRevision(ROOM, 1, 1),
    ]
    check(room, mapped, {(1, 0): 500, (MEMBER, 1): 501, (MEMBER, 2): 1000})


def test_a_whole_state_every_hundred_hops_is_no_copy() -> None:
    """A long line is as many changes as it has state events, wherever Synapse cut it."""
    room, group = begun(hops=9)
    room.chain([(3, number % 4) for number in range(200)], group)
    mapped = room.mapped()
    assert sum(group.parent is None for group in room.groups.values()) > 20
    assert len(changes(mapped)) == 210
    assert branches(mapped) == []
    check(room, mapped, room.states[len(room.groups)])


def test_groups_of_one_content_are_one_state() -> None:
    """Two groups that hold the same, one of them whole, take nothing twice."""
    room, group = begun()
    copies = [room.group(room.states[group], None), room.group(room.states[group], group)]
    for copy in copies:
        room.send(None, copy, (room.events[-1].event,))
    mapped = room.mapped()
    assert [e.before for e in mapped.events[-2:]] == [StateAt(0, 10)] * 2
    assert len(changes(mapped)) == 10


def fork(room: SynapseRoom, group: int) -> tuple[int, int]:
    """Two events on one, that change different keys; returns the groups after them."""
    root = (room.events[-1].event,)
    one = room.after_group[room.send((3, 1), group, root)]
    other = room.after_group[room.send((3, 2), group, root)]
    return one, other


def test_the_side_that_did_not_win_is_a_branch() -> None:
    """The current state continues one side of a fork; the other lies over where they part."""
    room, group = begun()
    one, other = fork(room, group)
    ends = (room.events[-1].event, room.events[-2].event)
    room.send(None, one, ends)
    mapped = room.mapped()
    assert branches(mapped) == [NewBranch(ROOM, 1, StateAt(0, 10))]
    assert [(e.before, e.after) for e in mapped.events[-3:]] == [
        (StateAt(0, 10), StateAt(0, 11)),
        (StateAt(0, 10), StateAt(1, 1)),
        (StateAt(0, 11), None),
    ]
    assert other != one


def test_a_merge_has_a_revision_before_its_event() -> None:
    """A state that a resolution made is a revision with a position of its own."""
    room, group = begun()
    one, other = fork(room, group)
    both = room.group({**room.states[one], **room.states[other]}, one)
    ends = (room.events[-1].event, room.events[-2].event)
    room.send(None, both, ends)
    mapped = room.mapped()
    assert mapped.events[-1].before == StateAt(0, 12)
    assert mapped.records[-1] == NewRevision(ROOM, 12, 13)
    assert mapped.events[-1].index == 14
    check(room, mapped, room.states[both])


def test_a_current_state_that_is_no_group_is_the_next_revision() -> None:
    """Synapse resolves extremities without a group until an event builds on them."""
    room, group = begun()
    one, other = fork(room, group)
    current = {**room.states[one], **room.states[other]}
    mapped = room.mapped(current)
    assert mapped.current == StateAt(0, 12)
    assert mapped.records[-1] == NewRevision(ROOM, 12, 13)
    assert mapped.positions == 13
    check(room, mapped, current)


def test_a_whole_state_that_lost_a_key_removes_it() -> None:
    """Where a resolution takes a key back, Synapse writes a whole state; here it is one removal."""
    room, group = begun()
    room.chain([(3, 1), (3, 2)], group)
    lost = {key: event for key, event in room.states[len(room.groups)].items() if key != (3, 1)}
    room.send(None, room.group(lost, None), (room.events[-1].event,))
    mapped = room.mapped()
    assert changes(mapped)[-1] == StateChange(ROOM, 0, 3, 1, 13, None, None)
    check(room, mapped, lost)


def test_out_of_the_room_the_state_is_that_of_the_last_event() -> None:
    """Synapse forgets the current state of a room that its users have left."""
    room, group = begun()
    mapped = states_of_room(
        room=ROOM, groups=room.groups.values(), events=room.events, current=None, memberships={}
    )
    check(room, mapped, room.states[group])


def test_a_room_of_outliers_has_its_current_state() -> None:
    """Without any event that has a state, the current state is all there is."""
    current = {(1, 0): 5, (MEMBER, 1): 6}
    mapped = states_of_room(
        room=ROOM, groups=(), events=[GroupedEvent(9)], current=current, memberships={6: "join"}
    )
    assert mapped.events[0].before is None
    assert NaiveStates(mapped.records).at(mapped.current) == current


def test_no_groups_and_no_state() -> None:
    """Nothing comes of nothing."""
    mapped = states_of_room(room=ROOM, groups=(), events=(), current=None, memberships={})
    assert (mapped.records, mapped.current, mapped.positions) == ([], StateAt(0, 0), 0)


@pytest.mark.parametrize("parent", [77, 3], ids=["missing", "circle"])
def test_a_group_whose_parent_is_not_there_is_unknown(parent: int) -> None:
    """Part of a state is never taken for the whole; what lies over such a group is unknown, too."""
    room, group = begun()
    groups = [
        *room.groups.values(),
        StateGroup(101, 102 if parent == 3 else parent, {(3, 1): 600}),
        StateGroup(102, 101, {(3, 2): 601}),
    ]
    lost = [GroupedEvent(600, (3, 1), 101), GroupedEvent(601, (3, 2), 102), GroupedEvent(602, None, 999)]
    mapped = states_of_room(
        room=ROOM,
        groups=groups,
        events=[*room.events, *lost],
        current=room.states[group],
        memberships={},
    )
    assert [(e.before, e.after) for e in mapped.events[-3:]] == [(None, None)] * 3
    assert mapped.events[-4].after == mapped.current


def test_a_rejected_event_changes_nothing() -> None:
    """Its group is the state before it, even where it would be a state event."""
    room, group = begun()
    room.send((3, 1), group, (room.events[-1].event,), rejected=True)
    mapped = room.mapped()
    assert (mapped.events[-1].before, mapped.events[-1].after) == (mapped.current, None)


def test_an_accepted_state_event_without_effect() -> None:
    """Where a group does not hold its own event, Synapse takes the group for the state, and so do we."""
    room, group = begun()
    room.events.append(GroupedEvent(2000, (3, 1), group))
    room.before[2000], room.after[2000], room.after_group[2000] = room.states[group], None, group
    mapped = room.mapped()
    assert (mapped.events[-1].before, mapped.events[-1].after) == (mapped.current, None)
    assert len(changes(mapped)) == 10
    check(room, mapped, room.states[group])


def without_replaces(room: SynapseRoom) -> None:
    room.events[-1] = attrs.evolve(room.events[-1], replaces=None)


def test_an_event_that_was_an_outlier_tells_not_what_it_replaced() -> None:
    """Then the state after its prev event tells, or the group that was made for the state before it."""
    room, group = begun()
    group = room.chain([(3, 1), (3, 1)], group)
    without_replaces(room)
    whole = room.group({**room.states[group], (3, 1): 1012}, None)
    previous = (room.events[-1].event,)
    room.events.append(GroupedEvent(1012, (3, 1), whole, previous=previous))
    room.before[1012], room.after[1012] = room.states[group], room.states[whole]
    room.after_group[1012] = whole
    given = room.group({**room.states[whole], (3, 2): 900}, None)
    room.send((3, 1), given, (88, 89))
    without_replaces(room)
    check(room, room.mapped(), room.states[len(room.groups)])


def test_a_replaced_event_of_another_key_is_not_believed() -> None:
    """`unsigned` of old events may be what a peer wrote there."""
    room, group = begun()
    room.chain([(3, 1), (3, 2)], group)
    room.events[-1] = attrs.evolve(room.events[-1], replaces=1003)
    mapped = room.mapped()
    assert branches(mapped) == []
    check(room, mapped, room.states[len(room.groups)])


def test_parents_that_were_rearranged() -> None:
    """A database whose edges were shrunk keeps its states, and its line, by what events say."""
    room, group = begun()
    room.chain([(3, number % 3) for number in range(60)], group)
    heads = list(room.groups)[::10]
    for number, group in enumerate(list(room.groups), start=1):
        head = max((h for h in heads if h < group), default=None)
        if head is not None and number % 10:
            state, old = room.states[group], room.states[head]
            delta = {key: event for key, event in state.items() if old.get(key) != event}
            room.groups[group] = attrs.evolve(room.groups[group], parent=head, delta=delta)
    mapped = room.mapped()
    assert branches(mapped) == []
    assert len(changes(mapped)) == 70
    check(room, mapped, room.states[len(room.groups)])


def nested(depth: int) -> SynapseRoom:
    """A room whose every state, down to `depth`, is continued three times."""
    room, group = begun()
    tips = [(group, room.events[-1].event)]
    for level in range(depth):
        grown = []
        for tip, event in tips:
            for side in range(3):
                sent = room.send((3, side + level), tip, (event,))
                grown.append((room.after_group[sent], sent))
        tips = grown
    return room


def test_deep_nesting_is_laid_over_branch_0() -> None:
    """Branches off branches off branches are never more than four levels deep."""
    room = nested(6)
    mapped = room.mapped()
    naive = check(room, mapped, room.states[len(room.groups)])
    assert max(naive.level(branch) for branch in naive.parents) == MOST_LEVELS
    assert len(changes(mapped)) < 2 * len(room.events)


def grown_at_random(random: Random, size: int) -> SynapseRoom:
    """Forks, merges with any outcome, rejected events, whole states, rearranged parents, unknown states."""
    room = SynapseRoom(hops=random.randint(1, 6))
    outliers = random.random() < 0.5
    given = {(1, key): 100 + key for key in range(random.randint(0, 4))}
    start = room.group(given, None)
    for _ in range(size):
        ends = random.sample(room.events[-6:], min(len(room.events[-6:]), random.choice([1, 1, 1, 2, 3])))
        groups = [room.after_group[event.event] for event in ends] or [start]
        before = groups[0] if len(groups) == 1 else resolved(random, room, groups)
        key = random.choice([None, (3, random.randint(0, 3)), (MEMBER, random.randint(0, 3))])
        previous = tuple(event.event for event in ends)
        room.send(key, before, previous, rejected=random.random() < 0.1)
        if outliers and random.random() < 0.2 and len(groups) == 1:
            without_replaces(room)
    for group in list(room.groups)[1:]:
        rearrange(random, room, group, shrunk=not outliers)
    for place, event in enumerate(room.events):
        if not outliers and random.random() < 0.05:
            room.events[place] = attrs.evolve(event, group=None)
            room.before[event.event] = room.after[event.event] = None
    return room


def resolved(random: Random, room: SynapseRoom, groups: list[int]) -> int:
    inputs = [room.states[group] for group in groups]
    state: State = {}
    for key in {key for one in inputs for key in one}:
        value = random.choice(inputs).get(key)
        if value is not None:
            state[key] = value
    for group in groups:
        if room.states[group] == state:
            return group
    return room.group(state, random.choice(groups))


def rearrange(random: Random, room: SynapseRoom, group: int, *, shrunk: bool) -> None:
    """Cut a group from its parent, as a purge does, or lay it over any earlier one that lets it.

    An event without `replaces` and with several prev events is spared: nobody could tell what it replaced.
    """
    state = room.states[group]
    if random.random() < 0.1:
        room.groups[group] = attrs.evolve(room.groups[group], parent=None, delta=state)
    elif shrunk and random.random() < 0.4 and not is_unclear(room, group):
        parent = random.randrange(1, group)
        old = room.states[parent]
        if not old.keys() - state.keys():
            delta = {key: event for key, event in state.items() if old.get(key) != event}
            room.groups[group] = attrs.evolve(room.groups[group], parent=parent, delta=delta)


def is_unclear(room: SynapseRoom, group: int) -> bool:
    made_for = room.groups[group].event
    return any(e.event == made_for and e.replaces is None and len(e.previous) > 1 for e in room.events)


@settings(max_examples=150, deadline=None)
@given(random=st.randoms(use_true_random=False), size=st.integers(1, 40), known=st.booleans())
def test_every_state_is_what_it_was(random: Random, size: int, known: bool) -> None:
    """However a room has grown: each state before and after, and the current one, be it a group or not."""
    room = grown_at_random(random, size)
    current = room.states[random.choice(list(room.groups))] or {(1, 0): 100}
    if not known:
        current = {**current, (9, 9): 900}
    mapped = room.mapped(current)
    check(room, mapped, current)


def test_a_long_room_takes_seconds() -> None:
    """20,000 state events of 2,000 members: nobody copies or walks whole states for each of them."""
    events, groups = long_room(20_000, members=2_000)
    started = time.process_time()
    mapped = states_of_room(room=ROOM, groups=groups, events=events, current=None, memberships={})
    assert time.process_time() - started < 20
    assert len(changes(mapped)) == 20_000
    assert branches(mapped) == []


def long_room(size: int, *, members: int) -> tuple[list[GroupedEvent], list[StateGroup]]:
    """`size` member events on end, a whole state every hundred."""
    state: State = {}
    events, groups = [], []
    for number in range(1, size + 1):
        key = (MEMBER, number % members)
        replaces = state.get(key)
        state[key] = number
        cut = number % 100 == 1
        parent = None if cut else number - 1
        groups.append(StateGroup(number, parent, dict(state) if cut else {key: number}))
        events.append(GroupedEvent(number, key, number, False, replaces, (number - 1,)))
    return events, groups
