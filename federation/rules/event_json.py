# SPDX-License-Identifier: Apache-2.0
"""The JSON of events, by the room version: strict from version 6 on, whatever JSON can hold before.

spec: rooms, "Canonical JSON".
"""

from __future__ import annotations

from typing import Any

from federation.rules.canonical_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    check_canonical,
    check_lenient,
    encode_canonical,
    encode_lenient,
)
from federation.rules.room_versions import RoomVersion

# The largest integer where JSON is not strict. spec: rooms, version 1, "Event format", `depth`.
MAX_LENIENT_INTEGER = 2**63 - 1


def check_json(pdu: Any, version: RoomVersion) -> None:
    """Check that the PDU is such JSON as its version asks for. Raises `NotCanonicalJson`, `TooDeep`."""
    if version.strict_canonical_json:
        check_canonical(pdu, MAX_DEPTH)
    else:
        check_lenient(pdu, MAX_DEPTH)


def encode_event(pdu: Any, version: RoomVersion) -> bytes:
    """The canonical JSON of an event of this version: what is hashed, signed and stored.

    Raises `NotCanonicalJson` for what JSON cannot hold.
    """
    return encode_canonical(pdu) if version.strict_canonical_json else encode_lenient(pdu)


def largest_integer(version: RoomVersion) -> int:
    """The largest `depth` and `origin_server_ts` of an event of this version."""
    return MAX_INTEGER if version.strict_canonical_json else MAX_LENIENT_INTEGER
