# SPDX-License-Identifier: Apache-2.0
"""A state of a hot room as the facts that the authorisation rules ask for (`AuthState`)."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from federation.graph.current_state import StateEntry
from federation.graph.timelines import StateTimelines
from federation.rules.auth.power_levels import PowerLevels
from storage.event import Event, StateAt

EventOf = Callable[[StateEntry], Event]
"""The event that is the value of a key; raises where it must be read first."""


@attrs.frozen
class StateView:
    """The room's state at `state`, which must be at hand in `timelines`.

    `powers` are power levels that were read before, by the id of their event.
    """

    timelines: StateTimelines
    state: StateAt
    event_of: EventOf
    powers: dict[str | None, PowerLevels]

    def event(self, event_type: str, state_key: str = "") -> Event | None:
        """The event that is the value of a key."""
        entry = self.timelines.value(self.state, (event_type, state_key))
        if entry is None:
            return None
        now = self.timelines.current.event((event_type, state_key))
        return now if now is not None and now.event_id == entry.event_id else self.event_of(entry)

    @property
    def create(self) -> Event | None:
        """The `m.room.create` event."""
        return self.event("m.room.create")

    @property
    def power_levels(self) -> Event | None:
        """The `m.room.power_levels` event."""
        return self.event("m.room.power_levels")

    @property
    def join_rules(self) -> Event | None:
        """The `m.room.join_rules` event."""
        return self.event("m.room.join_rules")

    def membership(self, user_id: str) -> str | None:
        """The user's membership; None without a member event."""
        entry = self.timelines.value(self.state, ("m.room.member", user_id))
        return None if entry is None else entry.membership

    def third_party_invite(self, token: str) -> Event | None:
        """The `m.room.third_party_invite` event of this token."""
        return self.event("m.room.third_party_invite", token)

    @property
    def power(self) -> PowerLevels:
        """The power levels at this state."""
        levels = self.power_levels
        event_id = None if levels is None else levels.event_id
        known = self.powers.get(event_id)
        if known is None:
            create = self.create
            assert create is not None, "a state begins with the create event"
            known = PowerLevels.of(create, levels, self.timelines.current.version)
            self.powers[event_id] = known
        return known
