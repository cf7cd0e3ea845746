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
    CREATE_ADDITIONAL_CREATORS = auto()

    ROOM_ID = auto()

    AUTH_EVENTS_DUPLICATE = auto()
    AUTH_EVENTS_UNEXPECTED = auto()
    AUTH_EVENTS_REJECTED = auto()
    AUTH_EVENTS_NO_CREATE = auto()
    AUTH_EVENTS_OTHER_ROOM = auto()

    FEDERATE = auto()

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


# The numbers of version 11.
RULES_11: Mapping[Rule, str] = MappingProxyType(
    {
        Rule.CREATE_PREV_EVENTS: "1.1",
        Rule.CREATE_ROOM_ID: "1.2",
        Rule.CREATE_ROOM_VERSION: "1.3",
        Rule.AUTH_EVENTS_DUPLICATE: "2.1",
        Rule.AUTH_EVENTS_UNEXPECTED: "2.2",
        Rule.AUTH_EVENTS_REJECTED: "2.3",
        Rule.AUTH_EVENTS_NO_CREATE: "2.4",
        Rule.AUTH_EVENTS_OTHER_ROOM: "2.5",
        Rule.FEDERATE: "3",
        Rule.MEMBER_SHAPE: "4.1",
        Rule.MEMBER_AUTHORISER_SIGNATURE: "4.2.1",
        Rule.JOIN_OTHER_USER: "4.3.2",
        Rule.JOIN_BANNED: "4.3.3",
        Rule.JOIN_AUTHORISER: "4.3.5.2",
        Rule.JOIN_OTHERWISE: "4.3.7",
        Rule.THIRD_PARTY_TARGET_BANNED: "4.4.1.1",
        Rule.THIRD_PARTY_NOT_SIGNED: "4.4.1.2",
        Rule.THIRD_PARTY_SIGNED_SHAPE: "4.4.1.3",
        Rule.THIRD_PARTY_OTHER_USER: "4.4.1.4",
        Rule.THIRD_PARTY_UNKNOWN_TOKEN: "4.4.1.5",
        Rule.THIRD_PARTY_OTHER_SENDER: "4.4.1.6",
        Rule.THIRD_PARTY_OTHERWISE: "4.4.1.8",
        Rule.INVITE_SENDER_NOT_JOINED: "4.4.2",
        Rule.INVITE_TARGET_JOINED_OR_BANNED: "4.4.3",
        Rule.INVITE_OTHERWISE: "4.4.5",
        Rule.LEAVE_NOT_IN_ROOM: "4.5.1",
        Rule.LEAVE_SENDER_NOT_JOINED: "4.5.2",
        Rule.LEAVE_TARGET_BANNED: "4.5.3",
        Rule.LEAVE_OTHERWISE: "4.5.5",
        Rule.BAN_SENDER_NOT_JOINED: "4.6.1",
        Rule.BAN_OTHERWISE: "4.6.3",
        Rule.KNOCK_JOIN_RULE: "4.7.1",
        Rule.KNOCK_OTHER_USER: "4.7.2",
        Rule.KNOCK_OTHERWISE: "4.7.4",
        Rule.MEMBER_UNKNOWN: "4.8",
        Rule.SENDER_NOT_JOINED: "5",
        Rule.THIRD_PARTY_INVITE_LEVEL: "6.1",
        Rule.REQUIRED_LEVEL: "7",
        Rule.STATE_KEY_OF_OTHER_USER: "8",
        Rule.LEVELS_NOT_INTEGERS: "9.1",
        Rule.LEVELS_MAPS_NOT_INTEGERS: "9.2",
        Rule.LEVELS_USERS_SHAPE: "9.3",
        Rule.LEVELS_CURRENT_TOO_HIGH: "9.5.1",
        Rule.LEVELS_NEW_TOO_HIGH: "9.5.2",
        Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH: "9.6.1",
        Rule.LEVELS_ENTRY_NEW_TOO_HIGH: "9.7.1",
        Rule.LEVELS_USER_CURRENT_TOO_HIGH: "9.8.1",
        Rule.LEVELS_USER_NEW_TOO_HIGH: "9.9.1",
    }
)


def moved_down(number: str) -> str:
    """`number` after a rule was inserted before its first component."""
    head, dot, rest = number.partition(".")
    return f"{int(head) + 1}{dot}{rest}"


# Version 12 inserts 1.4, 2 and 10.4, and has no 3.4 (its text goes on with 3.5).
RULES_12: Mapping[Rule, str] = MappingProxyType(
    {rule: number if number.startswith("1.") else moved_down(number) for rule, number in RULES_11.items()}
    | {
        Rule.CREATE_ADDITIONAL_CREATORS: "1.4",
        Rule.ROOM_ID: "2",
        Rule.LEVELS_OF_CREATORS: "10.4",
        Rule.LEVELS_CURRENT_TOO_HIGH: "10.6.1",
        Rule.LEVELS_NEW_TOO_HIGH: "10.6.2",
        Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH: "10.7.1",
        Rule.LEVELS_ENTRY_NEW_TOO_HIGH: "10.8.1",
        Rule.LEVELS_USER_CURRENT_TOO_HIGH: "10.9.1",
        Rule.LEVELS_USER_NEW_TOO_HIGH: "10.10.1",
    }
)
