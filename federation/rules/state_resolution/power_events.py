# SPDX-License-Identifier: Apache-2.0
"""Power events, and those that must be settled with them. spec: rooms, version 2, "Power events"."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from storage.event import Event


def is_power_event(event: Event) -> bool:
    """Whether the event might remove someone's ability to do something in the room."""
    if event.state_key is None:
        return False
    if event.type == "m.room.member":
        return event.content.get("membership") in ("leave", "ban") and event.sender != event.state_key
    return event.type in ("m.room.power_levels", "m.room.join_rules")


def with_auth_chains(
    power_events: Iterable[str], within: Container[str], events: Mapping[str, Event]
) -> set[str]:
    """The power events and what of their auth chains lies `within` a set of events.

    Chains are not followed beyond that set: it must be such that none leaves it and comes back.
    """
    reached = set(power_events)
    open_ends = list(reached)
    while open_ends:
        for event_id in events[open_ends.pop()].auth_events:
            if event_id in within and event_id not in reached:
                reached.add(event_id)
                open_ends.append(event_id)
    return reached
