# SPDX-License-Identifier: Apache-2.0
"""How event ids are kept: an id that is a hash takes its 32 bytes, any other its text.

spec: rooms, "Event IDs" (version 4 and later; earlier versions name events by text).
"""

from __future__ import annotations

import base64
import binascii

_HASH_SIZE = 32


def pack_event_id(event_id: str) -> bytes:
    """The stored form of `event_id`. A text form never has 32 bytes, so the two cannot be confused."""
    if len(event_id) == 44 and event_id[0] == "$":
        try:
            packed = base64.urlsafe_b64decode(event_id[1:] + "=")
        except (ValueError, binascii.Error):
            packed = b""
        if len(packed) == _HASH_SIZE and _text_of_hash(packed) == event_id:
            return packed
    text = event_id.encode() + b"\0"
    return text + b"\1" if len(text) == _HASH_SIZE else text


def unpack_event_id(packed: bytes) -> str:
    """The event id whose stored form is `packed`."""
    if len(packed) == _HASH_SIZE:
        return _text_of_hash(packed)
    return packed.removesuffix(b"\1")[:-1].decode()


def _text_of_hash(packed: bytes) -> str:
    return "$" + base64.urlsafe_b64encode(packed)[:43].decode()
