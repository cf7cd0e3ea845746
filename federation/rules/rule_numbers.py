# SPDX-License-Identifier: Apache-2.0
"""The authorisation rules that can refuse an event, and their numbers in each room version's text.

Rules move when a version inserts one before them, so code names a rule and the room version knows its number.
spec: rooms, "Authorisation rules".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType


class Rule(Enum):
    """A rule of the specification under which an event may be refused."""

    CREATE_PREV_EVENTS = auto()
    CREATE_ROOM_ID = auto()
    CREATE_ROOM_VERSION = auto()
    CREATE_CREATOR = auto()
    CREATE_ADDITIONAL_CREATORS = auto()

    ROOM_ID = auto()

    AUTH_EVENTS_DUPLICATE = auto()
    AUTH_EVENTS_UNEXPECTED = auto()
    AUTH_EVENTS_REJECTED = auto()
    AUTH_EVENTS_NO_CREATE = auto()
    AUTH_EVENTS_OTHER_ROOM = auto()

    FEDERATE = auto()

    ALIASES_STATE_KEY = auto()
    ALIASES_OTHER_SERVER = auto()

    MEMBER_SHAPE = auto()
    MEMBER_AUTHORISER_SIGNATURE = auto()
    MEMBER_UNKNOWN = auto()

    JOIN_OTHER_USER = auto()
    JOIN_BANNED = auto()
    JOIN_AUTHORISER = auto()
    JOIN_OTHERWISE = auto()

    THIRD_PARTY_TARGET_BANNED = auto()
    THIRD_PARTY_NOT_SIGNED = auto()
    THIRD_PARTY_SIGNED_SHAPE = auto()
    THIRD_PARTY_OTHER_USER = auto()
    THIRD_PARTY_UNKNOWN_TOKEN = auto()
    THIRD_PARTY_OTHER_SENDER = auto()
    THIRD_PARTY_OTHERWISE = auto()

    INVITE_SENDER_NOT_JOINED = auto()
    INVITE_TARGET_JOINED_OR_BANNED = auto()
    INVITE_OTHERWISE = auto()

    LEAVE_NOT_IN_ROOM = auto()
    LEAVE_SENDER_NOT_JOINED = auto()
    LEAVE_TARGET_BANNED = auto()
    LEAVE_OTHERWISE = auto()

    BAN_SENDER_NOT_JOINED = auto()
    BAN_OTHERWISE = auto()

    KNOCK_JOIN_RULE = auto()
    KNOCK_OTHER_USER = auto()
    KNOCK_OTHERWISE = auto()

    SENDER_NOT_JOINED = auto()
    THIRD_PARTY_INVITE_LEVEL = auto()
    REQUIRED_LEVEL = auto()
    STATE_KEY_OF_OTHER_USER = auto()

    LEVELS_NOT_INTEGERS = auto()
    LEVELS_MAPS_NOT_INTEGERS = auto()
    LEVELS_USERS_SHAPE = auto()
    LEVELS_OF_CREATORS = auto()
    LEVELS_CURRENT_TOO_HIGH = auto()
    LEVELS_NEW_TOO_HIGH = auto()
    LEVELS_ENTRY_CURRENT_TOO_HIGH = auto()
    LEVELS_ENTRY_NEW_TOO_HIGH = auto()
    LEVELS_USER_CURRENT_TOO_HIGH = auto()
    LEVELS_USER_NEW_TOO_HIGH = auto()

    REDACTION_OTHERWISE = auto()


Numbers = Mapping[Rule, str]


def _inserted(numbers: Numbers, place: str, new: Mapping[Rule, str] | None = None) -> Numbers:
    """`numbers` after a rule was inserted at `place`: it and what follows beside it move down by one.

    `new` are the rules that now stand at `place`.
    """
    return MappingProxyType({rule: _moved(n, place, 1) for rule, n in numbers.items()} | dict(new or {}))


def _removed(numbers: Numbers, place: str) -> Numbers:
    """`numbers` after the rule at `place` and all below it went: what follows beside it moves up by one."""
    kept = {rule: n for rule, n in numbers.items() if n != place and not n.startswith(f"{place}.")}
    return MappingProxyType({rule: _moved(n, place, -1) for rule, n in kept.items()})


def _moved(number: str, place: str, by: int) -> str:
    """`number`, moved by so many places if it is at or after `place`, on whatever level that is."""
    parts = [int(part) for part in number.split(".")]
    at = [int(part) for part in place.split(".")]
    level = len(at) - 1
    if parts[:level] == at[:level] and len(parts) > level and parts[level] >= at[level]:
        parts[level] += by
    return ".".join(map(str, parts))


# The numbers of versions 1 and 2.
RULES_1: Numbers = MappingProxyType(
    {
        Rule.CREATE_PREV_EVENTS: "1.1",
        Rule.CREATE_ROOM_ID: "1.2",
        Rule.CREATE_ROOM_VERSION: "1.3",
        Rule.CREATE_CREATOR: "1.4",
        Rule.AUTH_EVENTS_DUPLICATE: "2.1",
        Rule.AUTH_EVENTS_UNEXPECTED: "2.2",
        Rule.AUTH_EVENTS_REJECTED: "2.3",
        Rule.AUTH_EVENTS_NO_CREATE: "2.4",
        Rule.AUTH_EVENTS_OTHER_ROOM: "2.5",
        Rule.FEDERATE: "3",
        Rule.ALIASES_STATE_KEY: "4.1",
        Rule.ALIASES_OTHER_SERVER: "4.2",
        Rule.MEMBER_SHAPE: "5.1",
        Rule.JOIN_OTHER_USER: "5.2.2",
        Rule.JOIN_BANNED: "5.2.3",
        Rule.JOIN_OTHERWISE: "5.2.6",
        Rule.THIRD_PARTY_TARGET_BANNED: "5.3.1.1",
        Rule.THIRD_PARTY_NOT_SIGNED: "5.3.1.2",
        Rule.THIRD_PARTY_SIGNED_SHAPE: "5.3.1.3",
        Rule.THIRD_PARTY_OTHER_USER: "5.3.1.4",
        Rule.THIRD_PARTY_UNKNOWN_TOKEN: "5.3.1.5",
        Rule.THIRD_PARTY_OTHER_SENDER: "5.3.1.6",
        Rule.THIRD_PARTY_OTHERWISE: "5.3.1.8",
        Rule.INVITE_SENDER_NOT_JOINED: "5.3.2",
        Rule.INVITE_TARGET_JOINED_OR_BANNED: "5.3.3",
        Rule.INVITE_OTHERWISE: "5.3.5",
        Rule.LEAVE_NOT_IN_ROOM: "5.4.1",
        Rule.LEAVE_SENDER_NOT_JOINED: "5.4.2",
        Rule.LEAVE_TARGET_BANNED: "5.4.3",
        Rule.LEAVE_OTHERWISE: "5.4.5",
        Rule.BAN_SENDER_NOT_JOINED: "5.5.1",
        Rule.BAN_OTHERWISE: "5.5.3",
        Rule.MEMBER_UNKNOWN: "5.6",
        Rule.SENDER_NOT_JOINED: "6",
        Rule.THIRD_PARTY_INVITE_LEVEL: "7.1",
        Rule.REQUIRED_LEVEL: "8",
        Rule.STATE_KEY_OF_OTHER_USER: "9",
        Rule.LEVELS_USERS_SHAPE: "10.1",
        Rule.LEVELS_CURRENT_TOO_HIGH: "10.3.1",
        Rule.LEVELS_NEW_TOO_HIGH: "10.3.2",
        Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH: "10.4.1",
        Rule.LEVELS_ENTRY_NEW_TOO_HIGH: "10.5.1",
        Rule.LEVELS_USER_CURRENT_TOO_HIGH: "10.6.1",
        Rule.LEVELS_USER_NEW_TOO_HIGH: "10.7.1",
        Rule.REDACTION_OTHERWISE: "11.3",
    }
)

# Versions 3 to 5 leave redactions to other checks.
RULES_3: Numbers = _removed(RULES_1, "11")

# Version 6 has no rule for aliases.
RULES_6: Numbers = _removed(RULES_3, "4")

RULES_7: Numbers = _inserted(
    RULES_6,
    "4.6",
    {
        Rule.KNOCK_JOIN_RULE: "4.6.1",
        Rule.KNOCK_OTHER_USER: "4.6.2",
        Rule.KNOCK_OTHERWISE: "4.6.4",
    },
)

# Versions 8 and 9: restricted joins.
RULES_8: Numbers = _inserted(
    _inserted(RULES_7, "4.2", {Rule.MEMBER_AUTHORISER_SIGNATURE: "4.2.1"}),
    "4.3.5",
    {Rule.JOIN_AUTHORISER: "4.3.5.2"},
)

RULES_10: Numbers = _inserted(
    _inserted(RULES_8, "9.1", {Rule.LEVELS_NOT_INTEGERS: "9.1"}),
    "9.2",
    {Rule.LEVELS_MAPS_NOT_INTEGERS: "9.2"},
)

# Version 11 asks for no `creator`.
RULES_11: Numbers = _removed(RULES_10, "1.4")

# Version 12 implies the create event; where that rule stood, its text has a hole.
RULES_12: Numbers = MappingProxyType(
    {
        rule: number
        for rule, number in _inserted(
            _inserted(
                _inserted(RULES_11, "2", {Rule.ROOM_ID: "2"}), "1.4", {Rule.CREATE_ADDITIONAL_CREATORS: "1.4"}
            ),
            "10.4",
            {Rule.LEVELS_OF_CREATORS: "10.4"},
        ).items()
        if rule is not Rule.AUTH_EVENTS_NO_CREATE
    }
)
