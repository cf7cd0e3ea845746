# SPDX-License-Identifier: Apache-2.0
"""The states of a room while a batch is tried: new branches, resolutions, and the next current states.

The next revisions of branch 0 are a branch of their own over it (`TRIAL`) until the trial is made real.
"""

from __future__ import annotations

from collections.abc import Mapping

from federation.graph.batches import AtHand, GivenState, Lacking, StateName
from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.hot_room import HotRoom
from federation.graph.known_events import KnownEvents
from federation.graph.resolving import Resolved
from federation.graph.trial import TRIAL, Step, Trial
from storage.event import Event, StateAt


class TrialStates:
    """Finds and makes states for one try to place a batch; what it makes is noted in `trial`.

    `current` is the current state in terms of the trial.
    """

    def __init__(self, hot: HotRoom, at_hand: AtHand, known: KnownEvents, trial: Trial) -> None:
        self.timelines = hot.timelines
        self.current = hot.head
        self._hot = hot
        self._at_hand = at_hand
        self._known = known
        self._trial = trial
        self._names: dict[StateAt, StateName] = {}
        self._fresh: StateAt | None = None

    def undo(self) -> None:
        """Forget the branches that were tried."""
        timelines, trial = self.timelines, self._trial
        for number, head in trial.touched.items():
            if number < trial.first_branch:
                timelines.cut(number, head)
        timelines.drop([TRIAL, *range(trial.first_branch, timelines.next_branch)])
        timelines.next_branch = trial.first_branch

    def names(self) -> set[str]:
        """The types and state keys of what the trial would write."""
        keys = {key for step in self._trial.steps for key in step.changes}
        for number in self._trial.touched:
            branch = self.timelines.branch(number)
            keys.update(branch.rows if branch is not None else ())
        return {name for key in keys for name in key}

    def need(self, state: StateAt) -> None:
        """Raises `Lacking` where the state is not at hand."""
        lacking = self.timelines.lacks((state,))
        if lacking is not None:
            raise Lacking(state=lacking)

    # States before events

    def next_event(self) -> None:
        """Another event is in hand: a branch that was made for the state before the last one stays."""
        self._fresh = None

    def given(self, given: GivenState, event: Event, *, backfilled: bool) -> StateAt:
        """A state before `event` that was given from outside, as a branch over a near one."""
        base = self._upper() if backfilled else self.current
        self.need(base)
        changes: dict[Key, StateEntry | None] = {
            key: None for key, _ in self.timelines.whole(base) if key not in given
        }
        for key, value in given.items():
            old = self.timelines.value(base, key)
            if old is None or old.number != value.number:
                changes[key] = value
        if backfilled:
            state = self.timelines.open_given(base, changes)
            self._trial.touched[state.branch] = 0
        else:
            state = self._fresh = self._branch(base, changes)
        self._names[state] = ("before", event.event_id)
        return state

    def _upper(self) -> StateAt:
        """The state to which older events are likely to lead."""
        upper = (state for referrers in self._at_hand.gaps.values() for state in referrers.before)
        return next((state for state in upper if state is not None), self.current)

    def resolution(self, states: frozenset[StateAt]) -> StateAt:
        """The state that the states resolve to. Raises `Lacking`."""
        if len(states) == 1:
            return next(iter(states))
        known = self._known_resolution(states)
        if known is not None:
            return known
        ordered, resolved = self._resolved(states)
        nearest = min(ordered, key=lambda state: len(self._changes(ordered[0], resolved, state)))
        changes = self._changes(ordered[0], resolved, nearest)
        state = nearest
        if changes:
            state = self._fresh = self._branch(nearest, changes)
        self._names.setdefault(state, frozenset(map(self._name, ordered)))
        self._trial.resolutions[states] = state
        return state

    def _known_resolution(self, states: frozenset[StateAt]) -> StateAt | None:
        return self._trial.resolutions.get(states) or self._hot.resolutions.get(states)

    def _resolved(self, states: frozenset[StateAt]) -> tuple[list[StateAt], Resolved]:
        ordered = sorted(states)
        for state in ordered:
            self.need(state)
        names = {state: self._name(state) for state in ordered}
        resolved = self._at_hand.resolutions.get(frozenset(names.values()))
        if resolved is None:
            raise Lacking(states=names)
        return ordered, resolved

    def _changes(self, one: StateAt, resolved: Resolved, base: StateAt) -> dict[Key, StateEntry | None]:
        """What must change from `base` to the resolution of some states, of which `one` is one."""
        changes = self.timelines.changes_between(base, one)
        for key, value in resolved.items():
            old = self.timelines.value(base, key)
            if (old and old.number) == (value and value.number):
                changes.pop(key, None)
            else:
                changes[key] = value
        return changes

    def _name(self, state: StateAt) -> StateName:
        return self._names.get(state, state)

    # States after events

    def after(self, event: Event, value: StateEntry, before: StateAt) -> StateAt:
        """The state after a state event that does not make the current state."""
        self.need(before)
        changes = {key_of(event): value}
        if before.branch in (0, TRIAL) or not self.timelines.is_head(before):
            after = self._branch(before, changes)
        else:
            self._trial.touched.setdefault(before.branch, before.revision)
            after = self.timelines.extend(before, changes)
        self._names[after] = ("after", event.event_id)
        return after

    def _branch(self, parent: StateAt, changes: Mapping[Key, StateEntry | None]) -> StateAt:
        state = self.timelines.open(parent)
        self._trial.touched[state.branch] = 0
        return self.timelines.extend(state, changes)

    # The current state

    def advance(self, changes: Mapping[Key, StateEntry | None], name: StateName) -> StateAt:
        """The next revision of the current state."""
        if self.current.branch != TRIAL:
            self.current = self.timelines.open_trial(TRIAL, self._hot.head)
        self.current = self.timelines.extend(self.current, changes)
        self._names[self.current] = name
        return self.current

    def make_current(self, before: StateAt) -> StateAt:
        """Make the state before the event in hand the current one; its own branch is needless then."""
        self._move_to(before)
        if before == self._fresh:
            del self._trial.touched[before.branch]
            self.timelines.drop([before.branch])
            for states, state in list(self._trial.resolutions.items()):
                if state == before:
                    self._trial.resolutions[states] = self.current
        return self.current

    def settle(self) -> None:
        """Make the current state that to which the forward extremities resolve. Raises `Lacking`."""
        states = frozenset(e.after for e in self._trial.extremities)
        if len(states) == 1:
            self._move_to(next(iter(states)))
        if len(states) <= 1:
            return
        known = self._known_resolution(states)
        if known is not None:
            self._move_to(known)
        else:
            ordered, resolved = self._resolved(states)
            self.need(self.current)
            changes = self._changes(ordered[0], resolved, self.current)
            self._advance_alone(changes, frozenset(map(self._name, ordered)))
        self._trial.resolutions[states] = self.current

    def _move_to(self, state: StateAt) -> None:
        if state != self.current:
            self.need(state)
            self._advance_alone(self.timelines.changes_between(self.current, state), self._name(state))

    def _advance_alone(self, changes: Mapping[Key, StateEntry | None], name: StateName) -> None:
        """The current state changes without an event, if it changes."""
        if not changes:
            return
        for key, value in changes.items():
            if value is not None and CurrentState.keeps_event(*key):
                self._trial.kept[value.event_id] = self._known.event_of(value)
        self.advance(changes, name)
        self._trial.steps.append(Step(None, changes))


def key_of(event: Event) -> Key:
    """The key of a state event."""
    assert event.state_key is not None
    return (event.type, event.state_key)
