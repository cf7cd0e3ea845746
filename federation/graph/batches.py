# SPDX-License-Identifier: Apache-2.0
"""What a batch of events from outside needs at hand before it is placed in the graph, and what it lacks."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from federation.graph.current_state import Key, StateEntry
from federation.graph.resolving import Resolved
from storage.event import Event, StateAt, StoredEvent
from storage.events import GraphRow

GivenState: TypeAlias = Mapping[Key, StateEntry]
"""A whole state that was given from outside."""

StateName: TypeAlias = Hashable
"""What tells a state from others, however often a batch is tried: where it is stored, or what made it."""


@attrs.frozen
class Incoming:
    """Events of one room from outside, each after those it refers to.

    Each has passed the checks on receipt up to the hash. `given` are states before some of them, where prev
    events are missing; `unauthorised` names joins that the authorising server did not validly sign.
    `begins_anew`: the first event is a join that brought us back, so what was known of the room before is set
    aside. `backfilled`: they are older than what is known, and say nothing new of the room as it is.
    """

    events: Sequence[Event]
    given: Mapping[str, GivenState | StateAt] = attrs.field(factory=dict)
    unauthorised: Collection[str] = frozenset()
    begins_anew: bool = False
    backfilled: bool = False

    def pieces(self, size: int) -> Iterator[Incoming]:
        """The batch in pieces of so many events; older events stay together."""
        if self.backfilled:
            yield self
            return
        for start in range(0, len(self.events), size):
            events = self.events[start : start + size]
            yield attrs.evolve(
                self,
                events=events,
                # Of a large state much is read for every piece that it goes with.
                given={e.event_id: self.given[e.event_id] for e in events if e.event_id in self.given},
                begins_anew=self.begins_anew and start == 0,
            )


@attrs.frozen
class Referrers:
    """Those that refer to a missing event: the smallest `topo` of them, and the states before them.

    `accepted`: one of them at least counts in the graph, being neither refused nor without a known state.
    """

    topo: int
    before: Collection[StateAt | None]
    accepted: bool


@attrs.define
class AtHand:
    """What was read for a batch: `rows` and `auth_events` by event id, `events` by number.

    - `lowest`: the lowest known revision of the branch that older events may lead to
    - `outliers` are the events of the batch that are stored without a place, by id; `unknown` those of older
      ones that have a place, but no state before them
    - `numbers` are for the events that have none yet
    - `waiting_redactions` (number, id), of events of the batch and of states that are given, and `others` are
      of redactions: their targets, and themselves
    - `gaps` are the events of the batch that were known to be missing
    - `resolutions` are those that were found while the batch was tried, by the names of their states
    """

    rows: Mapping[str, GraphRow]
    auth_events: Mapping[str, StoredEvent]
    outliers: Mapping[str, StoredEvent]
    unknown: Mapping[str, StoredEvent]
    waiting_redactions: Mapping[str, Sequence[tuple[int, str]]]
    gaps: Mapping[str, Referrers]
    others: Mapping[str, StoredEvent]
    numbers: Mapping[str, int]
    lowest: int | None = None
    events: dict[int, Event] = attrs.field(factory=dict)
    resolutions: dict[frozenset[StateName], Resolved] = attrs.field(factory=dict)


class Lacking(Exception):
    """A batch cannot be placed before something is read or worked out; exactly one of the members is set.

    - `state`: a state that is not in memory
    - `event`: the number of an event
    - `states`: states to resolve, with their names
    """

    def __init__(
        self,
        *,
        state: StateAt | None = None,
        event: int | None = None,
        states: Mapping[StateAt, StateName] | None = None,
    ) -> None:
        super().__init__("something must be read first")
        self.state = state
        self.event = event
        self.states = states
