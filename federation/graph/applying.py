# SPDX-License-Identifier: Apache-2.0
"""Makes real what was tried: the events of a batch enter the room in memory and become a unit's records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from federation.graph.batches import AtHand, Incoming
from federation.graph.hot_room import HotRoom
from federation.graph.recording import Recording
from federation.graph.trial import TRIAL, Placement, Trial, real_state
from federation.rules.auth.redactions import may_apply_redaction
from federation.rules.redaction import redacts
from storage.event import Event, StoredEvent
from storage.events import NewRedaction, RedactionApplied
from storage.gaps import GapClosed, NewGap
from storage.rejections import NewRejection
from storage.rooms import ExtremitiesRemoved


@attrs.frozen
class Applying:
    """A trial that succeeded on the room as it is, and the recording that it goes into."""

    recording: Recording
    incoming: Incoming
    at_hand: AtHand
    trial: Trial

    def apply(self) -> None:
        """Enter the events and write the records."""
        recording, hot = self.recording, self.recording.hot
        base = hot.timelines.head
        if self.incoming.begins_anew and hot.extremities:
            numbers = tuple(e.number for e in hot.extremities)
            recording.records.append(ExtremitiesRemoved(recording.room, numbers))
            hot.extremities = []
        for step in self.trial.steps:
            if step.placement is None:
                recording.change_state(step.changes, self.trial.kept)
            else:
                self._enter(step.placement, step.changes, base)
        hot.timelines.make_real(TRIAL, base)
        for number, after in self.trial.touched.items():
            recording.branch(number, after=after, is_new=number >= self.trial.first_branch)
        for states, state in self.trial.resolutions.items():
            hot.resolutions[frozenset(real_state(s, base) for s in states)] = real_state(state, base)
        recording.records.extend(
            GapClosed(recording.room, event_id)
            for event_id in sorted(self.at_hand.gaps)
            if event_id in {s.event.event_id for s in recording.stored}
        )

    def _enter(self, placement: Placement, changes: Mapping[Any, Any], base: int) -> None:
        recording = self.recording
        row = self.at_hand.rows.get(placement.event.event_id)
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
            ),
            changes=changes,
            is_extremity=placement.is_extremity,
            replaced=placement.replaced,
            was_outlier=row is not None,
        )
        if placement.refused is not None:
            recording.records.append(
                NewRejection(placement.number, placement.refused.rule, placement.refused.reason)
            )
        recording.records.extend(
            NewGap(recording.room, missing, placement.number, placement.topo) for missing in placement.missing
        )
        others = {**self.at_hand.others, **{s.event.event_id: s for s in recording.stored}}
        recording.records.extend(redaction_records(recording.hot, stored, others))
        recording.records.extend(self._redactions_that_waited(stored, others))

    def _redactions_that_waited(
        self, stored: StoredEvent, others: Mapping[str, StoredEvent]
    ) -> list[RedactionApplied]:
        target = stored.event
        applied = []
        for number, redaction_id in self.at_hand.waiting_redactions.get(target.event_id, ()):
            redaction = others.get(redaction_id)
            if redaction is not None and _may_apply(self.recording.hot, redaction.event, target):
                applied.append(RedactionApplied(target.event_id, number, redaction_id, stored.number))
        return applied


def redaction_records(
    hot: HotRoom, stored: StoredEvent, others: Mapping[str, StoredEvent]
) -> list[NewRedaction]:
    """The row of an accepted redaction; `others` holds its target, if that is stored."""
    event = stored.event
    if event.type != "m.room.redaction" or stored.rejected or stored.soft_failed:
        return []
    target_id = redacts(event, hot.state.version)
    if target_id is None:
        return []
    target = others.get(target_id)
    applied = target is not None and _may_apply(hot, event, target.event)
    number = target.number if target is not None else None
    return [NewRedaction(target_id, stored.number, event.event_id, number, applied)]


def _may_apply(hot: HotRoom, redaction: Event, target: Event) -> bool:
    return may_apply_redaction(redaction, target, hot.state.power, hot.state.version)
