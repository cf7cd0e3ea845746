# SPDX-License-Identifier: Apache-2.0
"""Rooms: what new ones are like, which may be joined, what is kept of old ones."""

from __future__ import annotations

import attrs

from federation.rules.errors import InvalidIdentifier
from federation.rules.identifiers import parse_alias
from federation.rules.room_versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS
from homeserver.config.collections import ListOf
from homeserver.config.keys import RecordOf, key, nullable
from homeserver.config.kinds import Boolean, Number, Text
from homeserver.config.place import Place
from homeserver.config.quantities import Duration


@attrs.frozen
class RoomVersionName:
    """The name of a room version that this server knows; a number stands for its text."""

    expected: str = attrs.field(default=f"one of the room versions {', '.join(ROOM_VERSIONS)}", init=False)

    def read(self, value: object, at: Place) -> str:
        for name in ROOM_VERSIONS:
            if value == name or (isinstance(value, int) and name.isdecimal() and value == int(name)):
                return name
        raise at.wrong(value, self.expected)


@attrs.frozen
class RoomAlias:
    """A room alias."""

    expected: str = attrs.field(default='a room alias in quotes such as "#lobby:example.org"', init=False)

    def read(self, value: object, at: Place) -> str:
        text = Text(self.expected).read(value, at)
        try:
            parse_alias(text)
        except InvalidIdentifier:
            raise at.wrong(value, self.expected) from None
        return text


@attrs.frozen(kw_only=True)
class LimitRemoteRooms:
    """Large rooms of other servers."""

    enabled: bool = key(Boolean(), """Whether joins to very complex rooms are refused.""", default=False)
    complexity: float = key(
        Number(),
        """How complex a room may be: its number of current state events divided by 500.""",
        default=1.0,
    )
    complexity_error: str = key(
        Text(),
        """What the user is told.""",
        default="This room is too large for this server.",
    )
    admins_can_join: bool = key(
        Boolean(), """Whether administrators may join them all the same.""", default=False
    )


@attrs.frozen(kw_only=True)
class RoomsConfig:
    """Rooms; durations in milliseconds."""

    default_room_version: str = key(
        RoomVersionName(),
        """The version of new rooms for which the client names none.""",
        default=DEFAULT_ROOM_VERSION,
    )
    auto_join_rooms: tuple[str, ...] = key(
        ListOf(RoomAlias()),
        """Rooms that every new user joins.""",
        default=[],
        example=["#lobby:example.org"],
    )
    autocreate_auto_join_rooms: bool = key(
        Boolean(),
        """Whether those of them that do not exist are created when the first user joins.""",
        default=True,
    )
    allow_public_rooms_without_auth: bool = key(
        Boolean(), """Whether the list of public rooms can be read without an account.""", default=False
    )
    allow_public_rooms_over_federation: bool = key(
        Boolean(), """Whether other servers may read the list of public rooms.""", default=False
    )
    limit_remote_rooms: LimitRemoteRooms = key(
        RecordOf(LimitRemoteRooms), """Protects a small server from very large rooms.""", default={}
    )
    redaction_retention_period: int | None = nullable(
        Duration(),
        """How long the original of a redacted event is kept for administrators. null: for ever.""",
        default="7d",
    )
    forget_rooms_on_leave: bool = key(
        Boolean(), """Whether a user who leaves a room forgets it at once.""", default=False
    )
    forgotten_room_retention_period: int | None = nullable(
        Duration(),
        """How long a room is kept that all local users have left and forgotten. null: for ever.""",
        default="28d",
    )
