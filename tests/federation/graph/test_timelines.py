# SPDX-License-Identifier: Apache-2.0
"""States over time in memory say what plain maps of every state say, whatever was forgotten meanwhile."""

from __future__ import annotations

from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.timelines import StateTimelines
from federation.rules.room_versions import ROOM_VERSIONS
from storage.event import StateAt

VERSION = ROOM_VERSIONS["11"]
KEYS = [("org.example.thing", f"{i}") for i in range(6)]
State = dict[Key, StateEntry]


@attrs.define
class Model:
    """Timelines, and every state that they have held as a map of its own."""

    timelines: StateTimelines
    states: dict[StateAt, State]
    random: Random
    numbers: int = 0

    @classmethod
    def begin(cls, seed: int) -> Model:
        timelines = StateTimelines(CurrentState(VERSION), head=0, next_branch=1)
        return cls(timelines, {StateAt(0, 0): {}}, Random(seed))

    @property
    def head(self) -> StateAt:
        return StateAt(0, self.timelines.head)

    def entry(self) -> StateEntry:
        self.numbers += 1
        return StateEntry(self.numbers, f"${self.numbers}")

    def changes(self) -> dict[Key, StateEntry | None]:
        keys = self.random.sample(KEYS, self.random.randint(1, 3))
        return {key: self.entry() if self.random.random() < 0.8 else None for key in keys}

    def changed(self, state: StateAt, changes: dict[Key, StateEntry | None]) -> State:
        merged = {**self.states[state], **changes}
        return {key: value for key, value in merged.items() if value is not None}

    def at_hand(self) -> list[StateAt]:
        return [state for state in self.states if self.timelines.lacks([state]) is None]

    def advance(self) -> None:
        """The current state changes."""
        changes = self.changes()
        after = self.changed(self.head, changes)
        current = self.timelines.current
        self.timelines.advance({key: current.change(key, value, None) for key, value in changes.items()})
        self.states[self.head] = after

    def branch(self) -> None:
        """A branch begins somewhere, and goes on or is taken back."""
        parent = self.random.choice(self.at_hand())
        state = self.timelines.open(parent)
        self.states[state] = self.states[parent]
        for _ in range(self.random.randint(1, 3)):
            changes = self.changes()
            after = self.timelines.extend(state, changes)
            self.states[after] = self.changed(state, changes)
            state = after
        if self.random.random() < 0.3:
            self.timelines.cut(state.branch, state.revision - 1)
            del self.states[state]

    def check(self) -> None:
        """All that is at hand is as the maps say."""
        known = self.at_hand()
        for state in known:
            whole = self.states[state]
            assert dict(self.timelines.whole(state)) == whole
            assert {key: self.timelines.value(state, key) for key in KEYS} == {k: whole.get(k) for k in KEYS}
        some = self.random.sample(known, min(3, len(known)))
        values = {key: tuple(self.states[state].get(key) for state in some) for key in KEYS}
        differing = {key: found for key, found in values.items() if len(set(found)) > 1}
        assert self.timelines.differences(some) == differing
        assert self.timelines.current.numbers == {e.number for e in self.states[self.head].values()}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), steps=st.lists(st.sampled_from(["advance", "branch"]), max_size=30))
def test_states_are_what_plain_maps_say(seed: int, steps: list[str]) -> None:
    model = Model.begin(seed)
    for step in steps:
        model.advance() if step == "advance" else model.branch()
    model.check()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), older=st.integers(1, 20), newer=st.integers(0, 20))
def test_a_past_that_is_learnt_later_is_as_if_it_had_been_known(seed: int, older: int, newer: int) -> None:
    whole = Model.begin(seed)
    for _ in range(older + newer):
        whole.advance()
    late = Model.begin(seed)
    late.timelines = timelines = joined(whole, older)
    timelines.learn_earlier(older, 0, earlier_changes(whole, older))
    assert timelines.floor == 0
    for revision in range(older + newer + 1):
        assert dict(timelines.whole(StateAt(0, revision))) == whole.states[StateAt(0, revision)]


def joined(whole: Model, since: int) -> StateTimelines:
    """The timelines of who knows branch 0 from revision `since` on."""
    known = StateTimelines(CurrentState(VERSION), head=since, next_branch=1)
    for key, value in whole.states[StateAt(0, since)].items():
        known.current.change(key, value, None)
    for revision in range(since + 1, whole.timelines.head + 1):
        changes = changes_at(whole, revision)
        known.advance({key: known.current.change(key, new, None) for key, (_, new) in changes.items()})
    return known


def changes_at(whole: Model, revision: int) -> dict[Key, tuple[StateEntry | None, StateEntry | None]]:
    before, after = whole.states[StateAt(0, revision - 1)], whole.states[StateAt(0, revision)]
    return {key: (before.get(key), after.get(key)) for key in KEYS if before.get(key) != after.get(key)}


def earlier_changes(whole: Model, upto: int) -> list[tuple[int, Key, StateEntry | None]]:
    return [
        (revision, key, old)
        for revision in range(upto, 0, -1)
        for key, (old, _) in changes_at(whole, revision).items()
    ]


def advanced(count: int) -> StateTimelines:
    """A room whose current state has changed so often, by one key a time."""
    timelines = StateTimelines(CurrentState(VERSION), head=0, next_branch=1)
    for number in range(1, count + 1):
        key = KEYS[number % len(KEYS)]
        timelines.advance({key: timelines.current.change(key, StateEntry(number, f"${number}"), None)})
    return timelines


def test_what_nobody_asks_for_is_forgotten() -> None:
    timelines = advanced(5_000)
    timelines.forget_old()
    assert 3_900 < timelines.floor < 4_100
    assert timelines.lacks([StateAt(0, 100)]) == StateAt(0, 100)


def test_what_is_asked_for_stays_while_it_is_asked_for() -> None:
    timelines = advanced(5_000)
    assert timelines.lacks([StateAt(0, 100)]) is None
    for _ in range(40):
        timelines.forget_old()
    assert timelines.lacks([StateAt(0, 100)]) is None
    assert timelines.lacks([StateAt(0, 99)]) == StateAt(0, 99)
    # What it was asked for in vain counts, too: it will be read, and asked for again.
    for _ in range(200):
        timelines.forget_old()
    assert timelines.floor > 3_900


def test_more_than_can_be_kept_is_forgotten_though_it_is_asked_for() -> None:
    timelines = advanced(25_000)
    assert timelines.lacks([StateAt(0, 100)]) is None
    timelines.forget_old()
    assert timelines.lacks([StateAt(0, 100)]) is not None
    assert 4_900 < timelines.floor < 5_100


@pytest.mark.parametrize("count", [10, 5_000])
def test_a_single_change_of_many_keys_may_be_forgotten(count: int) -> None:
    timelines = StateTimelines(CurrentState(VERSION), head=0, next_branch=1)
    keys = [("org.example.thing", f"{i}") for i in range(count)]
    timelines.advance(
        {k: timelines.current.change(k, StateEntry(i, f"${i}"), None) for i, k in enumerate(keys)}
    )
    timelines.forget_old()
    assert timelines.floor == (1 if count > 2_000 else 0)
    assert dict(timelines.whole(StateAt(0, 1))).keys() == set(keys)
