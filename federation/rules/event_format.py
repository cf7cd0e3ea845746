# SPDX-License-Identifier: Apache-2.0
"""The format of PDUs and their size limits; PDUs from outside become events here.

spec: rooms, "Event format"; client-server-api, "Size limits";
server-server-api, "Checks performed on receipt of a PDU", 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from federation.rules.errors import EventTooLarge, InvalidEventFormat, InvalidIdentifier
from federation.rules.event_json import check_json, encode_event, largest_integer
from federation.rules.hashing import event_id, room_id_of_create
from federation.rules.identifiers import (
    byte_length,
    is_hash_id,
    is_id_with_server,
    is_standard_hash_id,
    is_user_id,
    parse_room_id,
)
from federation.rules.room_versions import HASH, IN_PDU, URL_SAFE_HASH, RoomVersion
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
    json = encode_event(kept, version)
    check_size(json)
    return event_of(kept, json, event_id(kept, version), version)


def event_of(pdu: Mapping[str, Any], json: bytes, event_id: str, version: RoomVersion) -> Event:
    """The record of the well-formed `pdu`, whose JSON and id are known; it shares `content` with it."""
    room_id = pdu.get("room_id")
    redacts = pdu.get("redacts")
    hashed = version.references_have_hashes
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
        prev_events=_ids(pdu["prev_events"]) if hashed else tuple(pdu["prev_events"]),
        auth_events=_ids(pdu["auth_events"]) if hashed else tuple(pdu["auth_events"]),
        redacts=redacts if isinstance(redacts, str) else None,
    )


def _ids(references: list[Any]) -> tuple[str, ...]:
    return tuple(reference[0] for reference in references)


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
    largest = largest_integer(version)
    _check_integer(pdu, "origin_server_ts", -largest, largest)
    _check_integer(pdu, "depth", 0, largest)
    _check_references(pdu, "prev_events", MAX_PREV_EVENTS, version)
    _check_references(pdu, "auth_events", MAX_AUTH_EVENTS, version)
    if version.event_id_format is IN_PDU and not is_event_id(_check_string(pdu, "event_id"), version):
        raise InvalidEventFormat("event_id", "must be `$opaque_id:server_name`")


def _check_string(pdu: Mapping[str, Any], member: str) -> str:
    value = pdu.get(member)
    if type(value) is not str:
        raise InvalidEventFormat(member, "must be a string")
    try:
        length = byte_length(value)
    except InvalidIdentifier as error:
        raise InvalidEventFormat(member, "must not contain a lone surrogate") from error
    if length > MAX_MEMBER_SIZE:
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


def _check_integer(pdu: Mapping[str, Any], member: str, least: int, most: int) -> None:
    value = pdu.get(member)
    if type(value) is not int or not least <= value <= most:
        raise InvalidEventFormat(member, f"must be an integer between {least} and {most}")


def is_event_id(event_id: str, version: RoomVersion) -> bool:
    """Whether `event_id` has the form of this version's event ids. spec: rooms, "Event IDs"."""
    return _test_of_ids(version)(event_id, "$")


def _test_of_ids(version: RoomVersion) -> Callable[[str, str], bool]:
    """The function that tells an event id of this version, given with its sigil."""
    if version.event_id_format is URL_SAFE_HASH:
        return is_hash_id
    return is_standard_hash_id if version.event_id_format is HASH else is_id_with_server


def _check_references(pdu: Mapping[str, Any], member: str, most: int, version: RoomVersion) -> None:
    references = pdu.get(member)
    if type(references) is not list:
        raise InvalidEventFormat(member, "must be an array")
    if len(references) > most:
        raise EventTooLarge(member, f"must not have more than {most} entries")
    if version.references_have_hashes:
        references = [_referenced(reference, member) for reference in references]
    is_id = _test_of_ids(version)
    for reference in references:
        if type(reference) is not str or not is_id(reference, "$"):
            raise InvalidEventFormat(member, "must be an array of event ids")


def _referenced(reference: Any, member: str) -> Any:
    """What a reference of versions 1 and 2, `[event id, hashes]`, has for an event id."""
    if type(reference) is not list or len(reference) != 2:
        raise InvalidEventFormat(member, "must be an array of pairs of an event id and its hashes")
    event_id, hashes = reference
    if type(hashes) is not dict or type(hashes.get("sha256")) is not str:
        raise InvalidEventFormat(member, "the hashes must be an object with a string `sha256`")
    return event_id


def _check_hashes(hashes: Any) -> None:
    if type(hashes) is not dict or type(hashes.get("sha256")) is not str:
        raise InvalidEventFormat("hashes", "must be an object with a string `sha256`")


def _check_signatures(signatures: Any) -> None:
    if type(signatures) is not dict or not all(
        type(of_server) is dict and all(type(signature) is str for signature in of_server.values())
        for of_server in signatures.values()
    ):
        raise InvalidEventFormat("signatures", "must be an object of objects of strings")
