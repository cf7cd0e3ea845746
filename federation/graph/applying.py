# SPDX-License-Identifier: Apache-2.0
"""Makes real what was tried: the events of a batch enter the room in memory and become a unit's records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from federation.graph.batches import AtHand
from federation.graph.recording import Recording
from federation.graph.redactions import Redactions
from federation.graph.trial import TRIAL, Placement, Trial, real_state
from storage.event import StoredEvent
from storage.gaps import GapClosed, NewGap
from storage.rejections import NewRejection


@attrs.frozen
class Applying:
    """A trial that succeeded on the room as it is, and the recording that it goes into."""

    recording: Recording
    at_hand: AtHand
    trial: Trial

    def apply(self) -> None:
        """Enter the events and write the records."""
        recording, hot = self.recording, self.recording.hot
        base = hot.timelines.head
        if self.trial.begins_anew:
            recording.remove_extremities(tuple(e.number for e in hot.extremities))
        redactions = Redactions.of(hot, self.at_hand)
        for step in self.trial.steps:
            if step.placement is None:
                recording.change_state(step.changes, self.trial.kept)
            else:
                self._enter(step.placement, step.changes, base, redactions)
        recording.records.extend(redactions.of_given())
        hot.timelines.make_real(TRIAL, base)
        for number, after in self.trial.touched.items():
            recording.branch(number, after=after, is_new=number >= self.trial.first_branch)
        for states, state in self.trial.resolutions.items():
            hot.resolutions[frozenset(real_state(s, base) for s in states)] = real_state(state, base)
        recording.records.extend(gaps_closed(recording, self.at_hand))

    def _enter(
        self, placement: Placement, changes: Mapping[Any, Any], base: int, redactions: Redactions
    ) -> None:
        recording = self.recording
        outlier = self.at_hand.outliers.get(placement.event.event_id)
        stored = recording.place(
            StoredEvent(
                placement.event,
                placement.number,
                position=None,
                topo=placement.topo,
                before=None if placement.before is None else real_state(placement.before, base),
                after=None if placement.after is None else real_state(placement.after, base),
                rejected=placement.rejected,
                soft_failed=placement.soft_failed,
                redacted_by=None if outlier is None else outlier.redacted_by,
            ),
            changes=changes,
            is_extremity=placement.is_extremity,
            replaced=placement.replaced,
            was_outlier=outlier is not None,
        )
        if not placement.is_extremity:
            recording.remove_extremities(placement.replaced)
        recording.records.extend(rejections(placement))
        recording.records.extend(new_gaps(recording.room, placement, self.trial))
        recording.records.extend(redactions.entered(stored))


def rejections(placement: Placement) -> list[NewRejection]:
    """Why an event is rejected or soft-failed, where it is."""
    refused = placement.refused
    return [] if refused is None else [NewRejection(placement.number, refused.rule, refused.reason)]


def new_gaps(room: int, placement: Placement, trial: Trial) -> list[NewGap]:
    """The prev events of an event that are missing even after the batch."""
    if not placement.missing:
        return []
    placed = {step.placement.event.event_id for step in trial.steps if step.placement is not None}
    return [
        NewGap(room, event_id, placement.number, placement.topo)
        for event_id in placement.missing
        if event_id not in placed
    ]


def gaps_closed(recording: Recording, at_hand: AtHand) -> list[GapClosed]:
    """The gaps that the events of a unit fill."""
    stored = {s.event.event_id for s in recording.stored}
    return [GapClosed(recording.room, event_id) for event_id in sorted(stored & at_hand.gaps.keys())]
