# SPDX-License-Identifier: Apache-2.0
"""Iterative auth checks. spec: rooms, version 2, "Iterative auth checks"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from federation.rules.room_versions import RoomVersion
from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.conflict import Key
from federation.rules.state_resolution.partial_state import PartialState
from storage.event import Event


def iterative_auth_checks(
    initial: Mapping[Key, Event], events: Iterable[Event], version: RoomVersion, auth_events: AuthEvents
) -> dict[Key, Event]:
    """What `initial` becomes when each of `events` in turn is applied, or ignored if it is not allowed."""
    state = PartialState(initial, version=version, auth_events=auth_events)
    for event in events:
        state.apply(event)
    return state.events()
