# SPDX-License-Identifier: Apache-2.0
"""The states of a hot room in memory against whole dicts: values, differences, what must be read again."""

from __future__ import annotations

import itertools
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.timelines import MOST_LEVELS, Begun, Ended, StateTimelines
from federation.rules.room_versions import ROOM_VERSIONS
from storage.event import StateAt
from storage.state_records import ALWAYS

State: TypeAlias = dict[Key, StateEntry]
Changes: TypeAlias = dict[Key, StateEntry | None]

KEYS: list[Key] = [("org.example", str(i)) for i in range(6)]
TRIAL = -1
_numbers = itertools.count(1)


def entry() -> StateEntry:
    number = next(_numbers)
    return StateEntry(number, f"${number}")


def changed(state: State, changes: Changes) -> State:
    merged = {**state, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def between(old: State, new: State) -> Changes:
    return {key: new.get(key) for key in {*old, *new} if old.get(key) != new.get(key)}


class Room:
    """Timelines, and beside them every state as a whole dict: `states`; `parents` of branches."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.current = CurrentState(ROOM_VERSIONS["12"])
        self.timelines = StateTimelines(self.current, head=0, next_branch=1)
        self.states: dict[StateAt, State] = {StateAt(0, 0): {}}
        self.parents: dict[int, StateAt] = {}

    # What happens to it

    def some_changes(self, state: State) -> Changes:
        """Changes that make a difference: new values, and some keys that are removed."""
        keys = self.random.sample(KEYS, self.random.randint(1, 3))
        return {key: None if key in state and self.random.random() < 0.3 else entry() for key in keys}

    @property
    def head(self) -> StateAt:
        return StateAt(0, self.timelines.head)

    def advance(self) -> None:
        self.change_current(self.some_changes(self.states[self.head]))

    def change_current(self, changes: Changes) -> None:
        new = changed(self.states[self.head], changes)
        olds = {key: self.current.change(key, value, None) for key, value in changes.items()}
        self.timelines.advance(olds)
        self.states[self.head] = new

    def heads(self) -> list[StateAt]:
        """The latest states of branches other than 0."""
        latest: dict[int, StateAt] = {}
        for state in self.states:
            latest[state.branch] = max(state, latest.get(state.branch, state))
        return [state for branch, state in latest.items() if branch > 0]

    def any_state(self) -> StateAt:
        state = self.random.choice(list(self.states))
        self.provide(state)
        return state

    def open_somewhere(self) -> StateAt:
        return self.open(self.any_state())

    def open(self, parent: StateAt) -> StateAt:
        root = self.timelines.root(parent)
        opened = self.timelines.open(parent)
        self.parents[opened.branch] = parent if opened.revision == 0 else root
        if opened.revision:
            self.states[StateAt(opened.branch, 0)] = self.states[root]
        self.states[opened] = self.states[parent]
        return opened

    def branch_off(self) -> None:
        self.extend(self.open_somewhere())

    def extend_some(self) -> None:
        heads = [state for state in self.heads() if self.timelines.branch(state.branch) is not None]
        if heads:
            state = self.random.choice(heads)
            if self.timelines.is_head(state):
                self.extend(state)

    def extend(self, state: StateAt) -> None:
        changes = self.some_changes(self.states[state])
        after = self.timelines.extend(state, changes)
        assert after == StateAt(state.branch, state.revision + 1)
        self.states[after] = changed(self.states[state], changes)

    def open_given(self) -> None:
        parent = self.any_state()
        changes = self.some_changes(self.states[parent])
        state = self.timelines.open_given(parent, changes)
        branch = self.timelines.branch(state.branch)
        assert branch is not None
        self.parents[state.branch] = branch.parent
        self.states[state] = changed(self.states[parent], changes)

    def take_back(self) -> None:
        """A branch grows, and what it got is cut off again."""
        heads = [state for state in self.heads() if self.timelines.branch(state.branch) is not None]
        if heads:
            state = self.random.choice(heads)
            if self.timelines.is_head(state):
                last = state
                for _ in range(self.random.randint(1, 3)):
                    last = self.timelines.extend(last, self.some_changes(self.states[state]))
                self.timelines.cut(state.branch, state.revision)

    def try_out(self) -> None:
        """The next revisions of branch 0 as a trial, with a branch over them; they become real or do not."""
        timelines, base, first = self.timelines, self.timelines.head, self.timelines.next_branch
        steps: list[Changes] = []
        state = timelines.open_trial(TRIAL, self.head)
        tried = [self.states[self.head]]
        for _ in range(self.random.randint(1, 3)):
            steps.append(self.some_changes(tried[-1]))
            state = timelines.extend(state, steps[-1])
            tried.append(changed(tried[-1], steps[-1]))
        over = self.random.randint(1, len(steps))
        beside = timelines.open(StateAt(TRIAL, over))
        changes = self.some_changes(tried[over])
        beside = timelines.extend(beside, changes)
        assert timelines.changes_between(self.head, state) == between(tried[0], tried[-1])
        assert dict(timelines.whole(beside)) == changed(tried[over], changes)
        if self.random.random() < 0.5:
            timelines.drop([TRIAL, beside.branch])
            timelines.next_branch = first
            return
        for step in steps:
            self.change_current(step)
        timelines.make_real(TRIAL, base)
        self.parents[beside.branch] = StateAt(0, base + over)
        self.states[StateAt(beside.branch, 0)] = tried[over]
        self.states[beside] = changed(tried[over], changes)

    def restart(self) -> None:
        """Only the current state is at hand."""
        self.timelines = StateTimelines(
            self.current, head=self.timelines.head, next_branch=self.timelines.next_branch
        )

    def forget(self) -> None:
        self.timelines.forget_old()

    # What is read

    def provide(self, state: StateAt) -> None:
        """Have the state at hand."""
        while (lacking := self.timelines.lacks([state])) is not None:
            if lacking.branch == 0:
                self.timelines.learn_past(lacking.revision, self.ended(lacking.revision))
            else:
                number = lacking.branch
                self.timelines.learn_branch(number, self.parents[number], self.rows(number))

    def ended(self, after: int) -> dict[Key, list[Ended]]:
        found: dict[Key, list[Ended]] = {}
        for revision in range(after + 1, self.timelines.head + 1):
            old, new = self.states[StateAt(0, revision - 1)], self.states[StateAt(0, revision)]
            for key in between(old, new):
                found.setdefault(key, []).append(Ended(revision, old.get(key)))
        return found

    def rows(self, number: int) -> dict[Key, list[Begun]]:
        found: dict[Key, list[Begun]] = {}
        below = self.states[self.parents[number]]
        for state in sorted(state for state in self.states if state.branch == number):
            first = ALWAYS if state.revision == 0 else state.revision
            for key, value in between(below, self.states[state]).items():
                found.setdefault(key, []).append(Begun(first, value))
            below = self.states[state]
        return found

    # What must hold

    def check(self) -> None:
        timelines, states = self.timelines, self.states
        some = self.random.sample(list(states), min(len(states), 6))
        for state in some:
            self.provide(state)
            assert timelines.lacks([state]) is None
            assert {key: timelines.value(state, key) for key in KEYS} == {
                key: states[state].get(key) for key in KEYS
            }
            assert dict(timelines.whole(state)) == states[state]
            assert timelines.level(state) <= MOST_LEVELS
            assert timelines.root(state).branch == 0
        for one, other in itertools.product(some, some):
            assert timelines.changes_between(one, other) == between(states[one], states[other])
        differing = {key for key in KEYS if len({states[state].get(key) for state in some}) > 1}
        assert timelines.differences(some) == {
            key: tuple(states[state].get(key) for state in some) for key in differing
        }
        assert timelines.is_head(self.head)
        assert dict(timelines.whole(self.head)) == states[self.head]


ACTIONS = {
    "advance": 6,
    "branch_off": 4,
    "open_somewhere": 1,
    "extend_some": 6,
    "open_given": 2,
    "take_back": 2,
    "try_out": 3,
    "restart": 1,
    "forget": 1,
}


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 60))
def test_values_and_differences_are_those_of_whole_states(seed: int, length: int) -> None:
    random = Random(seed)
    room = Room(random)
    for action in random.choices(list(ACTIONS), weights=list(ACTIONS.values()), k=length):
        getattr(room, action)()
        if random.random() < 0.4:
            room.check()
    room.check()


def test_branches_over_branches_are_flattened() -> None:
    room = Room(Random(1))
    room.advance()
    deepest = room.head
    for level in range(1, 12):
        room.extend(room.open(deepest))
        deepest = max(room.heads())
        assert room.timelines.level(deepest) == (level - 1) % MOST_LEVELS + 1
    room.check()


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_lacking() -> None:
    room = Room(Random(3))
    for _ in range(4_000):
        room.advance()
        room.timelines.forget_old()
    floor = room.timelines.floor
    assert 0 < floor < 4_000
    assert room.timelines.lacks([StateAt(0, floor)]) is None
    assert room.timelines.lacks([StateAt(0, floor - 1)]) == StateAt(0, floor - 1)
    for revision in (floor, floor + 1, 4_000 - 1, 4_000, floor - 1, floor - 2, 5):
        state = StateAt(0, revision)
        room.provide(state)
        assert dict(room.timelines.whole(state)) == room.states[state]
    room.check()


def test_what_was_read_before_the_room_advanced_keeps_what_has_ended_since() -> None:
    room = Room(Random(4))
    for _ in range(10):
        room.advance()
    room.restart()
    read = room.ended(5)
    for _ in range(5):
        room.advance()
    room.timelines.learn_past(5, read)
    for revision in range(5, 16):
        state = StateAt(0, revision)
        assert room.timelines.lacks([state]) is None
        assert dict(room.timelines.whole(state)) == room.states[state]
    assert room.timelines.lacks([StateAt(0, 4)]) == StateAt(0, 4)


def test_what_is_read_twice_counts_once() -> None:
    room = Room(Random(5))
    for _ in range(10):
        room.advance()
    room.restart()
    for floor in (8, 8, 9, 4, 6):
        room.timelines.learn_past(floor, room.ended(floor))
    assert room.timelines.floor == 4
    for revision in range(4, 11):
        state = StateAt(0, revision)
        assert dict(room.timelines.whole(state)) == room.states[state]


def test_branch_0_grows_downwards() -> None:
    room = Room(Random(6))
    older = [entry(), entry(), entry()]
    room.change_current({KEYS[0]: older[2], KEYS[1]: entry()})
    room.restart()
    # Revision 1 was the lowest; below it the key had two other values, and before them none.
    changes = [(1, KEYS[0], older[1]), (0, KEYS[0], older[0]), (-1, KEYS[0], None)]
    room.timelines.learn_earlier(1, -2, changes)
    assert [room.timelines.value(StateAt(0, r), KEYS[0]) for r in (-2, -1, 0, 1)] == [None, *older]
    assert {room.timelines.value(StateAt(0, r), KEYS[1]) for r in (-2, -1, 0, 1)} == {
        room.current.get(*KEYS[1])
    }
    assert room.timelines.lacks([StateAt(0, -2)]) is None
    assert room.timelines.lacks([StateAt(0, -3)]) == StateAt(0, -3)


def test_a_row_that_ended_says_nothing_of_what_comes_after_it() -> None:
    room = Room(Random(7))
    room.change_current({KEYS[0]: entry()})
    below, own = room.current.get(*KEYS[0]), entry()
    rows = {KEYS[0]: [Begun(1, own), Begun(3, None, inherited=True), Begun(5, None)]}
    room.timelines.learn_branch(1, room.head, rows)
    found = [room.timelines.value(StateAt(1, revision), KEYS[0]) for revision in range(7)]
    assert found == [below, own, own, below, below, None, None]


def test_a_branch_is_extended_at_its_head_only() -> None:
    room = Room(Random(8))
    room.advance()
    room.branch_off()
    [head] = room.heads()
    with pytest.raises(AssertionError):
        room.timelines.extend(StateAt(head.branch, head.revision - 1), {KEYS[0]: entry()})
