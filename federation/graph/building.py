# SPDX-License-Identifier: Apache-2.0
"""Builds local events: a draft gets its place in the graph, its auth events, hash, id and signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.rules.auth.selection import auth_event_keys
from federation.rules.event_json import largest_integer
from federation.rules.room_versions import RoomVersion
from federation.rules.signing import SigningKey, build_event
from storage.event import Event, StateAt, StoredEvent
from storage.runtime.clock import Clock, milliseconds


@attrs.frozen
class Extremity:
    """A forward extremity: what the next event of the room points back to; `after` is the state after it."""

    number: int
    event_id: str
    depth: int
    topo: int
    after: StateAt

    @classmethod
    def of(cls, stored: StoredEvent) -> Extremity:
        """The stored event as an extremity."""
        after = stored.after or stored.before
        assert stored.topo is not None, "an outlier is no extremity"
        assert after is not None, "an event whose state is unknown is no extremity"
        return cls(stored.number, stored.event.event_id, stored.event.depth, stored.topo, after)


@attrs.frozen
class EventBuilder:
    """Builds and signs events of the server `server_name`."""

    server_name: str
    key: SigningKey
    clock: Clock

    def build(
        self,
        room_id: str,
        draft: Draft,
        state: CurrentState,
        extremities: Sequence[Extremity],
        reference_hashes: Mapping[str, bytes],
    ) -> Event:
        """The event of `draft` after `extremities`, where the room's state is `state`.

        `reference_hashes` are those of the extremities and of `auth_events`, where the version writes them.
        Raises `EventTooLarge` and other errors of `federation.rules` where the draft cannot be an event.
        """
        fields = self._fields(draft, state.version)
        fields["room_id"] = room_id
        fields["depth"] = min(1 + max(e.depth for e in extremities), largest_integer(state.version))
        fields["prev_events"] = [e.event_id for e in extremities]
        fields["auth_events"] = self.auth_events(draft, state)
        return build_event(
            fields, state.version, self.server_name, self.key, reference_hashes=reference_hashes
        )

    def build_create(self, room_id: str | None, draft: Draft, version: RoomVersion) -> Event:
        """The create event of a room; `room_id` is None where the event's hash is to be the room's id."""
        fields = self._fields(draft, version)
        if room_id is not None:
            fields["room_id"] = room_id
        fields |= {"depth": 1, "prev_events": [], "auth_events": []}
        return build_event(fields, version, self.server_name, self.key)

    def _fields(self, draft: Draft, version: RoomVersion) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "type": draft.type,
            "sender": draft.sender,
            "content": draft.content,
            "origin_server_ts": (
                milliseconds(self.clock) if draft.origin_server_ts is None else draft.origin_server_ts
            ),
        }
        if draft.state_key is not None:
            fields["state_key"] = draft.state_key
        if draft.redacts is not None:
            if version.redacts_in_content:
                fields["content"] = {**draft.content, "redacts": draft.redacts}
            else:
                fields["redacts"] = draft.redacts
        return fields

    def auth_events(self, draft: Draft, state: CurrentState) -> list[str]:
        """The ids of the events that the event of `draft` cites."""
        keys = auth_event_keys(draft.type, draft.state_key, draft.sender, draft.content, state.version)
        return [entry.event_id for key in keys if (entry := state.get(*key)) is not None]
