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
from federation.rules.rule_numbers import (
    RULES_1,
    RULES_3,
    RULES_6,
    RULES_7,
    RULES_8,
    RULES_10,
    RULES_11,
    RULES_12,
    Rule,
)


class EventIdFormat(Enum):
    """How an event gets its id. spec: rooms, "Event IDs"."""

    IN_PDU = "`$opaque:server`, in the PDU's `event_id`"
    HASH = "base64 of the reference hash"
    URL_SAFE_HASH = "url-safe base64 of the reference hash"


# For hot paths: looking a member up in its enumeration costs more than what it decides.
IN_PDU = EventIdFormat.IN_PDU
HASH = EventIdFormat.HASH
URL_SAFE_HASH = EventIdFormat.URL_SAFE_HASH


class StateResolution(Enum):
    """The algorithm that resolves several states into one. spec: rooms, "State resolution"."""

    V1 = "1"
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
    - `references_have_hashes`: `prev_events` and `auth_events` hold `[event id, {"sha256": reference hash}]`
      and not event ids
    - `room_id_is_create_hash`: the room id is the create event's id with the sigil `!`; the create event has
      no `room_id` and is never among `auth_events`
    - `creator_in_content`: the create event names the room's creator in `content.creator`
    - `strict_canonical_json`: events must have a canonical JSON form (no floats, integers within ±(2^53-1))
    - `integer_power_levels`: power levels must be JSON integers
    - `limits_notification_levels`: `notifications` of a power levels event is guarded like `events`
    - `aliases_rule`: a server sets its `m.room.aliases` by a rule of its own, whatever its users may else do
    - `redaction_rule`: the authorisation rules decide on redactions; what they accept takes effect
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
    references_have_hashes: bool
    room_id_is_create_hash: bool
    creator_in_content: bool
    strict_canonical_json: bool
    integer_power_levels: bool
    limits_notification_levels: bool
    aliases_rule: bool
    redaction_rule: bool
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


def _content(
    before: Mapping[str, frozenset[str]], **changes: frozenset[str] | None
) -> Mapping[str, frozenset[str]]:
    """`before` with other keys for some types, written without `m.room.`; None: the type keeps nothing."""
    changed = {f"m.room.{name}": keys for name, keys in changes.items()}
    kept = {name: keys for name, keys in before.items() if name not in changed}
    return MappingProxyType(kept | {name: keys for name, keys in changed.items() if keys is not None})


_LEVELS = frozenset(
    {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
)

_REDACTION_1 = RedactionRules(
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
            "prev_state",
            "auth_events",
            "origin",
            "origin_server_ts",
            "membership",
        }
    ),
    content=_content(
        {},
        member=frozenset({"membership"}),
        create=frozenset({"creator"}),
        join_rules=frozenset({"join_rule"}),
        power_levels=_LEVELS,
        aliases=frozenset({"aliases"}),
        history_visibility=frozenset({"history_visibility"}),
    ),
    keeps_create_content=False,
    keeps_third_party_invite_signed=False,
)

_REDACTION_6 = attrs.evolve(_REDACTION_1, content=_content(_REDACTION_1.content, aliases=None))

_REDACTION_8 = attrs.evolve(
    _REDACTION_6, content=_content(_REDACTION_6.content, join_rules=frozenset({"join_rule", "allow"}))
)

_REDACTION_9 = attrs.evolve(
    _REDACTION_8,
    content=_content(
        _REDACTION_8.content, member=frozenset({"membership", "join_authorised_via_users_server"})
    ),
)

_REDACTION_11 = attrs.evolve(
    _REDACTION_9,
    members=_REDACTION_9.members - {"origin", "membership", "prev_state"},
    content=_content(
        _REDACTION_9.content,
        create=None,  # all of it stays
        power_levels=_LEVELS | {"invite"},
        redaction=frozenset({"redacts"}),
    ),
    keeps_create_content=True,
    keeps_third_party_invite_signed=True,
)

_V1 = RoomVersion(
    identifier="1",
    event_id_format=EventIdFormat.IN_PDU,
    references_have_hashes=True,
    room_id_is_create_hash=False,
    creator_in_content=True,
    strict_canonical_json=False,
    integer_power_levels=False,
    limits_notification_levels=False,
    aliases_rule=True,
    redaction_rule=True,
    knock=False,
    restricted=False,
    knock_restricted=False,
    creators_have_infinite_power=False,
    redaction=_REDACTION_1,
    redacts_in_content=False,
    state_resolution=StateResolution.V1,
    enforces_key_validity=False,
    rule_numbers=RULES_1,
)

_V2 = attrs.evolve(_V1, identifier="2", state_resolution=StateResolution.V2)

_V3 = attrs.evolve(
    _V2,
    identifier="3",
    event_id_format=EventIdFormat.HASH,
    references_have_hashes=False,
    redaction_rule=False,
    rule_numbers=RULES_3,
)

_V4 = attrs.evolve(_V3, identifier="4", event_id_format=EventIdFormat.URL_SAFE_HASH)

_V5 = attrs.evolve(_V4, identifier="5", enforces_key_validity=True)

_V6 = attrs.evolve(
    _V5,
    identifier="6",
    strict_canonical_json=True,
    limits_notification_levels=True,
    aliases_rule=False,
    redaction=_REDACTION_6,
    rule_numbers=RULES_6,
)

_V7 = attrs.evolve(_V6, identifier="7", knock=True, rule_numbers=RULES_7)

_V8 = attrs.evolve(_V7, identifier="8", restricted=True, redaction=_REDACTION_8, rule_numbers=RULES_8)

_V9 = attrs.evolve(_V8, identifier="9", redaction=_REDACTION_9)

_V10 = attrs.evolve(
    _V9, identifier="10", integer_power_levels=True, knock_restricted=True, rule_numbers=RULES_10
)

_V11 = attrs.evolve(
    _V10,
    identifier="11",
    creator_in_content=False,
    redaction=_REDACTION_11,
    redacts_in_content=True,
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

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {v.identifier: v for v in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)}
)

DEFAULT_ROOM_VERSION = "12"


def room_version(identifier: str) -> RoomVersion:
    """The room version called `identifier`. Raises `UnknownRoomVersion`."""
    version = ROOM_VERSIONS.get(identifier)
    if version is None:
        raise UnknownRoomVersion(identifier)
    return version
