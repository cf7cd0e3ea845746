# SPDX-License-Identifier: Apache-2.0
"""Algorithms 2 and 2.1. spec: rooms, version 2 and version 12, "State resolution", "Algorithm"."""

from __future__ import annotations

from collections.abc import Mapping

from federation.rules.room_versions import StateResolution
from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.conflict import POWER_LEVELS, Conflict, Key
from federation.rules.state_resolution.iterative_auth_checks import iterative_auth_checks
from federation.rules.state_resolution.mainline_ordering import mainline_ordering
from federation.rules.state_resolution.power_events import is_power_event, with_auth_chains
from federation.rules.state_resolution.reverse_topological_power_ordering import (
    reverse_topological_power_ordering,
)
from storage.event import Event


def resolve_version_2(conflict: Conflict) -> dict[Key, str | None]:
    """See `resolution.resolve`."""
    version, events = conflict.version, conflict.events
    auth_events = AuthEvents(version=version, events=events, rejected=conflict.rejected)
    full, connecting = conflict.full_conflicted_set, conflict.connecting
    # 1: the power events, with what of their auth chains is in conflict.
    power_events = (event_id for event_id in full if is_power_event(events[event_id]))
    reached = with_auth_chains(power_events, {*full, *connecting}, events)
    picked = reached & set(full)
    ordered = reverse_topological_power_ordering(
        [events[event_id] for event_id in picked],
        [events[event_id] for event_id in reached - picked],
        auth_events,
    )
    # 2: what they make of the state.
    partial = iterative_auth_checks(_initial_state(conflict), ordered, version, auth_events)
    # 3: the others, in the order of the power levels that were found.
    remaining = [events[event_id] for event_id in full if event_id not in picked]
    ordered = mainline_ordering(remaining, partial.get(POWER_LEVELS), auth_events)
    # 4: what these make of it.
    resolved = iterative_auth_checks(partial, ordered, version, auth_events)
    # 5: the unconflicted state stays as it is.
    keys = {
        (event.type, event.state_key)
        for event in map(events.__getitem__, full)
        if event.state_key is not None
    }
    return {
        key: resolved[key].event_id if key in resolved else None
        for key in keys - conflict.unconflicted.keys()
    }


def _initial_state(conflict: Conflict) -> Mapping[Key, Event]:
    """What step 2 begins with: nothing in algorithm 2.1, else the unconflicted state map."""
    if conflict.version.state_resolution is StateResolution.V2_1:
        return {}
    events = conflict.events
    return {key: events[event_id] for key, event_id in conflict.unconflicted.items() if event_id in events}
