# SPDX-License-Identifier: Apache-2.0
"""The events that events cite as their `auth_events`, and the power levels found there."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from federation.rules.auth.power_levels import Level, PowerLevels
from federation.rules.room_versions import RoomVersion
from federation.rules.state_resolution.conflict import CREATE, POWER_LEVELS, Key
from storage.event import Event


class AuthEvents:
    """Looks up what an event cites, among known events; reads each pair of create and power levels once."""

    def __init__(
        self, *, version: RoomVersion, events: Mapping[str, Event], rejected: Collection[str]
    ) -> None:
        self._version = version
        self._events = events
        self._rejected = rejected
        self._levels: dict[tuple[str, str | None], PowerLevels] = {}

    def cited(self, event: Event, key: Key) -> Event | None:
        """The auth event of `event` that has this type and state key."""
        for event_id in event.auth_events:
            found = self._events.get(event_id)
            if found is not None and found.state_key == key[1] and found.type == key[0]:
                return found
        return self._implied_create(event) if key == CREATE else None

    def accepted(self, event: Event, key: Key) -> Event | None:
        """The same, but none that was rejected."""
        found = self.cited(event, key)
        return found if found is not None and found.event_id not in self._rejected else None

    def sender_level(self, event: Event) -> Level:
        """The power level of the event's sender by its auth events."""
        create = self.cited(event, CREATE)
        # Only the create event itself cites none.
        return (
            0 if create is None else self.levels(create, self.cited(event, POWER_LEVELS)).user(event.sender)
        )

    def levels(self, create: Event, power_levels: Event | None) -> PowerLevels:
        """The power levels that these two events make."""
        key = (create.event_id, None if power_levels is None else power_levels.event_id)
        levels = self._levels.get(key)
        if levels is None:
            levels = self._levels[key] = PowerLevels.of(create, power_levels, self._version)
        return levels

    def _implied_create(self, event: Event) -> Event | None:
        """From version 12 on the room id stands for the create event."""
        if not self._version.room_id_is_create_hash:
            return None
        found = self._events.get(implied_create_id(event))
        return found if found is not None and found.type == "m.room.create" else None


def implied_create_id(event: Event) -> str:
    """The id of the create event that the event's room id is made of. spec: rooms, version 12, "Room IDs"."""
    return "$" + event.room_id[1:]
