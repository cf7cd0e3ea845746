# SPDX-License-Identifier: Apache-2.0
"""The filter of a sync, ready to be asked. spec: client-server-api, "Filtering"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from homeserver.filtering.event_fields import EventFields
from homeserver.filtering.event_predicate import EVERYTHING, EventPredicate
from homeserver.filtering.schema import EventFormat, RoomFilter, SyncFilter, read_json

_NONE: Final[frozenset[str]] = frozenset()


@attrs.frozen(kw_only=True)
class Filter:
    """What a client wants of a sync.

    `presence`, `account_data` and, of rooms, `timeline`, `state`, `ephemeral` and `room_account_data` say
    which events. `event_fields` is None where events are wanted whole. Ask `wants_room` before anything of a
    room. Members are loaded lazily if `state` says so, threads are counted apart if `timeline` does.
    """

    presence: EventPredicate = EVERYTHING
    account_data: EventPredicate = EVERYTHING
    timeline: EventPredicate = EVERYTHING
    state: EventPredicate = EVERYTHING
    ephemeral: EventPredicate = EVERYTHING
    room_account_data: EventPredicate = EVERYTHING
    include_leave: bool = False
    event_format: EventFormat = EventFormat.CLIENT
    event_fields: EventFields | None = None
    _rooms: frozenset[str] | None = None
    _not_rooms: frozenset[str] = _NONE

    @classmethod
    def parse(cls, json: bytes | Mapping[str, Any]) -> Filter:
        """The filter that a client has uploaded or given inline, as JSON text or as an object.

        Raises `NotJson`, `BadJson`, which names the member that is wrong, and `TooLarge`. Unknown members are
        ignored. An empty list of `event_fields` counts as none.
        """
        wanted = read_json(json, SyncFilter)
        room = wanted.room or RoomFilter()
        return cls(
            presence=EventPredicate.of(wanted.presence),
            account_data=EventPredicate.of(wanted.account_data),
            timeline=EventPredicate.of(room.timeline),
            state=EventPredicate.of(room.state),
            ephemeral=EventPredicate.of(room.ephemeral),
            room_account_data=EventPredicate.of(room.account_data),
            include_leave=room.include_leave or False,
            event_format=wanted.event_format or EventFormat.CLIENT,
            event_fields=EventFields.compile(wanted.event_fields) if wanted.event_fields else None,
            rooms=None if room.rooms is None else frozenset(room.rooms),
            not_rooms=frozenset(room.not_rooms or ()),
        )

    def wants_room(self, room_id: str) -> bool:
        """Whether anything of this room is wanted."""
        return room_id not in self._not_rooms and (self._rooms is None or room_id in self._rooms)

    @property
    def wants_all_rooms(self) -> bool:
        """Whether there is no need to ask `wants_room`."""
        return self._rooms is None and not self._not_rooms

    @property
    def wants_no_room(self) -> bool:
        """Whether nothing of any room is wanted."""
        return self._rooms is not None and not self._rooms - self._not_rooms


NO_FILTER: Final = Filter()
"""The filter of a request that names none."""
