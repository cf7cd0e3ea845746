# SPDX-License-Identifier: Apache-2.0
"""Content hashes, reference hashes and the event ids made of them.

spec: server-server-api, "Signing Events".
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from federation.rules.base64 import decode_base64, encode_base64_url
from federation.rules.canonical_json import encode_canonical
from federation.rules.redaction import redact
from federation.rules.room_versions import RoomVersion

_NOT_IN_CONTENT_HASH = frozenset({"unsigned", "signatures", "hashes"})


def content_hash(pdu: Mapping[str, Any]) -> bytes:
    """SHA-256 over the whole event. spec: server-server-api, "Calculating the content hash for an event"."""
    return sha256(encode_canonical({k: v for k, v in pdu.items() if k not in _NOT_IN_CONTENT_HASH})).digest()


def content_hash_holds(pdu: Mapping[str, Any]) -> bool:
    """Whether `hashes.sha256` is the event's content hash; if not, the event must be redacted before use."""
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        return False
    try:
        return decode_base64(claimed) == content_hash(pdu)
    except ValueError:
        return False


def signed_bytes(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """The canonical JSON of the redacted event without signatures: what is signed, and what makes its id."""
    redacted = redact(pdu, version)
    redacted.pop("signatures", None)
    redacted.pop("unsigned", None)
    return encode_canonical(redacted)


def reference_hash(pdu: Mapping[str, Any], version: RoomVersion) -> bytes:
    """SHA-256 over the redacted event.

    spec: server-server-api, "Calculating the reference hash for an event".
    """
    return sha256(signed_bytes(pdu, version)).digest()


def event_id_of_hash(digest: bytes) -> str:
    """The event id that a reference hash makes. spec: rooms, "Event IDs"."""
    return "$" + encode_base64_url(digest)


def event_id(pdu: Mapping[str, Any], version: RoomVersion) -> str:
    """The id of the event `pdu` in a room of this version."""
    return event_id_of_hash(reference_hash(pdu, version))


def room_id_of_create(create_event_id: str) -> str:
    """The room id of version 12 and later: the create event's id with the sigil `!`."""
    return "!" + create_event_id[1:]
