# SPDX-License-Identifier: Apache-2.0
"""Finds out where the events of a batch belong in a room's graph, and what the rules say of each.

Pure: it reads the room in memory and what was put at hand. What is lacking it names, and is tried again.
Until it is known that the batch can be placed, changes of the current state are revisions of a branch of
its own over it.

spec: server-server-api, "Checks performed on receipt of a PDU", 4 to 6, "Rejection", "Soft failure".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from federation.graph.batches import AtHand, GivenState, Incoming, Lacking, Referrers, StateName
from federation.graph.building import Extremity
from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.hot_room import HotRoom
from federation.graph.outliers import cited_by
from federation.graph.resolving import Resolved, Unstored
from federation.graph.state_view import StateView
from federation.graph.trial import TRIAL, Placement, Step, Trial
from federation.rules.auth.power_levels import PowerLevels
from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import check_auth_events
from federation.rules.auth.state import AuthState, AuthStateOf
from federation.rules.errors import AuthRefused
from storage.event import Event, StateAt

_MOST_AHEAD: Final = 2**40
"""How far an event without known predecessors may lie above the room's top."""


@attrs.frozen
class _Predecessor:
    topo: int | None
    after: StateAt | None


class Placing:
    """One try to place a batch."""

    def __init__(self, hot: HotRoom, incoming: Incoming, at_hand: AtHand) -> None:
        self._hot = hot
        self._version = hot.state.version
        self._timelines = hot.timelines
        self._incoming = incoming
        self._at_hand = at_hand
        self._current = hot.head
        self._names: dict[StateAt, StateName] = {}
        self._placed: dict[str, Placement] = {}
        self._missing: set[str] = set()
        self._views: dict[StateAt, StateView] = {}
        self._powers: dict[str | None, PowerLevels] = {}
        self._fresh: StateAt | None = None
        self._older = older_topos(incoming.events, at_hand.gaps) if incoming.backfilled else {}
        self._trial = Trial(
            first_branch=hot.timelines.next_branch,
            extremities=[] if incoming.begins_anew else list(hot.extremities),
        )

    def attempt(self) -> Trial:
        """Place the batch. Raises `Lacking`; whoever provides what lacks calls `undo` before the next try."""
        for i, event in enumerate(self._incoming.events):
            self._place(event)
            if i == 0 and self._incoming.begins_anew:
                self._begin_anew()
        self._settle()
        return self._trial

    def placed_now(self) -> dict[str, Unstored]:
        """The state events that were placed up to here."""
        return {
            event_id: Unstored(placed.event, placed.number, placed.rejected)
            for event_id, placed in self._placed.items()
            if placed.event.is_state
        }

    def names(self) -> set[str]:
        """The types and state keys of what the trial would write."""
        keys = {key for step in self._trial.steps for key in step.changes}
        for number in self._trial.touched:
            branch = self._timelines.branch(number)
            keys.update(branch.rows if branch is not None else ())
        return {name for key in keys for name in key}

    def undo(self) -> None:
        """Forget the branches that were tried."""
        timelines = self._timelines
        for number, head in self._trial.touched.items():
            if number < self._trial.first_branch:
                timelines.cut(number, head)
        timelines.drop([TRIAL, *range(self._trial.first_branch, timelines.next_branch)])
        timelines.next_branch = self._trial.first_branch

    def _begin_anew(self) -> None:
        """The first event is all that the room has, if it can be."""
        trial = self._trial
        trial.begins_anew = bool(trial.extremities)
        if not trial.begins_anew:
            trial.extremities = list(self._hot.extremities)

    # What an event refers to

    def _place(self, event: Event) -> None:
        if event.event_id in self._placed:
            return
        row = self._at_hand.rows.get(event.event_id)
        is_elsewhere = row is not None and row.room != self._hot.epoch.room
        if is_elsewhere or event.room_id != self._hot.room_id:
            # In versions 1 and 2 a sender may choose the id of an event of another room.
            self._trial.lacking[event.event_id] = frozenset()
            return
        if row is not None and row.topo is not None:
            return
        self._fresh = None
        known = {prev: self._predecessor(prev) for prev in event.prev_events}
        missing = tuple(prev for prev, found in known.items() if found is None)
        unknown_auth = [e for e in cited_by(event, self._version) if self._auth_event(e) is None]
        is_older = self._incoming.backfilled
        if event.event_id in known or (is_older and event.event_id not in self._older):
            # In versions 1 and 2 an event may follow itself. What is older leads to what is known.
            self._trial.lacking[event.event_id] = frozenset()
            return
        if unknown_auth or (missing and event.event_id not in self._incoming.given and not is_older):
            self._trial.lacking[event.event_id] = frozenset((*missing, *unknown_auth))
            return
        number = self._at_hand.numbers[event.event_id] if row is None else row.number
        predecessors = [found for found in known.values() if found is not None]
        topo = self._older[event.event_id] if is_older else self._topo(event, predecessors)
        placement = Placement(event, number, topo, before=None, missing=missing)
        # Where some of what comes before it is missing, nobody can say what the state was.
        is_unknown = bool(missing) and event.event_id not in self._incoming.given
        # What comes before the room is refused, and not worth a state that differs from all others.
        is_unknown = is_unknown or self._is_too_early(event)
        self._judge(placement, None if is_unknown else self._before(event, predecessors))

    def _predecessor(self, event_id: str) -> _Predecessor | None:
        placed = self._placed.get(event_id)
        if placed is not None:
            return _Predecessor(placed.topo, placed.after or placed.before)
        row = self._at_hand.rows.get(event_id)
        if row is None or row.topo is None or row.room != self._hot.epoch.room:
            return None
        return _Predecessor(row.topo, row.after or row.before)

    def _auth_event(self, event_id: str) -> tuple[Event, bool] | None:
        """An event that may be cited, and whether it was rejected."""
        placed = self._placed.get(event_id)
        if placed is not None:
            return placed.event, placed.rejected
        stored = self._at_hand.auth_events.get(event_id)
        row = self._at_hand.rows.get(event_id)
        return None if stored is None or row is None else (stored.event, row.rejected)

    def _topo(self, event: Event, predecessors: Sequence[_Predecessor]) -> int:
        topos = [p.topo for p in predecessors if p.topo is not None]
        if topos or not event.prev_events:
            return 1 + max(topos, default=0)
        return min(event.depth, self._hot.top + _MOST_AHEAD)

    # The state before an event

    def _before(self, event: Event, predecessors: Sequence[_Predecessor]) -> StateAt | None:
        """The state before the event; None where it is unknown."""
        given = self._incoming.given.get(event.event_id)
        if isinstance(given, StateAt):
            return given
        if given is not None:
            return self._given(given, event)
        if not event.prev_events:
            return self._given({}, event) if self._has_begun else StateAt(0, 0)
        states = frozenset(p.after for p in predecessors if p.after is not None)
        return self._resolution(states) if states else None

    def _given(self, given: GivenState, event: Event) -> StateAt:
        """A state from outside, as a branch over the current one."""
        current = self._base_of_given()
        self._need(current)
        changes: dict[Key, StateEntry | None] = {
            key: None for key, _ in self._timelines.whole(current) if key not in given
        }
        for key, value in given.items():
            old = self._timelines.value(current, key)
            if old is None or old.number != value.number:
                changes[key] = value
        if self._incoming.backfilled:
            state = self._timelines.open_given(current, changes)
            self._trial.touched[state.branch] = 0
        else:
            state = self._fresh_branch(current, changes)
        self._names[state] = ("before", event.event_id)
        return state

    def _base_of_given(self) -> StateAt:
        """The known state that a given one is likely to be near to."""
        if self._incoming.backfilled:
            for referrers in self._at_hand.gaps.values():
                for state in referrers.before:
                    if state is not None:
                        return state
        return self._current

    def _resolution(self, states: frozenset[StateAt]) -> StateAt:
        """The state that the states resolve to."""
        if len(states) == 1:
            return next(iter(states))
        known = self._trial.resolutions.get(states) or self._hot.resolutions.get(states)
        if known is not None:
            return known
        ordered, resolved = self._resolved(states)
        nearest = min(ordered, key=lambda state: len(self._changes(ordered[0], resolved, state)))
        changes = self._changes(ordered[0], resolved, nearest)
        state = self._fresh_branch(nearest, changes) if changes else nearest
        self._names.setdefault(state, frozenset(map(self._name, ordered)))
        self._trial.resolutions[states] = state
        return state

    def _resolved(self, states: frozenset[StateAt]) -> tuple[list[StateAt], Resolved]:
        ordered = sorted(states)
        for state in ordered:
            self._need(state)
        names = {state: self._name(state) for state in ordered}
        resolved = self._at_hand.resolutions.get(frozenset(names.values()))
        if resolved is None:
            raise Lacking(states=names)
        return ordered, resolved

    def _changes(self, one: StateAt, resolved: Resolved, base: StateAt) -> dict[Key, StateEntry | None]:
        """What must change from `base` to the resolution of some states, of which `one` is one."""
        changes = self._timelines.changes_between(base, one)
        for key, value in resolved.items():
            old = self._timelines.value(base, key)
            if (old and old.number) == (value and value.number):
                changes.pop(key, None)
            else:
                changes[key] = value
        return changes

    def _name(self, state: StateAt) -> StateName:
        return self._names.get(state, state)

    def _need(self, state: StateAt) -> None:
        lacking = self._timelines.lacks((state,))
        if lacking is not None:
            raise Lacking(state=lacking)

    # What the rules say

    def _judge(self, placement: Placement, before: StateAt | None) -> None:
        event = placement.event
        try:
            self._check_against_auth_events(event)
            self._check_against_state_before(event, before)
        except AuthRefused as refused:
            self._add(attrs.evolve(placement, before=before, rejected=True, refused=refused), {})
            return
        refused_now = None
        # Where the room begins for us, it begins with the state before the event.
        begins = not self._trial.extremities
        if before != self._current and not begins and not self._incoming.backfilled:
            try:
                self._check(event, self._current)
            except AuthRefused as refused:
                refused_now = refused
        self._accept(placement, before, refused_now)

    def _check_against_auth_events(self, event: Event) -> None:
        """4: by the event's own auth events."""
        found = {e: self._auth_event(e) for e in cited_by(event, self._version)}
        rejected = {e for e, auth in found.items() if auth is not None and auth[1]}
        known = {e: auth[0] for e, auth in found.items() if auth is not None}
        cited = [known[e] for e in event.auth_events]
        check_auth_events(event, cited, rejected, self._version)
        self._check_auth(event, AuthStateOf.from_events(known.values()), None)

    def _check_against_state_before(self, event: Event, before: StateAt | None) -> None:
        """5: by the state before the event, where that is known."""
        if not self._is_too_early(event):
            if before is not None:
                self._check(event, before)
            return
        # What has no predecessors comes before the room: only a first create event may.
        check_auth(event, AuthStateOf(), self._version)
        raise AuthRefused("1", "the room has a create event already")

    def _is_too_early(self, event: Event) -> bool:
        """Whether it has no predecessors and is not what the room began with."""
        create = self._hot.state.create
        is_first = create is not None and create.event_id == event.event_id
        return not event.prev_events and self._has_begun and not is_first

    @property
    def _has_begun(self) -> bool:
        return self._hot.state.create is not None or bool(self._placed)

    def _check(self, event: Event, state: StateAt) -> None:
        view = self._view(state)
        self._check_auth(event, view, None if view.create is None else view.power)

    def _check_auth(self, event: Event, state: AuthState, levels: PowerLevels | None) -> None:
        check_auth(
            event,
            state,
            self._version,
            power_levels=levels,
            join_authoriser_signed=event.event_id not in self._incoming.unauthorised,
        )

    def _view(self, state: StateAt) -> StateView:
        view = self._views.get(state)
        if view is None:
            self._need(state)
            view = self._views[state] = StateView(self._timelines, state, self._event_of, self._powers)
        return view

    def _event_of(self, entry: StateEntry) -> Event:
        placed = self._placed.get(entry.event_id)
        if placed is not None:
            return placed.event
        unstored = self._hot.unstored.get(entry.event_id)
        if unstored is not None:
            return unstored.event
        event = self._at_hand.events.get(entry.number)
        if event is None:
            raise Lacking(event=entry.number)
        return event

    # What becomes of an event that the rules allow

    def _accept(self, placement: Placement, before: StateAt | None, refused: AuthRefused | None) -> None:
        event, extremities = placement.event, self._trial.extremities
        if before is None or refused is not None:
            after = (
                None
                if before is None or not event.is_state
                else self._beside(event, placement.number, before)
            )
            self._add(
                attrs.evolve(
                    placement, before=before, after=after, soft_failed=refused is not None, refused=refused
                ),
                {},
            )
            return
        is_newest = not self._is_followed(event.event_id) and not self._incoming.backfilled
        covers = is_newest and all(e.event_id in event.prev_events for e in extremities)
        changes: dict[Key, StateEntry | None] = {}
        after = None
        if covers:
            before = self._made_current(before)
        if event.is_state:
            if covers:
                changes = {_key(event): StateEntry.of(event, placement.number)}
                after = self._advance(changes, ("after", event.event_id))
            else:
                after = self._beside(event, placement.number, before)
        replaced = tuple(e.number for e in extremities if e.event_id in event.prev_events)
        if not is_newest and len(replaced) == len(extremities):
            # In versions 1 and 2 events may follow each other in a circle; it must have an end.
            replaced = ()
        self._missing.update(placement.missing)
        self._add(
            attrs.evolve(placement, before=before, after=after, is_extremity=is_newest, replaced=replaced),
            changes,
        )

    def _is_followed(self, event_id: str) -> bool:
        """Whether an accepted event of the graph has it, missing up to now, among its prev events."""
        referrers = self._at_hand.gaps.get(event_id)
        return event_id in self._missing or (referrers is not None and referrers.accepted)

    def _add(self, placement: Placement, changes: Mapping[Key, StateEntry | None]) -> None:
        event = placement.event
        self._placed[event.event_id] = placement
        self._trial.steps.append(Step(placement, changes))
        if placement.replaced:
            self._trial.extremities = [
                e for e in self._trial.extremities if e.number not in placement.replaced
            ]
        if placement.is_extremity:
            after = placement.after or placement.before
            assert after is not None, "an event whose state is unknown is no extremity"
            extremity = Extremity(placement.number, event.event_id, event.depth, placement.topo, after)
            self._trial.extremities.append(extremity)

    def _settle(self) -> None:
        """Make the current state that to which the extremities resolve."""
        states = frozenset(e.after for e in self._trial.extremities)
        if not self._trial.steps or not states:
            return
        if len(states) == 1:
            self._move_to(next(iter(states)))
            return
        known = self._trial.resolutions.get(states) or self._hot.resolutions.get(states)
        if known is not None:
            self._move_to(known)
        else:
            ordered, resolved = self._resolved(states)
            self._need(self._current)
            changes = self._changes(ordered[0], resolved, self._current)
            if changes:
                self._advance_alone(changes, frozenset(map(self._name, ordered)))
        self._trial.resolutions[states] = self._current

    def _made_current(self, before: StateAt) -> StateAt:
        """Make the state before an event the current one, and its own branch needless if it has one."""
        current = self._move_to(before)
        if before == self._fresh:
            del self._trial.touched[before.branch]
            self._timelines.drop([before.branch])
            for states, state in list(self._trial.resolutions.items()):
                if state == before:
                    self._trial.resolutions[states] = current
        return current

    def _move_to(self, state: StateAt) -> StateAt:
        """Make the current state equal to `state`; returns it as a revision of the current state."""
        if state != self._current:
            self._need(state)
            changes = self._timelines.changes_between(self._current, state)
            if changes:
                self._advance_alone(changes, self._name(state))
        return self._current

    def _advance_alone(self, changes: Mapping[Key, StateEntry | None], name: StateName) -> None:
        for key, value in changes.items():
            if value is not None and CurrentState.keeps_event(*key):
                self._kept(value)
        self._advance(changes, name)
        self._trial.steps.append(Step(None, changes))

    def _kept(self, value: StateEntry) -> None:
        """Have at hand the event of a value that the room in memory keeps whole."""
        self._trial.kept[value.event_id] = self._event_of(value)

    # States

    def _advance(self, changes: Mapping[Key, StateEntry | None], name: StateName) -> StateAt:
        """The next revision of the current state."""
        if self._current.branch != TRIAL:
            self._current = self._timelines.open_trial(TRIAL, self._hot.head)
        self._current = self._timelines.extend(self._current, changes)
        self._names[self._current] = name
        return self._current

    def _beside(self, event: Event, number: int, before: StateAt) -> StateAt:
        """The state after a state event that does not make the current state."""
        self._need(before)
        changes = {_key(event): StateEntry.of(event, number)}
        if before.branch in (0, TRIAL) or not self._timelines.is_head(before):
            after = self._branch(before, changes)
        else:
            self._trial.touched.setdefault(before.branch, before.revision)
            after = self._timelines.extend(before, changes)
        self._names[after] = ("after", event.event_id)
        return after

    def _fresh_branch(self, parent: StateAt, changes: Mapping[Key, StateEntry | None]) -> StateAt:
        """A branch for the state before the event in hand."""
        self._fresh = self._branch(parent, changes)
        return self._fresh

    def _branch(self, parent: StateAt, changes: Mapping[Key, StateEntry | None]) -> StateAt:
        state = self._timelines.open(parent)
        self._trial.touched[state.branch] = 0
        return self._timelines.extend(state, changes)


def _key(event: Event) -> Key:
    assert event.state_key is not None
    return (event.type, event.state_key)


def older_topos(events: Sequence[Event], gaps: Mapping[str, Referrers]) -> dict[str, int]:
    """Where events from before what is known stand in the room's order, given from the top.

    `events` come each after its predecessors. Those to which nothing known leads have no place there.
    """
    topos: dict[str, int] = {}
    below: dict[str, int] = {event_id: referrers.topo for event_id, referrers in gaps.items()}
    for event in reversed(events):
        above = below.get(event.event_id)
        if above is None:
            continue
        topo = topos[event.event_id] = min(event.depth, above - 1)
        for prev in event.prev_events:
            below[prev] = min(topo, below.get(prev, topo))
    return topos
