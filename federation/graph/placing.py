# SPDX-License-Identifier: Apache-2.0
"""Finds out where the events of a batch belong in a room's graph, and what becomes of each.

Pure: it reads the room in memory and what was put at hand. What is lacking it names, and is tried again.

spec: server-server-api, "Checks performed on receipt of a PDU", "Rejection", "Soft failure".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from federation.graph.batches import AtHand, Incoming, Referrers
from federation.graph.building import Extremity
from federation.graph.current_state import Key, StateEntry
from federation.graph.hot_room import HotRoom
from federation.graph.judging import Judging
from federation.graph.known_events import KnownEvents, Predecessor
from federation.graph.resolving import Unstored
from federation.graph.trial import Placement, Step, Trial
from federation.graph.trial_states import TrialStates, key_of
from federation.rules.auth.selection import judging_events
from federation.rules.errors import AuthRefused
from storage.event import Event, StateAt, StoredEvent
from storage.events import GraphRow

_MOST_AHEAD: Final = 2**40
"""How far an event without known predecessors may lie above the room's top."""

_NOTHING: Mapping[Key, StateEntry | None] = {}


class Placing:
    """One try to place a batch."""

    def __init__(self, hot: HotRoom, incoming: Incoming, at_hand: AtHand) -> None:
        self._hot = hot
        self._incoming = incoming
        self._at_hand = at_hand
        self._missing: set[str] = set()
        self._older = older_topos(incoming.events, at_hand.gaps) if incoming.backfilled else {}
        self._trial = Trial(
            first_branch=hot.timelines.next_branch,
            extremities=[] if incoming.begins_anew else list(hot.extremities),
        )
        self._known = KnownEvents(hot, at_hand)
        self._states = TrialStates(hot, at_hand, self._known, self._trial)
        self._judging = Judging(hot.state.version, self._known, self._states, incoming.unauthorised)

    def attempt(self) -> Trial:
        """Place the batch. Raises `Lacking`; whoever provides what lacks calls `undo` before the next try."""
        for i, event in enumerate(self._incoming.events):
            self._place(event)
            if i == 0 and self._incoming.begins_anew:
                self._begin_anew()
        if self._trial.steps:
            self._states.settle()
        return self._trial

    def undo(self) -> None:
        """Forget what was tried."""
        self._states.undo()

    def names(self) -> set[str]:
        """The types and state keys of what the trial would write."""
        return self._states.names()

    def placed_now(self) -> dict[str, Unstored]:
        """The state events that were placed up to here."""
        return self._known.placed_now()

    def _begin_anew(self) -> None:
        """The first event is all that the room has, if it can be."""
        trial = self._trial
        trial.begins_anew = bool(trial.extremities)
        if not trial.begins_anew:
            trial.extremities = list(self._hot.extremities)

    def _place(self, event: Event) -> None:
        row = self._at_hand.rows.get(event.event_id)
        is_elsewhere = row is not None and row.room != self._hot.epoch.room
        if is_elsewhere or event.room_id != self._hot.room_id:
            # In versions 1 and 2 a sender may choose the id of an event of another room.
            self._trial.lacking[event.event_id] = frozenset()
            return
        if event.event_id in self._known.placed:
            return
        if row is not None and row.topo is not None:
            self._learn_state(row, self._at_hand.unknown.get(event.event_id))
            return
        if row is not None:
            # What is stored of it counts: an id of versions 1 and 2 may name two events, and of one event
            # there may be a redacted form.
            event = self._at_hand.outliers[event.event_id].event
        predecessors, missing = self._predecessors(event)
        if self._is_lacking(event, missing):
            return
        number = self._at_hand.numbers[event.event_id] if row is None else row.number
        topo = self._older.get(event.event_id, self._topo(event, predecessors))
        placement = Placement(event, number, topo, before=None, missing=missing)
        self._states.next_event()
        self._judge(placement, self._before(event, predecessors, missing))

    def _predecessors(self, event: Event) -> tuple[list[Predecessor], tuple[str, ...]]:
        """The prev events that are in the graph, and the ids of those that are not."""
        found = {prev: self._known.predecessor(prev) for prev in event.prev_events}
        missing = tuple(prev for prev, predecessor in found.items() if predecessor is None)
        return [predecessor for predecessor in found.values() if predecessor is not None], missing

    def _learn_state(self, row: GraphRow, unknown: StoredEvent | None) -> None:
        """An event that has its place comes again: the state before it may be known now, if it was not."""
        if unknown is None or row.topo is None:
            return
        event = unknown.event
        predecessors, missing = self._predecessors(event)
        is_given = event.event_id in self._incoming.given
        if not is_given and any(predecessor.after is None for predecessor in predecessors):
            return
        self._states.next_event()
        before = self._before(event, predecessors, missing)
        if before is not None:
            self._judge(Placement(event, row.number, row.topo, before=None, was_unknown=True), before)

    def _is_lacking(self, event: Event, missing: Sequence[str]) -> bool:
        """Whether the event cannot be placed, which is noted then."""
        version, is_older = self._hot.state.version, self._incoming.backfilled
        # In versions 1 and 2 an event may follow itself. What is older leads to what is known.
        is_nowhere = event.event_id in event.prev_events or (is_older and event.event_id not in self._older)
        is_cut_off = bool(missing) and event.event_id not in self._incoming.given and not is_older
        unknown = [e for e in judging_events(event, version) if self._known.auth_event(e) is None]
        if is_nowhere or is_cut_off or unknown:
            lacking = frozenset() if is_nowhere else frozenset((*missing, *unknown))
            self._trial.lacking[event.event_id] = lacking
            return True
        return False

    def _topo(self, event: Event, predecessors: Sequence[Predecessor]) -> int:
        topos = [p.topo for p in predecessors if p.topo is not None]
        if topos or not event.prev_events:
            return 1 + max(topos, default=0)
        return min(event.depth, self._hot.top + _MOST_AHEAD)

    def _before(
        self, event: Event, predecessors: Sequence[Predecessor], missing: Sequence[str]
    ) -> StateAt | None:
        """The state before the event; None where it is unknown."""
        backfilled = self._incoming.backfilled
        given = self._incoming.given.get(event.event_id)
        if self._is_too_early(event) or (missing and given is None):
            # Refused, and not worth a state that differs from all others; or nobody can say what it was.
            return None
        if isinstance(given, StateAt):
            return given
        if given is not None:
            return self._states.given(given, event, backfilled=backfilled)
        if not event.prev_events:
            return self._states.given({}, event, backfilled=backfilled) if self._has_begun else StateAt(0, 0)
        states = frozenset(p.after for p in predecessors if p.after is not None)
        return self._states.resolution(states) if states else None

    @property
    def _has_begun(self) -> bool:
        return self._hot.state.create is not None or bool(self._known.placed)

    def _is_too_early(self, event: Event) -> bool:
        """Whether it has no predecessors and is not what the room began with."""
        create = self._hot.state.create
        is_first = create is not None and create.event_id == event.event_id
        return not event.prev_events and self._has_begun and not is_first

    def _judge(self, placement: Placement, before: StateAt | None) -> None:
        event, judging = placement.event, self._judging
        try:
            judging.by_auth_events(event)
            if self._is_too_early(event):
                judging.too_early(event)
            if before is not None:
                judging.by_state(event, before)
        except AuthRefused as refused:
            self._add(attrs.evolve(placement, before=before, rejected=True, refused=refused), _NOTHING)
            return
        current = self._states.current
        # Where the room begins for us, it begins with the state before the event.
        begins = not self._trial.extremities
        if before != current and not begins and not self._incoming.backfilled:
            try:
                judging.by_state(event, current)
            except AuthRefused as refused:
                self._add_beside(attrs.evolve(placement, soft_failed=True, refused=refused), before)
                return
        if before is None:
            self._add_beside(placement, None)
        else:
            self._accept(placement, before)

    def _add_beside(self, placement: Placement, before: StateAt | None) -> None:
        """An event that takes no part in the current state."""
        event, after = placement.event, None
        if before is not None and event.is_state:
            after = self._states.after(event, StateEntry.of(event, placement.number), before)
        self._add(attrs.evolve(placement, before=before, after=after), _NOTHING)

    def _accept(self, placement: Placement, before: StateAt) -> None:
        event, extremities, states = placement.event, self._trial.extremities, self._states
        is_newest = not self._is_followed(event.event_id) and not self._incoming.backfilled
        covers = is_newest and all(e.event_id in event.prev_events for e in extremities)
        changes, after = _NOTHING, None
        if covers:
            before = states.make_current(before)
        if event.is_state:
            value = StateEntry.of(event, placement.number)
            if covers:
                changes = {key_of(event): value}
                after = states.advance(changes, ("after", event.event_id))
            else:
                after = states.after(event, value, before)
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
        event, trial = placement.event, self._trial
        self._known.placed[event.event_id] = placement
        trial.steps.append(Step(placement, changes))
        if placement.replaced:
            trial.extremities = [e for e in trial.extremities if e.number not in placement.replaced]
        if placement.is_extremity:
            after = placement.after or placement.before
            assert after is not None, "an event whose state is unknown is no extremity"
            extremity = Extremity(placement.number, event.event_id, event.depth, placement.topo, after)
            trial.extremities.append(extremity)


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
