# SPDX-License-Identifier: Apache-2.0
"""Power levels: what they are in a room, and who may change them.

spec: client-server-api, "m.room.power_levels"; rooms, "Authorisation rules", 9 (version 11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from federation.rules.auth.refusal import malformed, refused
from federation.rules.errors import AuthRefused
from federation.rules.identifiers import is_user_id
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event

# An integer, or above all integers.
Level = int | float

INFINITE: Level = math.inf

SINGLE_LEVELS = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")

# What the interpreter converts at once; more significant digits are no level.
_MAX_DIGITS = 4300


def room_creator(create: Event, version: RoomVersion) -> str | None:
    """Who created the room: `content.creator`, or from version 11 on the sender of the create event."""
    if not version.creator_in_content:
        return create.sender
    creator = create.content.get("creator")
    return creator if type(creator) is str else None


def creators(create: Event, version: RoomVersion) -> frozenset[str]:
    """The room's creators. spec: rooms, version 12, "Authorisation rules"."""
    creator = room_creator(create, version)
    own = frozenset() if creator is None else frozenset({creator})
    additional = create.content.get("additional_creators") if version.creators_have_infinite_power else None
    return own.union(user for user in additional if type(user) is str) if type(additional) is list else own


@attrs.frozen
class PowerLevels:
    """The power levels of a room, read once from its create and power levels events.

    Levels that are missing have their defaults; `creators` stand above everyone, where the version says so.
    """

    creators: frozenset[str]
    users: Mapping[str, int]
    users_default: int
    events: Mapping[str, int]
    events_default: int
    state_default: int
    ban: int
    kick: int
    redact: int
    invite: int
    notifications: Mapping[str, int]

    @classmethod
    def of(cls, create: Event, power_levels: Event | None, version: RoomVersion) -> PowerLevels:
        """The levels that these two events make. A value that is no level counts as missing."""
        read = level_reader(version)
        content = power_levels.content if power_levels is not None else {}
        infinite = creators(create, version) if version.creators_have_infinite_power else frozenset()
        users = _levels(content.get("users"), read)
        if power_levels is None and not infinite:
            users = dict.fromkeys(creators(create, version), 100)
        return cls(
            creators=infinite,
            users=users,
            users_default=_level(content, "users_default", 0, read),
            events=_levels(content.get("events"), read),
            events_default=_level(content, "events_default", 0, read),
            state_default=_level(content, "state_default", 50, read),
            ban=_level(content, "ban", 50, read),
            kick=_level(content, "kick", 50, read),
            redact=_level(content, "redact", 50, read),
            invite=_level(content, "invite", 0, read),
            notifications=_levels(content.get("notifications"), read),
        )

    def user(self, user_id: str) -> Level:
        """The user's power level; `INFINITE` for creators where the version says so."""
        if user_id in self.creators:
            return INFINITE
        return self.users.get(user_id, self.users_default)

    def required(self, event_type: str, is_state: bool) -> int:
        """The level that sending such an event takes. spec: server-server-api, "Required Power Level"."""
        level = self.events.get(event_type)
        if level is not None:
            return level
        return self.state_default if is_state else self.events_default

    def notification(self, key: str) -> int:
        """The level that a notification of this kind, such as `room`, takes."""
        return self.notifications.get(key, 50)


def level_reader(version: RoomVersion) -> Callable[[Any], int | None]:
    """The function that reads a level in this version, and gives None for what is none."""
    return _integer if version.integer_power_levels else _lenient_integer


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _lenient_integer(value: Any) -> int | None:
    """COMPAT: versions 1 to 9 take strings, and floats where JSON is not strict.

    spec: rooms, version 1, "m.room.power_levels events accept values as strings" and "as floats".
    """
    if type(value) is int:
        return value
    if type(value) is float and math.isfinite(value):
        return int(value)
    return _stringy_integer(value) if type(value) is str else None


def _stringy_integer(text: str) -> int | None:
    """The integer in `text`, with whitespace, a sign and leading zeroes as may be."""
    text = text.strip()
    digits = text[1:] if text.startswith(("+", "-")) else text
    if not (digits.isascii() and digits.isdecimal()):
        return None
    significant = digits.lstrip("0")
    if len(significant) > _MAX_DIGITS:
        return None
    level = int(significant or "0")
    return -level if text.startswith("-") else level


def _level(content: Mapping[str, Any], key: str, default: int, read: Callable[[Any], int | None]) -> int:
    level = read(content.get(key))
    return default if level is None else level


def _levels(value: Any, read: Callable[[Any], int | None]) -> dict[str, int]:
    if type(value) is not dict:
        return {}
    return {key: level for key, item in value.items() if (level := read(item)) is not None}


def check_power_levels(
    event: Event, create: Event, current: Event | None, levels: PowerLevels, version: RoomVersion
) -> None:
    """Check an `m.room.power_levels` event against the `current` one and the `levels` that it makes.

    Raises `AuthRefused`.
    """
    _check_shape(event.content, version)
    # 10.4 (version 12): `users` must not contain the creators.
    if version.creators_have_infinite_power:
        named = creators(create, version) & event.content.get("users", {}).keys()
        if named:
            reason = f"{min(named)} is a creator of the room and cannot be given a power level"
            raise refused(version, Rule.LEVELS_OF_CREATORS, reason)
    # 9.4: the first one in the room is allowed.
    if current is None:
        return
    _check_changes(event, current.content, levels, version)


def _check_shape(content: Mapping[str, Any], version: RoomVersion) -> None:
    read = level_reader(version)
    if version.integer_power_levels:
        # 9.1: levels that are present must be integers.
        for key in SINGLE_LEVELS:
            if key in content and read(content[key]) is None:
                raise malformed(version, Rule.LEVELS_NOT_INTEGERS, f"`{key}` is no integer")
        # 9.2: `events` and `notifications` must be objects of integers.
        for key in ("events", "notifications"):
            if key in content and not _is_object_of_levels(content[key], read):
                raise malformed(version, Rule.LEVELS_MAPS_NOT_INTEGERS, f"`{key}` is no object of integers")
    # 9.3: `users` must be an object of user ids and integers.
    users = content.get("users", {})
    if not _is_object_of_levels(users, read) or not all(map(is_user_id, users)):
        raise malformed(version, Rule.LEVELS_USERS_SHAPE, "`users` is no object of user ids and integers")


def _is_object_of_levels(value: Any, read: Callable[[Any], int | None]) -> bool:
    return type(value) is dict and all(read(item) is not None for item in value.values())


def _check_changes(
    event: Event, current: Mapping[str, Any], levels: PowerLevels, version: RoomVersion
) -> None:
    read = level_reader(version)
    own = levels.user(event.sender)
    new = event.content
    # 9.5: single levels, added, changed or removed.
    for key, old_level, new_level in _changes(current, new, SINGLE_LEVELS, read):
        if old_level is not None and old_level > own:
            raise _too_high(version, Rule.LEVELS_CURRENT_TOO_HIGH, key, old_level, own)
        if new_level is not None and new_level > own:
            raise _too_high(version, Rule.LEVELS_NEW_TOO_HIGH, key, new_level, own)
    # 9.6 and 9.7: entries of `events` and `notifications`.
    for member in ("events", "notifications") if version.limits_notification_levels else ("events",):
        for key, old_level, new_level in _entry_changes(current, new, member, read):
            if old_level is not None and old_level > own:
                raise _too_high(version, Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH, key, old_level, own)
            if new_level is not None and new_level > own:
                raise _too_high(version, Rule.LEVELS_ENTRY_NEW_TOO_HIGH, key, new_level, own)
    # 9.8 and 9.9: entries of `users`; one's own may be lowered.
    for key, old_level, new_level in _entry_changes(current, new, "users", read):
        if old_level is not None and old_level >= own and key != event.sender:
            raise _too_high(version, Rule.LEVELS_USER_CURRENT_TOO_HIGH, key, old_level, own)
        if new_level is not None and new_level > own:
            raise _too_high(version, Rule.LEVELS_USER_NEW_TOO_HIGH, key, new_level, own)


Change = tuple[str, int | None, int | None]


def _changes(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    keys: tuple[str, ...],
    read: Callable[[Any], int | None],
) -> Iterator[Change]:
    """The keys whose level differs, with the old and the new one; None stands for absence."""
    for key in keys:
        old_level, new_level = read(old.get(key)), read(new.get(key))
        if old_level != new_level:
            yield key, old_level, new_level


def _entry_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], member: str, read: Callable[[Any], int | None]
) -> Iterator[Change]:
    old_levels, new_levels = _levels(old.get(member), read), _levels(new.get(member), read)
    return _changes(old_levels, new_levels, tuple({**old_levels, **new_levels}), read)


def _too_high(version: RoomVersion, rule: Rule, key: str, level: int, own: Level) -> AuthRefused:
    return refused(version, rule, f"`{key}` at {level} is out of reach for a sender at {own}")
