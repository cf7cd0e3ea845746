# SPDX-License-Identifier: Apache-2.0
"""The format of PDUs and their size limits; PDUs from outside become events here.

spec: rooms, "Event format"; client-server-api, "Size limits";
server-server-api, "Checks performed on receipt of a PDU", 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.rules.canonical_json import MAX_DEPTH, MAX_INTEGER, check_canonical, encode_canonical
from federation.rules.errors import EventTooLarge, InvalidEventFormat, InvalidIdentifier
from federation.rules.hashing import event_id, room_id_of_create
from federation.rules.identifiers import byte_length, is_hash_id, is_user_id, parse_room_id
from federation.rules.room_versions import RoomVersion
from storage.event import Event

MAX_EVENT_SIZE = 65_536  # bytes of canonical JSON with signatures
MAX_MEMBER_SIZE = 255  # bytes of UTF-8: type, state_key, sender, room_id, event_id
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10


def parse_pdu(pdu: Mapping[str, Any], version: RoomVersion) -> Event:
    """The event that the PDU `pdu` is, with its event id and room id; `unsigned` is left out.

    Signatures and the content hash are not looked at. Raises `InvalidEventFormat` (`EventTooLarge`),
    `NotCanonicalJson`, `TooDeep`.
    """
    kept = {key: value for key, value in pdu.items() if key != "unsigned"}
    check_json(kept, version)
    check_format(kept, version)
    json = encode_canonical(kept)
    check_size(json)
    return event_of(kept, json, event_id(kept, version))


def event_of(pdu: Mapping[str, Any], json: bytes, event_id: str) -> Event:
    """The record of the well-formed `pdu`, whose JSON and id are known; it shares `content` with it."""
    room_id = pdu.get("room_id")
    redacts = pdu.get("redacts")
    return Event(
        event_id=event_id,
        room_id=room_id_of_create(event_id) if room_id is None else room_id,
        json=json,
        type=pdu["type"],
        sender=pdu["sender"],
        state_key=pdu.get("state_key"),
        content=pdu["content"],
        origin_server_ts=pdu["origin_server_ts"],
        depth=pdu["depth"],
        prev_events=tuple(pdu["prev_events"]),
        auth_events=tuple(pdu["auth_events"]),
        redacts=redacts if isinstance(redacts, str) else None,
    )


def check_json(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    """Check that the PDU can be written as canonical JSON, where the room version insists on it.

    spec: rooms, "Canonical JSON". Raises `NotCanonicalJson`, `TooDeep`.
    """
    if version.strict_canonical_json:
        check_canonical(pdu, MAX_DEPTH)


def check_size(json: bytes) -> None:
    """Check the size of a whole event. Raises `EventTooLarge`."""
    if len(json) > MAX_EVENT_SIZE:
        raise EventTooLarge("", f"the event has {len(json)} bytes, more than {MAX_EVENT_SIZE}")


def check_format(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    """Check that a PDU has the members of its room version, each of its type and within its limits.

    Raises `InvalidEventFormat` (`EventTooLarge`).
    """
    check_unsigned_format(pdu, version)
    _check_hashes(pdu.get("hashes"))
    _check_signatures(pdu.get("signatures"))


def check_unsigned_format(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    """`check_format` for an event that has no `hashes` and no `signatures` yet."""
    _check_string(pdu, "type")
    if "state_key" in pdu:
        _check_string(pdu, "state_key")
    _check_sender(pdu)
    _check_room_id(pdu, version)
    if type(pdu.get("content")) is not dict:
        raise InvalidEventFormat("content", "must be an object")
    _check_integer(pdu, "origin_server_ts", -MAX_INTEGER)
    _check_integer(pdu, "depth", 0)
    _check_references(pdu, "prev_events", MAX_PREV_EVENTS)
    _check_references(pdu, "auth_events", MAX_AUTH_EVENTS)


def _check_string(pdu: Mapping[str, Any], member: str) -> str:
    value = pdu.get(member)
    if type(value) is not str:
        raise InvalidEventFormat(member, "must be a string")
    if byte_length(value) > MAX_MEMBER_SIZE:
        raise EventTooLarge(member, f"must not be longer than {MAX_MEMBER_SIZE} bytes")
    return value


def _check_sender(pdu: Mapping[str, Any]) -> None:
    if not is_user_id(_check_string(pdu, "sender")):
        raise InvalidEventFormat("sender", "must be a user id")


def _check_room_id(pdu: Mapping[str, Any], version: RoomVersion) -> None:
    """Versions 12 and later leave `room_id` out of the create event; others write it with a domain."""
    if version.room_id_is_create_hash:
        if pdu["type"] == "m.room.create":
            if "room_id" in pdu:
                raise InvalidEventFormat("room_id", "must be absent from the create event")
        elif not is_hash_id(_check_string(pdu, "room_id"), "!"):
            raise InvalidEventFormat("room_id", "must be the id of a create event with the sigil '!'")
        return
    try:
        room_id = parse_room_id(_check_string(pdu, "room_id"))
    except InvalidIdentifier as error:
        raise InvalidEventFormat("room_id", str(error)) from error
    if room_id.server_name is None:
        raise InvalidEventFormat("room_id", "must name a server")


def _check_integer(pdu: Mapping[str, Any], member: str, least: int) -> None:
    value = pdu.get(member)
    if type(value) is not int or not least <= value <= MAX_INTEGER:
        raise InvalidEventFormat(member, f"must be an integer between {least} and 2^53 - 1")


def _check_references(pdu: Mapping[str, Any], member: str, most: int) -> None:
    references = pdu.get(member)
    if type(references) is not list:
        raise InvalidEventFormat(member, "must be an array")
    if len(references) > most:
        raise EventTooLarge(member, f"must not have more than {most} entries")
    for reference in references:
        if type(reference) is not str or not is_hash_id(reference, "$"):
            raise InvalidEventFormat(member, "must be an array of event ids")


def _check_hashes(hashes: Any) -> None:
    if type(hashes) is not dict or type(hashes.get("sha256")) is not str:
        raise InvalidEventFormat("hashes", "must be an object with a string `sha256`")


def _check_signatures(signatures: Any) -> None:
    if type(signatures) is not dict or not all(
        type(of_server) is dict and all(type(signature) is str for signature in of_server.values())
        for of_server in signatures.values()
    ):
        raise InvalidEventFormat("signatures", "must be an object of objects of strings")
