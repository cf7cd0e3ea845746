# SPDX-License-Identifier: Apache-2.0
"""A room in memory, as its next event finds it: what is not on disk yet is in it already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from cachetools import LRUCache

from federation.graph.building import Extremity
from federation.graph.current_state import CurrentState
from federation.graph.resolving import Unstored
from federation.graph.timelines import StateTimelines
from federation.rules.canonical_json import decode_json
from federation.rules.hashing import reference_hash
from storage.event import Event, StateAt, StoredEvent
from storage.persist import RoomEpoch

_RESOLUTIONS = 200
"""So many resolutions of a room are remembered."""

_REFERENCE_HASHES = 10_000


@attrs.define(eq=False)
class HotRoom:
    """The room as its next event finds it.

    Invariant: the current state is the resolution of the states after the forward extremities.
    `resolutions` are states by the set of states that they resolve. `memory` is that of the contributors.
    `unstored` are state events that wait in the write queue, by id. `top` is the largest `topo`.
    `reference_hashes` are kept where the room version writes them into events.
    """

    room_id: str
    epoch: RoomEpoch
    extremities: list[Extremity]
    timelines: StateTimelines
    memory: list[Any]
    top: int
    resolutions: LRUCache[frozenset[StateAt], StateAt] = attrs.field(factory=lambda: LRUCache(_RESOLUTIONS))
    unstored: dict[str, Unstored] = attrs.field(factory=dict)
    reference_hashes: LRUCache[str, bytes] = attrs.field(factory=lambda: LRUCache(_REFERENCE_HASHES))

    def __attrs_post_init__(self) -> None:
        self.note_resolution()

    @property
    def state(self) -> CurrentState:
        """The current state."""
        return self.timelines.current

    @property
    def head(self) -> StateAt:
        """The current state as a state over time."""
        return StateAt(0, self.timelines.head)

    def note_resolution(self) -> None:
        """Remember what the extremities resolve to."""
        if len(self.extremities) > 1:
            self.resolutions[frozenset(e.after for e in self.extremities)] = self.head

    def note_reference_hash(self, event: Event) -> None:
        """Remember the hash by which other events of some room versions refer to this one."""
        version = self.state.version
        if version.references_have_hashes:
            self.reference_hashes[event.event_id] = reference_hash(decode_json(event.json), version)

    def written(self, stored: Iterable[StoredEvent]) -> None:
        """These events are on disk now, or will never be."""
        for one in stored:
            self.unstored.pop(one.event.event_id, None)

    def note_unstored(self, appended: Iterable[StoredEvent]) -> None:
        """These events wait in the write queue."""
        for stored in appended:
            if stored.event.is_state:
                self.unstored[stored.event.event_id] = Unstored(stored.event, stored.number, stored.rejected)

    def unstored_now(self) -> Mapping[str, Unstored]:
        """What waits in the write queue at this moment."""
        return dict(self.unstored)
