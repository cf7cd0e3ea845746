# SPDX-License-Identifier: Apache-2.0
"""Event filters in the form in which they are asked. spec: client-server-api, "Filtering"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from homeserver.filtering.schema import EventFilter, RoomEventFilter, read_json
from homeserver.filtering.type_patterns import TypePatterns

_NONE: Final[frozenset[str]] = frozenset()


@attrs.frozen(kw_only=True)
class EventPredicate:
    """Whether an event is wanted.

    `is_everything`: no event is refused, there is no need to ask. `is_nothing`: none is let through, there
    is no need to look for any. Neither speaks of `limit`, which is None where the client gave none.
    `lazy_load_members`, `include_redundant_members` and `unread_thread_notifications` are what the client
    said, False if nothing.
    """

    limit: int | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    is_everything: bool = True
    is_nothing: bool = False
    _types: TypePatterns | None = None
    _not_types: TypePatterns | None = None
    _senders: frozenset[str] | None = None
    _not_senders: frozenset[str] = _NONE
    _rooms: frozenset[str] | None = None
    _not_rooms: frozenset[str] = _NONE
    _contains_url: bool | None = None
    _related_by_senders: frozenset[str] | None = None
    _related_by_rel_types: frozenset[str] | None = None

    @classmethod
    def parse(cls, json: bytes | Mapping[str, Any]) -> EventPredicate:
        """The predicate of a `RoomEventFilter`, as `/messages`, `/context` and `/search` are given one.

        Raises `NotJson`, `BadJson` and `TooLarge`.
        """
        return cls.of(read_json(json, RoomEventFilter))

    @classmethod
    def of(cls, wanted: EventFilter | None) -> EventPredicate:
        """The predicate that `wanted` describes; without a filter, all events are wanted."""
        if wanted is None:
            return EVERYTHING
        room = wanted if isinstance(wanted, RoomEventFilter) else _UNRESTRICTED
        predicate = cls(
            limit=wanted.limit,
            lazy_load_members=room.lazy_load_members or False,
            include_redundant_members=room.include_redundant_members or False,
            unread_thread_notifications=room.unread_thread_notifications or False,
            types=None if _has_everything(wanted.types) else _patterns(wanted.types),
            not_types=_patterns(wanted.not_types or None),
            senders=_set(wanted.senders),
            not_senders=_set(wanted.not_senders) or _NONE,
            rooms=_set(room.rooms),
            not_rooms=_set(room.not_rooms) or _NONE,
            contains_url=room.contains_url,
            related_by_senders=_set(room.related_by_senders),
            related_by_rel_types=_set(room.related_by_rel_types),
        )
        everything = predicate._restrictions() == EVERYTHING._restrictions()
        return attrs.evolve(predicate, is_everything=everything, is_nothing=_is_nothing(wanted, room))

    def wants(
        self, event_type: str, sender: str | None, room_id: str | None, content: Mapping[str, Any]
    ) -> bool:
        """Whether an event with these members is wanted, apart from its relations.

        `sender` is None for what nobody has sent, such as account data, and `room_id` outside of rooms.
        """
        if self.is_everything:
            return True
        return (
            self.wants_room(room_id)
            and self.wants_sender(sender)
            and self.wants_type(event_type)
            and (self._contains_url is None or ("url" in content) is self._contains_url)
        )

    def wants_type(self, event_type: str) -> bool:
        """Whether events of this type may be wanted."""
        if self._not_types is not None and self._not_types.match(event_type):
            return False
        return self._types is None or self._types.match(event_type)

    def wants_sender(self, sender: str | None) -> bool:
        """Whether events of this sender may be wanted."""
        return sender not in self._not_senders and (self._senders is None or sender in self._senders)

    def wants_room(self, room_id: str | None) -> bool:
        """Whether events of this room may be wanted."""
        return room_id not in self._not_rooms and (self._rooms is None or room_id in self._rooms)

    @property
    def needs_relations(self) -> bool:
        """Whether an event that `wants` lets through must be asked about with `wants_relations` besides."""
        return self._related_by_senders is not None or self._related_by_rel_types is not None

    def wants_relations(self, relations: Iterable[tuple[str, str]]) -> bool:
        """Whether an event is wanted to which events point; `relations` are their `rel_type` and sender."""
        if not self.needs_relations:
            return True
        return any(
            (self._related_by_rel_types is None or rel_type in self._related_by_rel_types)
            and (self._related_by_senders is None or sender in self._related_by_senders)
            for rel_type, sender in relations
        )

    def limit_within(self, default: int, largest: int) -> int:
        """How many events to return: what the client asked for, or `default`, and no more than `largest`."""
        return min(default if self.limit is None else self.limit, largest)

    def _restrictions(self) -> tuple[object, ...]:
        lists = (self._types, self._not_types, self._senders, self._not_senders, self._rooms, self._not_rooms)
        return *lists, self._contains_url, self._related_by_senders, self._related_by_rel_types


def _set(values: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _patterns(values: tuple[str, ...] | None) -> TypePatterns | None:
    return None if values is None else TypePatterns.compile(values)


def _has_everything(patterns: tuple[str, ...] | None) -> bool:
    return patterns is not None and "*" in patterns


def _is_nothing(wanted: EventFilter, room: RoomEventFilter) -> bool:
    """Whether a list of what to include is empty, or every type is excluded."""
    lists = (wanted.types, wanted.senders, room.rooms)
    return any(values is not None and not values for values in lists) or _has_everything(wanted.not_types)


EVERYTHING: Final = EventPredicate()
"""Wants every event."""

_UNRESTRICTED: Final = RoomEventFilter()
