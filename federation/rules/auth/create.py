# SPDX-License-Identifier: Apache-2.0
"""Rule 1: `m.room.create`; and whether the room lets other servers in.

spec: rooms, "Authorisation rules", 1, 2 (version 12) and 3 (4 in version 12).
"""

from __future__ import annotations

from federation.rules.auth.refusal import refused
from federation.rules.canonical_json import decode_json
from federation.rules.errors import InvalidIdentifier
from federation.rules.hashing import room_id_of_create
from federation.rules.identifiers import is_user_id, server_of
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event


def check_create(event: Event, version: RoomVersion) -> None:
    """Check an `m.room.create` event. Raises `AuthRefused`."""
    # 1.1: it must have no `prev_events`.
    if event.prev_events:
        raise refused(version, Rule.CREATE_PREV_EVENTS, "a create event has prev events")
    _check_room_id(event, version)
    # 1.3: a `room_version` that is present must be known.
    known = event.content.get("room_version", version.identifier)
    if type(known) is not str or known not in ROOM_VERSIONS:
        raise refused(version, Rule.CREATE_ROOM_VERSION, "the create event's room version is unknown")
    # 1.4 (versions 1 to 10): there must be a `creator`.
    if version.creator_in_content and "creator" not in event.content:
        raise refused(version, Rule.CREATE_CREATOR, "the create event names no `creator`")
    # 1.4 (version 12): `additional_creators` must be an array of user ids.
    if version.creators_have_infinite_power:
        additional = event.content.get("additional_creators", [])
        if type(additional) is not list or not all(type(u) is str and is_user_id(u) for u in additional):
            reason = "`additional_creators` is no array of user ids"
            raise refused(version, Rule.CREATE_ADDITIONAL_CREATORS, reason)


def _check_room_id(event: Event, version: RoomVersion) -> None:
    """1.2: no `room_id` (version 12); or one with the sender's domain."""
    if version.room_id_is_create_hash:
        if "room_id" in decode_json(event.json):
            raise refused(version, Rule.CREATE_ROOM_ID, "the create event has a `room_id`")
        return
    try:
        same = server_of(event.room_id) == server_of(event.sender)
    except InvalidIdentifier:
        same = False
    if not same:
        raise refused(version, Rule.CREATE_ROOM_ID, "the room id is not of the sender's server")


def check_room(event: Event, create: Event | None, version: RoomVersion) -> Event:
    """Check that `event` is of the room that `create` made; gives `create` back. Raises `AuthRefused`."""
    if create is None:
        rule = Rule.ROOM_ID if version.room_id_is_create_hash else Rule.AUTH_EVENTS_NO_CREATE
        raise refused(version, rule, "the room has no create event")
    # 2 (version 12): the room id must be that of an accepted create event.
    if version.room_id_is_create_hash and event.room_id != room_id_of_create(create.event_id):
        raise refused(version, Rule.ROOM_ID, "the room id is not that of the create event")
    return create


def check_federate(event: Event, create: Event, version: RoomVersion) -> None:
    """3: where `m.federate` is false, only the creator's server may send. Raises `AuthRefused`."""
    if create.content.get("m.federate") is False and server_of(event.sender) != server_of(create.sender):
        raise refused(version, Rule.FEDERATE, "the room is closed to other servers")
