# SPDX-License-Identifier: Apache-2.0
"""A room that receives events, by the letter: what the checks say of each, and the state that results.

spec: server-server-api, "Checks performed on receipt of a PDU" 4 to 6, "Rejection", "Soft failure";
rooms, version 2, "State resolution".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import check_auth_events
from federation.rules.auth.state import AuthStateOf
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from storage.event import Event
from tests.reference.resolver import CREATE, Key, naive_resolve

State = dict[Key, str]


class NaiveRoom:
    """What one server knows of a room of `version`, after it received events in some order.

    - `before`, `after`: the state before and after each event, whole
    - `rejected`, `soft_failed`: event id → number of the rule that refused it
    - `rejected_by_auth_events`: those of `rejected` that fail check 4 already
    - `extremities`: the forward extremities, and `current` the resolution of the states after them
    """

    def __init__(self, version: RoomVersion) -> None:
        self.version = version
        self.events: dict[str, Event] = {}
        self.before: dict[str, State] = {}
        self.after: dict[str, State] = {}
        self.rejected: dict[str, str] = {}
        self.rejected_by_auth_events: set[str] = set()
        self.soft_failed: dict[str, str] = {}
        self.extremities: set[str] = set()
        self.current: State = {}
        self._resolutions: dict[frozenset[frozenset[tuple[Key, str]]], State] = {}

    def receive(self, batch: Sequence[Event]) -> None:
        """Take in the events of a batch, each after its prev events and its auth events.

        Within the batch, soft failure is judged by the current state as the batch found it, or as a later
        event made it that follows on all extremities. The current state is resolved at the end.
        """
        current = self.current
        for event in batch:
            self.place(event)
            if event.event_id in self.rejected:
                continue
            refusal = self.refusal(event, current)
            if refusal is not None:
                self.soft_failed[event.event_id] = refusal
                continue
            if self.extremities <= set(event.prev_events):
                current = self.after[event.event_id]
            self.extremities -= set(event.prev_events)
            self.extremities.add(event.event_id)
        self.current = self.resolved(self.extremities)

    def resolved(self, event_ids: Iterable[str]) -> State:
        """The *resolution* of the states after some events."""
        states = [self.after[event_id] for event_id in event_ids]
        name = frozenset(frozenset(state.items()) for state in states)
        if name not in self._resolutions:
            self._resolutions[name] = naive_resolve(self.version, states, self.events, self.rejected)
        return self._resolutions[name]

    def place(self, event: Event) -> None:
        """Find the states before and after an event, and do its checks 4 and 5."""
        before = self.resolved(event.prev_events)
        self.events[event.event_id] = event
        self.before[event.event_id] = self.after[event.event_id] = before
        # 4
        refusal = self._refusal_by_auth_events(event)
        if refusal is not None:
            self.rejected_by_auth_events.add(event.event_id)
        # 5
        refusal = refusal or self.refusal(event, before)
        if refusal is not None:
            self.rejected[event.event_id] = refusal
        elif event.state_key is not None:
            self.after[event.event_id] = {**before, (event.type, event.state_key): event.event_id}

    def _refusal_by_auth_events(self, event: Event) -> str | None:
        cited = [self.events[event_id] for event_id in event.auth_events]
        try:
            check_auth_events(event, cited, self.rejected, self.version)
        except AuthRefused as refused:
            return refused.rule
        return self.refusal(event, self._state_of(cited))

    def _state_of(self, events: Iterable[Event]) -> State:
        return {(e.type, e.state_key): e.event_id for e in events if e.state_key is not None}

    def refusal(self, event: Event, state: State) -> str | None:
        """The number of the rule by which `state` refuses an event."""
        facts = dict(state)
        if self.version.room_id_is_create_hash:  # the room id implies the create event
            create = "$" + event.room_id[1:]
            if create in self.events and create not in self.rejected:
                facts[CREATE] = create
        known = AuthStateOf.from_events(self.events[event_id] for event_id in facts.values())
        try:
            check_auth(event, known, self.version, join_authoriser_signed=True)
        except AuthRefused as refused:
            return refused.rule
        return None
