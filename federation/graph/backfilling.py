# SPDX-License-Identifier: Apache-2.0
"""Enters events from before what is known of a room.

They have a place in the room's order and states of their own, and are no news. Where they lead in a line up
to a state that is known, that state's branch is extended downwards: each change is stored once. Otherwise
their states stay a branch of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs

from federation.graph.applying import gaps_closed, new_gaps, rejections
from federation.graph.batches import AtHand
from federation.graph.recording import Recording
from federation.graph.redactions import Redactions
from federation.graph.timelines import StateTimelines
from federation.graph.trial import TRIAL, Placement, Trial, real_state
from storage.event import StateAt, StoredEvent


@attrs.frozen
class Downwards:
    """How a branch of a trial becomes the part of another branch below what is known of it.

    Revision r of the trial's `branch` is revision `bottom` + r of the branch `onto`.
    """

    branch: int
    onto: int
    bottom: int

    def real(self, state: StateAt | None) -> StateAt | None:
        """A state in terms of the trial as what it is."""
        if state is None or state.branch != self.branch:
            return state
        return StateAt(self.onto, self.bottom + state.revision)


def downwards(timelines: StateTimelines, at_hand: AtHand, trial: Trial) -> Downwards | None:
    """How the batch extends the branch of the state that it leads to; None where it does not.

    `at_hand.lowest` is the lowest known revision of that branch.
    """
    placements = [step.placement for step in trial.steps if step.placement is not None]
    upper = _upper(at_hand)
    if upper is None or len(placements) != len(trial.steps) or list(trial.touched.values()) != [0]:
        return None
    (branch,) = trial.touched
    if branch < trial.first_branch or timelines.lacks((upper,)) is not None:
        return None  # it goes on where known events stand, and leaves the upper ones alone
    top = placements[-1]
    last = top.after or top.before
    if last is None or not _is_line(placements) or not _all_on(branch, placements):
        return None
    if upper.revision != at_hand.lowest or timelines.changes_between(last, upper):
        return None
    return Downwards(branch, upper.branch, upper.revision - last.revision)


def _upper(at_hand: AtHand) -> StateAt | None:
    """The one state that the batch may lead to."""
    states = {state for referrers in at_hand.gaps.values() for state in referrers.before}
    return next(iter(states)) if len(at_hand.gaps) == 1 and len(states) == 1 else None


def _is_line(placements: Sequence[Placement]) -> bool:
    return all(above.event.prev_events == (below.event.event_id,) for below, above in pairwise(placements))


def _all_on(branch: int, placements: Sequence[Placement]) -> bool:
    return all(placement.before is not None and placement.before.branch == branch for placement in placements)


@attrs.frozen
class Backfilling:
    """A trial of older events that succeeded on the room as it is, and the recording that it goes into."""

    recording: Recording
    at_hand: AtHand
    trial: Trial

    def apply(self) -> None:
        """Enter the events and write the records."""
        recording, timelines = self.recording, self.recording.hot.timelines
        recording.older = True
        placements = [step.placement for step in self.trial.steps if step.placement is not None]
        line = downwards(timelines, self.at_hand, self.trial)
        redactions = Redactions.of(recording.hot, self.at_hand)
        recording.records.extend(redactions.of_given())
        recording.positions = index = sum(not placement.was_unknown for placement in placements)
        for placement in placements:
            if placement.was_unknown:
                self._learn(placement, line)
            else:
                # The highest comes first, and so takes the position that is least far below zero.
                self._enter(placement, line, redactions, index)
                index -= 1
        if line is not None:
            self._extend(line)
        else:
            for number, after in self.trial.touched.items():
                recording.branch(number, after=after, is_new=number >= self.trial.first_branch)
        self._settle()
        recording.records.extend(gaps_closed(recording, self.at_hand))

    def _learn(self, placement: Placement, line: Downwards | None) -> None:
        """An event that has its place gets the states before and after it."""
        real = line.real if line is not None else lambda state: state
        recording = self.recording
        recording.learn_state(
            attrs.evolve(
                self.at_hand.unknown[placement.event.event_id],
                before=real(placement.before),
                after=real(placement.after),
                rejected=placement.rejected,
            )
        )
        recording.records.extend(rejections(placement))
        recording.remove_extremities(placement.replaced)

    def _enter(
        self, placement: Placement, line: Downwards | None, redactions: Redactions, index: int
    ) -> None:
        real = line.real if line is not None else lambda state: state
        recording = self.recording
        outlier = self.at_hand.outliers.get(placement.event.event_id)
        stored = StoredEvent(
            placement.event,
            placement.number,
            position=None,
            topo=placement.topo,
            before=real(placement.before),
            after=real(placement.after),
            rejected=placement.rejected,
            redacted_by=None if outlier is None else outlier.redacted_by,
        )
        recording.place_older(stored, index=index, was_outlier=outlier is not None)
        recording.records.extend(rejections(placement))
        recording.records.extend(new_gaps(recording.room, placement, self.trial))
        recording.records.extend(redactions.entered(stored))
        recording.remove_extremities(placement.replaced)

    def _extend(self, line: Downwards) -> None:
        """Write the changes of the trial's branch as earlier ones, the latest first."""
        timelines = self.recording.hot.timelines
        branch = timelines.branch(line.branch)
        assert branch is not None, "the trial's branch is in memory"
        changes = [
            (begun.first, key) for key, rows in branch.rows.items() for begun in rows if begun.first > 0
        ]
        earlier = []
        for revision, key in sorted(changes, reverse=True):
            old = timelines.value(StateAt(line.branch, revision - 1), key)
            earlier.append((line.bottom + revision, key, old))
            self.recording.change_earlier(line.onto, line.bottom + revision, key, old)
        timelines.drop([line.branch] if line.onto == 0 else [line.branch, line.onto])
        timelines.next_branch = self.trial.first_branch
        if line.onto == 0:
            timelines.learn_earlier(line.bottom + branch.head, line.bottom, earlier)

    def _settle(self) -> None:
        """The current state changes where an extremity turned out to have successors."""
        hot = self.recording.hot
        base = hot.timelines.head
        for step in self.trial.steps:
            if step.placement is None:
                self.recording.change_state(step.changes, self.trial.kept)
        hot.timelines.make_real(TRIAL, base)
        for states, state in self.trial.resolutions.items():
            if not any(s.branch == TRIAL for s in states):
                hot.resolutions[states] = real_state(state, base)
