# SPDX-License-Identifier: Apache-2.0
"""Room versions as records of named switches. Rules ask for a switch, never for a version's name.

spec: rooms; each version is the previous one with some fields changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType

import attrs

from federation.rules.errors import UnknownRoomVersion
from federation.rules.rule_numbers import RULES_11, RULES_12, Rule


class EventIdFormat(Enum):
    """How an event gets its id. spec: rooms, "Event IDs"."""

    URL_SAFE_HASH = "url-safe base64 of the reference hash"


class StateResolution(Enum):
    """The algorithm that resolves several states into one. spec: rooms, "State resolution"."""

    V2 = "2"
    V2_1 = "2.1"


@attrs.frozen
class RedactionRules:
    """What redaction leaves of an event. spec: rooms, "Redactions".

    `members` are the top-level keys that stay; `content` the keys of `content` that stay, per event type
    (a type that is not listed keeps none).
    """

    members: frozenset[str]
    content: Mapping[str, frozenset[str]]
    keeps_create_content: bool
    keeps_third_party_invite_signed: bool


@attrs.frozen(eq=False)
class RoomVersion:
    """What is particular to a room version.

    - `event_id_format`: how event ids are made
    - `room_id_is_create_hash`: the room id is the create event's id with the sigil `!`; the create event has
      no `room_id` and is never among `auth_events`
    - `strict_canonical_json`: events must have a canonical JSON form (no floats, integers within ±(2^53-1))
    - `integer_power_levels`: power levels must be JSON integers
    - `limits_notification_levels`: `notifications` of a power levels event is guarded like `events`
    - `knock`, `restricted`, `knock_restricted`: the join rules (and the membership) of these names exist
    - `creators_have_infinite_power`: creators stand above all levels; `additional_creators` counts
    - `redaction`: what redaction keeps
    - `redacts_in_content`: a redaction names its target in `content.redacts` and not at the top level
    - `state_resolution`: the algorithm that resolves states
    - `enforces_key_validity`: a signing key must be valid at an event's `origin_server_ts`
    - `rule_numbers`: the number of each authorisation rule in this version's text
    """

    identifier: str
    event_id_format: EventIdFormat
    room_id_is_create_hash: bool
    strict_canonical_json: bool
    integer_power_levels: bool
    limits_notification_levels: bool
    knock: bool
    restricted: bool
    knock_restricted: bool
    creators_have_infinite_power: bool
    redaction: RedactionRules
    redacts_in_content: bool
    state_resolution: StateResolution
    enforces_key_validity: bool
    rule_numbers: Mapping[Rule, str]

    def __reduce__(self) -> tuple[Callable[[str], RoomVersion], tuple[str]]:
        # Between processes a version travels as its name.
        return (room_version, (self.identifier,))


_REDACTION_11 = RedactionRules(
    members=frozenset(
        {
            "event_id",
            "type",
            "room_id",
            "sender",
            "state_key",
            "content",
            "hashes",
            "signatures",
            "depth",
            "prev_events",
            "auth_events",
            "origin_server_ts",
        }
    ),
    content=MappingProxyType(
        {
            "m.room.member": frozenset({"membership", "join_authorised_via_users_server"}),
            "m.room.join_rules": frozenset({"join_rule", "allow"}),
            "m.room.power_levels": frozenset(
                {
                    "ban",
                    "events",
                    "events_default",
                    "invite",
                    "kick",
                    "redact",
                    "state_default",
                    "users",
                    "users_default",
                }
            ),
            "m.room.history_visibility": frozenset({"history_visibility"}),
            "m.room.redaction": frozenset({"redacts"}),
        }
    ),
    keeps_create_content=True,
    keeps_third_party_invite_signed=True,
)

_V11 = RoomVersion(
    identifier="11",
    event_id_format=EventIdFormat.URL_SAFE_HASH,
    room_id_is_create_hash=False,
    strict_canonical_json=True,
    integer_power_levels=True,
    limits_notification_levels=True,
    knock=True,
    restricted=True,
    knock_restricted=True,
    creators_have_infinite_power=False,
    redaction=_REDACTION_11,
    redacts_in_content=True,
    state_resolution=StateResolution.V2,
    enforces_key_validity=True,
    rule_numbers=RULES_11,
)

_V12 = attrs.evolve(
    _V11,
    identifier="12",
    room_id_is_create_hash=True,
    creators_have_infinite_power=True,
    state_resolution=StateResolution.V2_1,
    rule_numbers=RULES_12,
)

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType({v.identifier: v for v in (_V11, _V12)})

DEFAULT_ROOM_VERSION = "12"


def room_version(identifier: str) -> RoomVersion:
    """The room version called `identifier`. Raises `UnknownRoomVersion`."""
    version = ROOM_VERSIONS.get(identifier)
    if version is None:
        raise UnknownRoomVersion(identifier)
    return version
