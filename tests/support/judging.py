# SPDX-License-Identifier: Apache-2.0
"""Events and states of a few facts, to be judged by the authorisation rules one branch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.rules.auth.power_levels import PowerLevels
from federation.rules.auth.rules import check_auth
from federation.rules.auth.state import AuthStateOf
from federation.rules.errors import AuthRefused
from federation.rules.event_json import encode_event
from federation.rules.hashing import content_hash, event_id, room_id_of_create
from federation.rules.identifiers import server_of
from federation.rules.room_versions import ROOM_VERSIONS, EventIdFormat, RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event

VERSIONS = list(ROOM_VERSIONS.values())

CREATOR = "@creator:a.example"
ADMIN = "@admin:a.example"
MODERATOR = "@moderator:a.example"
USER = "@user:b.example"
OTHER = "@other:c.example"

# The first version that knows a join rule.
JOIN_RULES = {"public": 1, "invite": 1, "knock": 7, "restricted": 8, "knock_restricted": 10}

LEVELS = {CREATOR: 100, ADMIN: 100, MODERATOR: 50}


def create_event(version: RoomVersion, content: Mapping[str, Any] | None = None, **members: Any) -> Event:
    """A create event by `CREATOR`; its signature plays no part here."""
    own = {} if version.room_id_is_create_hash else {"room_id": "!room:a.example"}
    creator = {"creator": CREATOR} if version.creator_in_content else {}
    return bare_event(
        version,
        "m.room.create",
        CREATOR,
        {"room_version": version.identifier, **creator, **(content or {})},
        state_key="",
        **{**own, **members},
    )


def bare_event(
    version: RoomVersion,
    event_type: str,
    sender: str,
    content: Mapping[str, Any],
    state_key: str | None = None,
    **members: Any,
) -> Event:
    """An event with these members, without hashes and signatures."""
    pdu: dict[str, Any] = {
        "type": event_type,
        "sender": sender,
        "content": dict(content),
        "origin_server_ts": 0,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
        **({} if state_key is None else {"state_key": state_key}),
        **members,
    }
    if version.event_id_format is EventIdFormat.IN_PDU:
        pdu.setdefault("event_id", f"${content_hash(pdu, version).hex()}:{server_of(sender)}")
    name = event_id(pdu, version)
    return Event.decode(encode_event(pdu, version), name, pdu.get("room_id", room_id_of_create(name)))


class Facts:
    """The facts of a room of a version: its create event, levels, join rule, memberships, pending invites."""

    def __init__(
        self,
        version: RoomVersion,
        members: Mapping[str, str] | None = None,
        levels: Mapping[str, Any] | None = None,
        join_rule: Any = None,
        create: Mapping[str, Any] | None = None,
        invites: Mapping[str, Event] | None = None,
        users: Mapping[str, int] | None = None,
    ) -> None:
        """`levels` is the content of the power levels event, `users` its users.

        With neither there is no such event. The creator is left out of `users` where they are above all.
        """
        self.version = version
        self.create = create_event(version, create)
        if users is not None:
            infinite = version.creators_have_infinite_power
            named = {user: level for user, level in users.items() if not (infinite and user == CREATOR)}
            levels = {**(levels or {}), "users": named}
        self.state = AuthStateOf(
            create=self.create,
            power_levels=None if levels is None else self._state_event("m.room.power_levels", levels),
            join_rules=None if join_rule is None else self._state_event("m.room.join_rules", join_rule),
            memberships=members or {},
            third_party_invites=invites or {},
        )

    def _state_event(self, event_type: str, content: Any) -> Event:
        if not isinstance(content, Mapping):
            content = {"join_rule": content}
        return self.event(event_type, CREATOR, content, state_key="")

    def event(
        self,
        event_type: str,
        sender: str,
        content: Mapping[str, Any] | None = None,
        state_key: str | None = None,
        **members: Any,
    ) -> Event:
        """An event of this room."""
        room = {"room_id": self.create.room_id}
        return bare_event(
            self.version, event_type, sender, content or {}, state_key=state_key, **{**room, **members}
        )

    def member(self, sender: str, target: str | None, membership: Any, **content: Any) -> Event:
        """A member event of this room."""
        return self.event(
            "m.room.member",
            sender,
            {"membership": membership, **content},
            state_key=target,
            prev_events=["$x"],
        )

    def levels(self) -> PowerLevels:
        """The power levels of this room."""
        return PowerLevels.of(self.create, self.state.power_levels, self.version)

    def refusal(self, event: Event, join_authoriser_signed: bool = False) -> str | None:
        """The number of the rule that refuses the event here; None where it is allowed.

        Asks twice, with power levels read by the rules and handed in: both must agree.
        """
        numbers = {self._refusal(event, join_authoriser_signed, levels) for levels in (None, self.levels())}
        (number,) = numbers
        return number

    def _refusal(self, event: Event, signed: bool, levels: PowerLevels | None) -> str | None:
        try:
            check_auth(event, self.state, self.version, power_levels=levels, join_authoriser_signed=signed)
        except AuthRefused as error:
            return error.rule
        return None


def since(version: RoomVersion, first: int) -> bool:
    """Whether `version` is that version or a later one."""
    return int(version.identifier) >= first


def number(rule: Rule | None, version: RoomVersion) -> str | None:
    """The number of a rule in the text of `version`; None stands for "allowed"."""
    return None if rule is None else version.rule_numbers[rule]
