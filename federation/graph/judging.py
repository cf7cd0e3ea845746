# SPDX-License-Identifier: Apache-2.0
"""What the authorisation rules say of an event from outside.

spec: server-server-api, "Checks performed on receipt of a PDU", 4 to 6.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from federation.graph.known_events import KnownEvents
from federation.graph.state_view import StateView
from federation.graph.trial_states import TrialStates
from federation.rules.auth.power_levels import PowerLevels
from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import check_auth_events, judging_events
from federation.rules.auth.state import AuthState, AuthStateOf
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from storage.event import Event, StateAt


@attrs.frozen
class Judging:
    """Judges the events of a batch. `unauthorised` are joins that the authorising server did not sign."""

    version: RoomVersion
    known: KnownEvents
    states: TrialStates
    unauthorised: Collection[str]
    _views: dict[StateAt, StateView] = attrs.field(factory=dict, init=False)
    _powers: dict[str | None, PowerLevels] = attrs.field(factory=dict, init=False)

    def by_auth_events(self, event: Event) -> None:
        """4: by the event's own auth events, which are all known. Raises `AuthRefused`."""
        found = {e: self.known.auth_event(e) for e in judging_events(event, self.version)}
        rejected = {e for e, auth in found.items() if auth is not None and auth[1]}
        cited = {e: auth[0] for e, auth in found.items() if auth is not None}
        check_auth_events(event, [cited[e] for e in event.auth_events], rejected, self.version)
        self._check(event, AuthStateOf.from_events(cited.values()), None)

    def by_state(self, event: Event, state: StateAt) -> None:
        """5 and 6: by the state before the event, or the current one. Raises `AuthRefused`, `Lacking`."""
        view = self._views.get(state)
        if view is None:
            self.states.need(state)
            view = StateView(self.states.timelines, state, self.known.event_of, self._powers)
            self._views[state] = view
        self._check(event, view, None if view.create is None else view.power)

    def too_early(self, event: Event) -> None:
        """An event without predecessors in a room that has begun. Raises `AuthRefused`."""
        check_auth(event, AuthStateOf(), self.version)
        raise AuthRefused("1", "the room has a create event already")

    def _check(self, event: Event, state: AuthState, levels: PowerLevels | None) -> None:
        check_auth(
            event,
            state,
            self.version,
            power_levels=levels,
            join_authoriser_signed=event.event_id not in self.unauthorised,
        )
