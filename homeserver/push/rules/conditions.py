# SPDX-License-Identifier: Apache-2.0
"""The conditions of push rules: JSON in, values with `matches` out.

spec: client-server-api, "Push Rules", "Conditions"; data: push_condition
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import attrs
from msgspec import UNSET

from homeserver.push.rules.context import DisplayNames, EventView, Occasion
from homeserver.push.rules.glob import Glob, compile_glob, contains_words, fold
from homeserver.rooms.property_path import parse_path

TYPE_PATH: Final = ("type",)
BODY_PATH: Final = ("content", "body")
_LARGEST_INTEGER: Final = 2**53 - 1
_MEMBER_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})", re.ASCII)
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class OwnerId(str):
    """Stands in the JSON of a default rule for the id of whoever owns the rules."""

    __slots__ = ()


class Condition(Protocol):
    """Something that holds of an event for the owner of a rule, or does not."""

    def matches(self, occasion: Occasion) -> bool: ...


@attrs.frozen
class Never:
    """A condition that is not understood. It matches no event."""

    def matches(self, occasion: Occasion) -> bool:  # noqa: ARG002
        return False


@attrs.frozen
class PropertyMatch:
    """`event_match`: a glob over the whole value."""

    path: tuple[str, ...]
    glob: Glob

    def matches(self, occasion: Occasion) -> bool:
        value = occasion.event.folded(self.path)
        return value is not None and self.glob.matches(value)


@attrs.frozen
class BodyMatch:
    """`event_match` on `content.body`, and content rules: a glob over words."""

    glob: Glob

    def matches(self, occasion: Occasion) -> bool:
        body = occasion.event.folded_body()
        return body is not None and self.glob.matches_words(body)


@attrs.frozen
class PropertyIs:
    """`event_property_is`."""

    path: tuple[str, ...]
    value: str | int | bool | None

    def matches(self, occasion: Occasion) -> bool:
        return _same(occasion.event.value(self.path), self.value)


@attrs.frozen
class PropertyContains:
    """`event_property_contains`."""

    path: tuple[str, ...]
    value: str | int | bool | None

    def matches(self, occasion: Occasion) -> bool:
        values = occasion.event.value(self.path)
        return isinstance(values, list) and any(_same(value, self.value) for value in values)


@attrs.frozen
class OwnerIs:
    """The property is the owner's id. It minds case, unlike globs: ids that differ in it are two users."""

    path: tuple[str, ...]

    def matches(self, occasion: Occasion) -> bool:
        user_id = occasion.owner.user_id
        return user_id is not None and occasion.event.value(self.path) == user_id

    def named(self, event: EventView, names: DisplayNames | None) -> Iterable[str]:  # noqa: ARG002
        """The owners for whom the condition holds."""
        value = event.value(self.path)
        return (value,) if isinstance(value, str) else ()


@attrs.frozen
class OwnerIn:
    """The property is an array that holds the owner's id."""

    path: tuple[str, ...]

    def matches(self, occasion: Occasion) -> bool:
        return occasion.owner.user_id in occasion.event.strings(self.path)

    def named(self, event: EventView, names: DisplayNames | None) -> Iterable[str]:  # noqa: ARG002
        """The owners for whom the condition holds."""
        return event.strings(self.path)


@attrs.frozen
class ContainsDisplayName:
    """`contains_display_name`: the owner's name in the room stands in `content.body`, as words."""

    def matches(self, occasion: Occasion) -> bool:
        name = occasion.owner.display_name
        if not name:
            return False
        body = occasion.event.folded_body()
        return body is not None and contains_words(body, fold(name))

    def named(self, event: EventView, names: DisplayNames | None) -> Iterable[str]:
        """The owners for whom the condition holds. Raises `ValueError` without `names`."""
        if names is None:
            raise ValueError("rules with contains_display_name need the display names of the room")
        body = event.folded_body()
        return names.matching(body) if body is not None else ()


OwnerCondition: TypeAlias = OwnerIs | OwnerIn | ContainsDisplayName
"""A condition that holds for those owners whom the event names, and for nobody else."""


@attrs.frozen
class MemberCount:
    """`room_member_count`."""

    compare: Callable[[int, int], bool]
    number: int

    def matches(self, occasion: Occasion) -> bool:
        return self.compare(occasion.room.member_count, self.number)


@attrs.frozen
class SenderPermission:
    """`sender_notification_permission`."""

    key: str

    def matches(self, occasion: Occasion) -> bool:
        return occasion.room.sender_level >= occasion.room.notification_level(self.key)


def read_condition(json: Mapping[str, Any]) -> Condition:
    """The condition that `json` describes; one that is unknown or malformed never matches."""
    kind = json.get("kind")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return read(json) if read is not None else Never()


def _same(value: Any, wanted: str | int | bool | None) -> bool:
    # True == 1 in Python; JSON knows better.
    return type(value) is type(wanted) and value == wanted


def _event_match(json: Mapping[str, Any]) -> Condition:
    key, pattern = json.get("key"), json.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return Never()
    path = parse_path(key)
    if isinstance(pattern, OwnerId):
        return OwnerIs(path)
    glob = compile_glob(pattern)
    return BodyMatch(glob) if path == BODY_PATH else PropertyMatch(path, glob)


def _property(json: Mapping[str, Any]) -> tuple[tuple[str, ...], Any] | None:
    key, value = json.get("key"), json.get("value", UNSET)
    if not isinstance(key, str):
        return None
    if not (value is None or isinstance(value, (str, int))):
        return None
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return None
    return parse_path(key), value


def _event_property_is(json: Mapping[str, Any]) -> Condition:
    read = _property(json)
    return PropertyIs(*read) if read is not None else Never()


def _event_property_contains(json: Mapping[str, Any]) -> Condition:
    read = _property(json)
    if read is None:
        return Never()
    path, value = read
    return OwnerIn(path) if isinstance(value, OwnerId) else PropertyContains(path, value)


def _room_member_count(json: Mapping[str, Any]) -> Condition:
    comparison = json.get("is")
    found = _MEMBER_COUNT.fullmatch(comparison) if isinstance(comparison, str) else None
    if found is None:
        return Never()
    return MemberCount(_COMPARISONS[found[1] or "=="], int(found[2]))


def _sender_notification_permission(json: Mapping[str, Any]) -> Condition:
    key = json.get("key")
    return SenderPermission(key) if isinstance(key, str) else Never()


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Condition]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": lambda _: ContainsDisplayName(),
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}
