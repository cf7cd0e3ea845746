# SPDX-License-Identifier: Apache-2.0
"""Redactions: they apply once both they and what they redact are known, whichever comes first.

spec: rooms, "Handling redactions"; server-server-api, "Soft failure".
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from federation.graph.batches import AtHand
from federation.graph.hot_room import HotRoom
from federation.rules.auth.redactions import may_apply_redaction
from federation.rules.redaction import redacts
from storage.event import Event, StoredEvent
from storage.event_records import NewRedaction, RedactionApplied


@attrs.define(eq=False)
class Redactions:
    """The redactions of a batch, and those that waited for its events.

    `others` are events by id: targets, and redactions that wait; `waiting` redactions (number, id) by the id
    of their target.
    """

    hot: HotRoom
    others: dict[str, StoredEvent]
    waiting: dict[str, list[tuple[int, str]]]

    @classmethod
    def of(cls, hot: HotRoom, at_hand: AtHand) -> Redactions:
        """Those of the batch for which this was read."""
        waiting = {target: list(found) for target, found in at_hand.waiting_redactions.items()}
        return cls(hot, dict(at_hand.others), waiting)

    def of_given(self) -> list[RedactionApplied]:
        """What is to be written of events that only states that were given made known."""
        known = [self.others[event_id] for event_id in self.waiting if event_id in self.others]
        return [applied for stored in known for applied in self._that_waited(stored)]

    def entered(self, stored: StoredEvent) -> list[NewRedaction | RedactionApplied]:
        """What is to be written of an event that takes its place, as a redaction and as a target."""
        event_id = stored.event.event_id
        self.others[event_id] = stored
        made = redaction_records(self.hot, stored, self.others)
        for record in made:
            if record.target_number is None:
                self.waiting.setdefault(record.target, []).append((record.redaction, record.redaction_id))
        return [*made, *self._that_waited(stored)]

    def _that_waited(self, stored: StoredEvent) -> list[RedactionApplied]:
        target = stored.event
        return [
            RedactionApplied(target.event_id, number, redaction_id, stored.number)
            for number, redaction_id in self.waiting.get(target.event_id, ())
            if (redaction := self.others.get(redaction_id)) is not None
            and _may_apply(self.hot, redaction.event, target)
        ]


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
