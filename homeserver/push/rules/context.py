# SPDX-License-Identifier: Apache-2.0
"""What conditions look at: the event, its room, and whose rules they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Protocol

import attrs
from msgspec import UNSET

from homeserver.push.rules.glob import fold
from homeserver.rooms.property_path import value_at
from storage.event import Event

# The members of an event as clients see it.
_MEMBERS: Mapping[str, Callable[[Event], Any]] = {
    name: attrgetter(name)
    for name in ("type", "sender", "room_id", "event_id", "state_key", "content", "origin_server_ts")
}
_BODY = ("content", "body")


class EventView:
    """An event as conditions see it. It keeps what it has worked out; one view serves all rules and users."""

    __slots__ = ("_folded", "_strings", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._folded: dict[tuple[str, ...], str | None] = {}
        self._strings: dict[tuple[str, ...], frozenset[str]] = {}

    def value(self, path: tuple[str, ...]) -> Any:
        """The property at `path`, or `UNSET`."""
        member = _MEMBERS.get(path[0])
        if member is None:
            return UNSET
        value = member(self.event)
        if value is None:  # an event that is no state event
            return UNSET
        return value_at(value, path[1:]) if len(path) > 1 else value

    def folded(self, path: tuple[str, ...]) -> str | None:
        """The property at `path` without distinctions of case, None where it is no string."""
        if path not in self._folded:
            value = self.value(path)
            self._folded[path] = fold(value) if isinstance(value, str) else None
        return self._folded[path]

    def strings(self, path: tuple[str, ...]) -> frozenset[str]:
        """The strings of the array at `path`; none where it is no array."""
        found = self._strings.get(path)
        if found is None:
            value = self.value(path)
            items = value if isinstance(value, list) else ()
            found = frozenset(item for item in items if isinstance(item, str))
            self._strings[path] = found
        return found

    def folded_body(self) -> str | None:
        """`content.body` without distinctions of case, None where it is no string."""
        return self.folded(_BODY)


class DisplayNames(Protocol):
    """Who of a room goes by which name; `DisplayNameIndex` is one."""

    def matching(self, folded_body: str) -> Iterable[str]:
        """The users whose display name stands in the body, as `contains_display_name` defines it."""

    def display_name(self, user_id: str) -> str | None:
        """The display name of a user in the room."""


@attrs.frozen(kw_only=True)
class RoomContext:
    """What rules ask of the room at the event.

    - `member_count`: joined members, after the event
    - `sender_level`: the power level of the event's sender
    - `notification_level`: the level that the sender needs for a notification of this name (`room`: 50 by
      default)
    - `is_recipient`: whether the user is one for whom this event is to be judged: a local user who is
      joined, or whom the event invites
    - `names`: the display names of the recipients; needed where rules with `contains_display_name` are
      classified
    """

    member_count: int
    sender_level: float
    notification_level: Callable[[str], float]
    is_recipient: Callable[[str], bool]
    names: DisplayNames | None = None


@attrs.frozen
class Owner:
    """Whose rules they are, and their display name in the room. An owner without an id is nobody."""

    user_id: str | None
    display_name: str | None = None


NOBODY = Owner(None)
"""An owner whom no event names."""


@attrs.frozen
class Occasion:
    """One event in its room, judged for one owner."""

    event: EventView
    room: RoomContext
    owner: Owner
