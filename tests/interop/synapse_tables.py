# SPDX-License-Identifier: Apache-2.0
"""What the tables of a stopped Synapse say of a room and of its states, read as plainly as can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from tests.interop.synapse import query

Key = tuple[str, str]
State = Mapping[Key, str]

_EVENTS = """
    SELECT e.event_id, e.type, e.state_key, e.sender, e.stream_ordering, e.depth, g.state_group,
        r.event_id IS NOT NULL, e.outlier, j.internal_metadata, j.json
    FROM events e JOIN event_json j USING (event_id) LEFT JOIN rejections r USING (event_id)
        LEFT JOIN event_to_state_groups g USING (event_id)
    WHERE e.room_id = ?
"""
_GROUPS = """
    SELECT g.id, e.prev_state_group, g.event_id FROM state_groups g
    LEFT JOIN state_group_edges e ON e.state_group = g.id WHERE g.room_id = ? ORDER BY g.id
"""
_DELTAS = "SELECT state_group, type, state_key, event_id FROM state_groups_state WHERE room_id = ?"
_CURRENT = "SELECT type, state_key, event_id FROM current_state_events WHERE room_id = ?"


@attrs.frozen
class SynapseEvent:
    """An event as Synapse keeps it."""

    event_id: str
    type: str
    state_key: str | None
    sender: str
    stream_ordering: int
    depth: int
    group: int | None
    rejected: bool
    outlier: bool
    soft_failed: bool
    pdu: Mapping[str, Any]

    @property
    def key(self) -> Key | None:
        """Its key in a state."""
        return None if self.state_key is None else (self.type, self.state_key)

    @property
    def replaces(self) -> str | None:
        """What it replaced, as far as Synapse wrote it down."""
        found: str | None = self.pdu.get("unsigned", {}).get("replaces_state")
        return found

    @property
    def place(self) -> tuple[bool, int, int]:
        """In the order of these, events follow upon one another."""
        if self.stream_ordering < 0:
            return (False, self.depth, self.stream_ordering)
        return (True, self.stream_ordering, 0)


@attrs.frozen
class SynapseGroup:
    """A state group: its parent, what it sets, and the event for which it was made."""

    number: int
    parent: int | None
    event_id: str
    delta: dict[Key, str] = attrs.field(factory=dict)


@attrs.frozen(slots=False)
class SynapseRoom:
    """One room of the database."""

    database: Path
    room_id: str

    @cached_property
    def events(self) -> list[SynapseEvent]:
        """All events that have a place in the room, in order."""
        return sorted((event for event in self._all if not event.outlier), key=lambda event: event.place)

    @cached_property
    def outliers(self) -> list[SynapseEvent]:
        """Events that have none."""
        return [event for event in self._all if event.outlier]

    @cached_property
    def _all(self) -> list[SynapseEvent]:
        return [
            SynapseEvent(*row, bool(rejected), bool(outlier), _is_soft_failed(metadata), pdu=json.loads(pdu))
            for *row, rejected, outlier, metadata, pdu in query(self.database, _EVENTS, self.room_id)
        ]

    @cached_property
    def groups(self) -> dict[int, SynapseGroup]:
        """Its state groups, in the order of their numbers."""
        groups = {row[0]: SynapseGroup(*row) for row in query(self.database, _GROUPS, self.room_id)}
        for group, type_, state_key, event_id in query(self.database, _DELTAS, self.room_id):
            groups[group].delta[type_, state_key] = event_id
        return groups

    @cached_property
    def current(self) -> dict[Key, str] | None:
        """The current state; None where Synapse is not in the room."""
        rows = query(self.database, _CURRENT, self.room_id)
        return {(type_, state_key): event_id for type_, state_key, event_id in rows} or None

    def state(self, group: int | None) -> dict[Key, str]:
        """The state that a group holds, by walking to its last parent."""
        state: dict[Key, str] = {}
        while group is not None:
            for key, event_id in self.groups[group].delta.items():
                state.setdefault(key, event_id)
            group = self.groups[group].parent
        return state

    def after(self, event: SynapseEvent) -> dict[Key, str]:
        """The state after an event."""
        return self.state(event.group)

    def before(self, event: SynapseEvent) -> dict[Key, str]:
        """The state before an event.

        A state event's group is a delta of the state before it; where Synapse wrote a whole state instead,
        `replaces_state` tells, by which it answers its peers.
        """
        after = self.after(event)
        if event.key is None or event.rejected or event.group is None:
            return after
        parent = self.groups[event.group].parent
        if parent is not None:
            return self.state(parent)
        if event.replaces is not None:
            return {**after, event.key: event.replaces}
        return {key: event_id for key, event_id in after.items() if key != event.key}


def _is_soft_failed(metadata: str) -> bool:
    return bool(json.loads(metadata).get("soft_failed"))
