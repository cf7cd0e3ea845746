# SPDX-License-Identifier: Apache-2.0
"""Keeps the events in memory in step with what is committed: new ones, their places, and their redactions."""

from __future__ import annotations

from collections.abc import Sequence

from storage.event_records import (
    NewBackfilledEvent,
    NewEvent,
    NewRedaction,
    OutlierBackfilled,
    OutlierPlaced,
    RedactionApplied,
    StateLearnt,
)
from storage.events import Events
from storage.write_queue import Committed


class EventMemory:
    """Listens to the write queue. Whoever it wakes afterwards finds events as they are on disk."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Take in a batch."""
        events = self._events
        for committed in batch:
            # A redaction may stand in its unit before its target.
            redacted: dict[int, str] = {}
            for record in committed.unit.records:
                kind = type(record)
                if kind is NewEvent or kind is OutlierPlaced:
                    events.remember(record.stored.at(committed.base + record.index))
                elif kind is NewBackfilledEvent or kind is OutlierBackfilled:
                    events.remember(record.stored.at(-(committed.base + record.index)))
                elif kind is StateLearnt:
                    events.remember(record.stored)
                elif kind is RedactionApplied or (kind is NewRedaction and record.applied):
                    redacted[record.target_number] = record.redaction_id
            for number, redaction_id in redacted.items():
                events.redacted(number, redaction_id)
