# SPDX-License-Identifier: Apache-2.0
"""The events that a batch refers to: those that it has placed itself, and what was read of others."""

from __future__ import annotations

import attrs

from federation.graph.batches import AtHand, Lacking
from federation.graph.current_state import StateEntry
from federation.graph.hot_room import HotRoom
from federation.graph.resolving import Unstored
from federation.graph.trial import Placement
from storage.event import Event, StateAt


@attrs.frozen
class Predecessor:
    """An event with a place in the graph; `after` is the state after it, None where that is unknown."""

    topo: int | None
    after: StateAt | None


@attrs.frozen
class KnownEvents:
    """Looks up events for a batch; `placed` are those of the batch that have their place, by id."""

    hot: HotRoom
    at_hand: AtHand
    placed: dict[str, Placement] = attrs.field(factory=dict)

    def predecessor(self, event_id: str) -> Predecessor | None:
        """An event of this room that may be a prev event; None where it is not in the graph."""
        placed = self.placed.get(event_id)
        if placed is not None:
            return Predecessor(placed.topo, placed.after or placed.before)
        row = self.at_hand.rows.get(event_id)
        if row is None or row.topo is None or row.room != self.hot.epoch.room:
            return None
        return Predecessor(row.topo, row.after or row.before)

    def auth_event(self, event_id: str) -> tuple[Event, bool] | None:
        """An event that may be cited, and whether it was rejected."""
        placed = self.placed.get(event_id)
        if placed is not None:
            return placed.event, placed.rejected
        stored = self.at_hand.auth_events.get(event_id)
        row = self.at_hand.rows.get(event_id)
        return None if stored is None or row is None else (stored.event, row.rejected)

    def event_of(self, entry: StateEntry) -> Event:
        """The event that is the value of a key. Raises `Lacking`."""
        placed = self.placed.get(entry.event_id)
        if placed is not None:
            return placed.event
        unstored = self.hot.unstored.get(entry.event_id)
        if unstored is not None:
            return unstored.event
        event = self.at_hand.events.get(entry.number)
        if event is None:
            raise Lacking(event=entry.number)
        return event

    def placed_now(self) -> dict[str, Unstored]:
        """The state events of the batch that were placed up to here."""
        return {
            event_id: Unstored(placed.event, placed.number, placed.rejected)
            for event_id, placed in self.placed.items()
            if placed.event.is_state
        }
