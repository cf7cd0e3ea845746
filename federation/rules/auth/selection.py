# SPDX-License-Identifier: Apache-2.0
"""Which state events an event must cite as its `auth_events`, and whether those it cites are right.

spec: server-server-api, "Auth events selection";
rooms, "Authorisation rules", 2 (version 11), 3 (version 12).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from federation.rules.auth.refusal import refused
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event

_CREATE = ("m.room.create", "")
_POWER_LEVELS = ("m.room.power_levels", "")
_JOIN_RULES = ("m.room.join_rules", "")


def auth_event_keys(
    event_type: str,
    state_key: str | None,
    sender: str,
    content: Mapping[str, Any],
    version: RoomVersion,
) -> list[tuple[str, str]]:
    """The keys, `(type, state_key)`, of the state events that such an event is to cite as `auth_events`.

    Each key comes once; those that the state lacks are left out by whoever looks them up.
    """
    if event_type == "m.room.create":
        return []
    keys = [_POWER_LEVELS, ("m.room.member", sender)]
    if not version.room_id_is_create_hash:
        keys.insert(0, _CREATE)
    if event_type == "m.room.member":
        keys += (key for key in _member_keys(state_key, content, version) if key not in keys)
    return keys


def _member_keys(
    target: str | None, content: Mapping[str, Any], version: RoomVersion
) -> dict[tuple[str, str], None]:
    """What a member event cites besides, in order and without repeats."""
    keys: dict[tuple[str, str], None] = {}
    membership = content.get("membership")
    if target is not None:
        keys["m.room.member", target] = None
    if membership in ("join", "invite", "knock"):
        keys[_JOIN_RULES] = None
    if membership == "invite":
        token = _third_party_token(content)
        if token is not None:
            keys["m.room.third_party_invite", token] = None
    authoriser = content.get("join_authorised_via_users_server")
    if membership == "join" and version.restricted and isinstance(authoriser, str):
        keys["m.room.member", authoriser] = None
    return keys


def _third_party_token(content: Mapping[str, Any]) -> str | None:
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None


def judging_events(event: Event, version: RoomVersion) -> set[str]:
    """The events by which `event` is judged: its auth events, and the create event where it is implied."""
    cited = set(event.auth_events)
    if version.room_id_is_create_hash and event.type != "m.room.create":
        cited.add("$" + event.room_id[1:])
    return cited


def check_auth_events(
    event: Event, auth_events: Sequence[Event], rejected: Container[str], version: RoomVersion
) -> None:
    """Check that the events which `event` cites as `auth_events` are such as it may cite.

    `rejected` holds the ids of rejected events; in version 12 also the create event's, which is implied.
    Raises `AuthRefused`.
    """
    # 1: a create event cites nothing; other rules judge it.
    if event.type == "m.room.create":
        return
    _check_implied_create(event, rejected, version)
    allowed = auth_event_keys(event.type, event.state_key, event.sender, event.content, version)
    cited: set[tuple[str, str | None]] = set()
    for auth_event in auth_events:
        key = (auth_event.type, auth_event.state_key)
        # 2.1: no duplicates.
        if key in cited:
            raise refused(version, Rule.AUTH_EVENTS_DUPLICATE, f"two auth events are for {key}")
        # 2.2: only what the selection names.
        if key not in allowed:
            raise refused(version, Rule.AUTH_EVENTS_UNEXPECTED, f"the event may not cite {key}")
        # 2.3: none that was rejected.
        if auth_event.event_id in rejected:
            reason = f"the auth event {auth_event.event_id} was rejected"
            raise refused(version, Rule.AUTH_EVENTS_REJECTED, reason)
        # 2.5: all of this room.
        if auth_event.room_id != event.room_id:
            reason = f"the auth event {auth_event.event_id} is of another room"
            raise refused(version, Rule.AUTH_EVENTS_OTHER_ROOM, reason)
        cited.add(key)
    # 2.4: the create event must be among them.
    if not version.room_id_is_create_hash and _CREATE not in cited:
        raise refused(version, Rule.AUTH_EVENTS_NO_CREATE, "the event does not cite the create event")


def _check_implied_create(event: Event, rejected: Container[str], version: RoomVersion) -> None:
    """2 (version 12): the room id must be that of a create event which was not rejected."""
    if version.room_id_is_create_hash and "$" + event.room_id[1:] in rejected:
        raise refused(version, Rule.ROOM_ID, "the room's create event was rejected")
