# SPDX-License-Identifier: Apache-2.0
"""The events that a room begins with, in their order, as drafts: a pure function of what is asked for.

spec: client-server-api, "Creation", `POST /createRoom`
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from federation.errors import BadJson
from federation.graph.drafts import Draft
from federation.rules.room_versions import RoomVersion
from homeserver.rooms.room_options import Preset, RoomOptions

_CREATOR_LEVEL = 100
_EVENT_LEVELS: Mapping[str, int] = MappingProxyType(
    {
        "m.room.name": 50,
        "m.room.avatar": 50,
        "m.room.canonical_alias": 50,
        "m.room.power_levels": 100,
        "m.room.history_visibility": 100,
        "m.room.encryption": 100,
        "m.room.server_acl": 100,
        "m.room.tombstone": 100,
    }
)
_CALL_LEVEL = 50
"""In a public room not everybody who comes along makes the telephones of all ring."""
_TOMBSTONE_LEVEL = 150
"""Where creators stand above all levels, an upgrade is theirs."""


@attrs.frozen
class _Defaults:
    """What a preset says of the room's state; `invite` is the level that inviting takes."""

    join_rule: str
    guest_access: str
    invite: int
    trusts_invited: bool = False


_PRESETS: Mapping[Preset, _Defaults] = MappingProxyType(
    {
        "private_chat": _Defaults("invite", "can_join", invite=0),
        "trusted_private_chat": _Defaults("invite", "can_join", invite=0, trusts_invited=True),
        "public_chat": _Defaults("public", "forbidden", invite=50),
    }
)


@attrs.frozen(kw_only=True)
class FirstEvents:
    """The first events of the room that `creator` wants.

    `members` are the contents of the member events of the creator and of those who are invited, in order.
    """

    creator: str
    version: RoomVersion
    options: RoomOptions
    members: Mapping[str, Mapping[str, Any]]
    canonical_alias: str | None = None

    @property
    def _defaults(self) -> _Defaults:
        return _PRESETS[self.options.chosen_preset]

    @property
    def _trusted(self) -> tuple[str, ...]:
        """Those of the invited who get the power of the creator."""
        return self.options.invited if self._defaults.trusts_invited else ()

    def create(self) -> Draft:
        """`m.room.create`. Raises `BadJson`."""
        content = dict(self.options.creation_content or {})
        content.pop("creator", None)
        if self.version.creator_in_content:
            content["creator"] = self.creator
        content["room_version"] = self.version.identifier
        _check_kind(content, "m.federate", bool)
        _check_kind(content, "type", str)
        if self.version.creators_have_infinite_power and self._trusted:
            given = content.get("additional_creators", [])
            if not isinstance(given, list) or not all(isinstance(user_id, str) for user_id in given):
                raise BadJson("creation_content.additional_creators: must be an array of user ids")
            content["additional_creators"] = list(dict.fromkeys((*given, *self._trusted)))
        return self._state("m.room.create", content)

    def after_create(self) -> list[Draft]:
        """All that follows the create event."""
        options = self.options
        drafts = [
            self._member(self.creator),
            self._state("m.room.power_levels", self._power_levels()),
        ]
        if self.canonical_alias is not None:
            drafts.append(self._state("m.room.canonical_alias", {"alias": self.canonical_alias}))
        drafts += self._of_preset()
        drafts += self._initial_state()
        if options.name is not None:
            drafts.append(self._state("m.room.name", {"name": options.name}))
        if options.topic is not None:
            representations = {"m.text": [{"body": options.topic}]}
            drafts.append(self._state("m.room.topic", {"topic": options.topic, "m.topic": representations}))
        drafts += [self._member(user_id) for user_id in options.invited]
        return drafts

    def _power_levels(self) -> dict[str, Any]:
        users = dict.fromkeys((self.creator, *self._trusted), _CREATOR_LEVEL)
        events = dict(_EVENT_LEVELS)
        if self.options.chosen_preset == "public_chat":
            events["m.call.invite"] = _CALL_LEVEL
        if self.version.creators_have_infinite_power:
            users = {}
            events["m.room.tombstone"] = _TOMBSTONE_LEVEL
        return {
            "users": users,
            "users_default": 0,
            "events": events,
            "events_default": 0,
            "state_default": 50,
            "ban": 50,
            "kick": 50,
            "redact": 50,
            "invite": self._defaults.invite,
            **(self.options.power_level_content_override or {}),
        }

    def _of_preset(self) -> list[Draft]:
        """The preset's state events, but for those that `initial_state` sets."""
        overridden = {event.type for event in self.options.initial_state or () if not event.state_key}
        contents = {
            "m.room.join_rules": {"join_rule": self._defaults.join_rule},
            "m.room.history_visibility": {"history_visibility": "shared"},
            "m.room.guest_access": {"guest_access": self._defaults.guest_access},
        }
        return [self._state(type_, content) for type_, content in contents.items() if type_ not in overridden]

    def _initial_state(self) -> list[Draft]:
        """The events of `initial_state`, but for those that `name` and `topic` overwrite."""
        overwritten = {
            type_
            for type_, value in (("m.room.name", self.options.name), ("m.room.topic", self.options.topic))
            if value is not None
        }
        return [
            Draft(self.creator, event.type, event.content, state_key=event.state_key)
            for event in self.options.initial_state or ()
            if event.state_key or event.type not in overwritten
        ]

    def _member(self, user_id: str) -> Draft:
        return Draft(self.creator, "m.room.member", self.members[user_id], state_key=user_id)

    def _state(self, event_type: str, content: Mapping[str, Any]) -> Draft:
        return Draft(self.creator, event_type, content, state_key="")


def _check_kind(content: Mapping[str, Any], key: str, kind: type) -> None:
    if key in content and not isinstance(content[key], kind):
        raise BadJson(f"creation_content.{key}: must be a {'boolean' if kind is bool else 'string'}")
