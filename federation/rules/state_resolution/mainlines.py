# SPDX-License-Identifier: Apache-2.0
"""How far back the power levels events must be known. spec: rooms, version 2, "Mainline ordering"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.conflict import POWER_LEVELS
from storage.event import Event


class Mainlines:
    """Follows several power levels events, each to the one that it cites, until their lines are one.

    What lies below the event in which the last two lines meet is on the mainline of each of them or of none:
    it changes no order. A room that often changed its power levels need not be read down to its beginning.
    """

    def __init__(
        self, power_levels: Iterable[Event], events: Mapping[str, Event], auth_events: AuthEvents
    ) -> None:
        """`events` are those known so far; it grows by what the steps ask for."""
        self._events = events
        self._auth_events = auth_events
        self._passed: set[str] = set()
        # The lines that go on: at events whose auth events are not all known yet.
        self._open: list[Event] = []
        # How many lines have come to an end without meeting another.
        self._ended = 0
        for event in power_levels:
            if event.event_id not in self._passed:
                self._follow(event)

    def steps(self) -> Iterator[Iterable[str]]:
        """The ids of the events to be known next, until the lines are one."""
        while self._open and self._ended + len(self._open) > 1:
            lines = sorted(self._open, key=lambda event: event.depth)
            # Where no line has ended, the others may all lead to the earliest one, which then need not go on.
            advancing = lines if self._ended else lines[1:]
            yield {event_id for event in advancing for event_id in event.auth_events}
            self._open = []
            for event in lines:
                self._follow(event)

    def _follow(self, event: Event) -> None:
        """Follow a line as far as it is known."""
        self._passed.add(event.event_id)
        while all(event_id in self._events for event_id in event.auth_events):
            cited = self._auth_events.cited(event, POWER_LEVELS)
            if cited is None:
                self._ended += 1
                return
            if cited.event_id in self._passed:
                return
            self._passed.add(cited.event_id)
            event = cited
        self._open.append(event)
