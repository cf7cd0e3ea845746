# SPDX-License-Identifier: Apache-2.0
"""Content hashes, reference hashes and the event ids made of them.

spec: server-server-api, "Signing Events".
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from federation.rules.base64 import decode_base64, encode_base64, encode_base64_url
from federation.rules.event_json import encode_event
from federation.rules.redaction import redact
from federation.rules.room_versions import HASH, IN_PDU, URL_SAFE_HASH, RoomVersion

_NOT_IN_CONTENT_HASH = frozenset({"unsigned", "signatures", "hashes"})


def content_hash(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """SHA-256 over the whole event. spec: server-server-api, "Calculating the content hash for an event"."""
    hashed = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    return sha256(encode_event(hashed, version)).digest()


def content_hash_holds(pdu: Mapping[str, Any], version: RoomVersion) -> bool:
    """Whether `hashes.sha256` is the event's content hash; if not, the event must be redacted before use."""
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        return False
    try:
        return decode_base64(claimed) == content_hash(pdu, version)
    except ValueError:
        return False


def signed_bytes(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """The canonical JSON of the redacted event without signatures: what is signed, and what makes its id."""
    redacted = redact(pdu, version)
    redacted.pop("signatures", None)
    redacted.pop("unsigned", None)
    return encode_event(redacted, version)


def reference_hash(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """SHA-256 over the redacted event.

    spec: server-server-api, "Calculating the reference hash for an event".
    """
    return sha256(signed_bytes(pdu, version)).digest()


def event_id_of_hash(digest: bytes, version: RoomVersion) -> str:
    """The event id that a reference hash makes. spec: rooms, "Event IDs".

    Raises `ValueError` for versions whose event ids are made of something else.
    """
    if version.event_id_format is URL_SAFE_HASH:
        return "$" + encode_base64_url(digest)
    if version.event_id_format is HASH:
        return "$" + encode_base64(digest)
    raise ValueError(f"event ids of room version {version.identifier} are no hashes")


def event_id(pdu: Mapping[str, Any], version: RoomVersion) -> str:
    """The id of the well-formed event `pdu` in a room of this version."""
    if version.event_id_format is IN_PDU:
        in_pdu: str = pdu["event_id"]
        return in_pdu
    return event_id_of_hash(reference_hash(pdu, version), version)


def room_id_of_create(create_event_id: str) -> str:
    """The room id of version 12 and later: the create event's id with the sigil `!`."""
    return "!" + create_event_id[1:]
