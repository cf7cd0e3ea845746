# SPDX-License-Identifier: Apache-2.0
"""Mainline ordering. spec: rooms, version 2, "Mainline ordering"."""

from __future__ import annotations

import math
from collections.abc import Iterable

from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.conflict import POWER_LEVELS
from storage.event import Event


def mainline_ordering(
    events: Iterable[Event], power_levels: Event | None, auth_events: AuthEvents
) -> list[Event]:
    """`events` from smallest to largest, by the mainline of `power_levels`.

    Without a power levels event no event has a place on a mainline.
    """
    positions = _MainlinePositions(power_levels, auth_events)
    return sorted(events, key=lambda e: (-positions.of(e), e.origin_server_ts, e.event_id))


class _MainlinePositions:
    """Mainline positions, counted from the newest power levels event; infinite off the mainline."""

    def __init__(self, power_levels: Event | None, auth_events: AuthEvents) -> None:
        self._auth_events = auth_events
        # Of every power levels event seen so far: its own index, or where its chain meets the mainline.
        self._known: dict[str, float] = {}
        while power_levels is not None and power_levels.event_id not in self._known:
            self._known[power_levels.event_id] = len(self._known)
            power_levels = auth_events.cited(power_levels, POWER_LEVELS)

    def of(self, event: Event) -> float:
        """The mainline position of any event."""
        passed: dict[str, float] = {}
        power_levels = self._auth_events.cited(event, POWER_LEVELS)
        while power_levels is not None and power_levels.event_id not in self._known:
            # Infinite for now, so that a circle ends here.
            self._known[power_levels.event_id] = passed[power_levels.event_id] = math.inf
            power_levels = self._auth_events.cited(power_levels, POWER_LEVELS)
        position = math.inf if power_levels is None else self._known[power_levels.event_id]
        self._known.update(dict.fromkeys(passed, position))
        return position
