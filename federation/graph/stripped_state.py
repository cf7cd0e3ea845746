# SPDX-License-Identifier: Apache-2.0
"""Stripped state that comes from outside: cut down to what clients may be given, within bounds.

spec: client-server-api, "Stripped state".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from federation.rules.canonical_json import MAX_DEPTH, depth_of, encode_canonical
from federation.rules.errors import InvalidIdentifier, NotCanonicalJson
from federation.rules.event_format import MAX_MEMBER_SIZE
from federation.rules.identifiers import byte_length, is_user_id

MOST_EVENTS: Final = 100
MOST_BYTES: Final = 64 * 1024
"""Of the whole JSON array."""

_MOST_READ = 1_000
"""So many entries are looked at."""

TYPES: Final = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)
"""What stripped state should consist of."""

_ORDER = {event_type: i for i, event_type in enumerate(TYPES)}


def prune_stripped_state(entries: Sequence[Any], *, leave_out: tuple[str, str]) -> bytes:
    """The JSON array of the well-formed ones of `entries`, each with the four members that are shown.

    The types that identify a room come first, so that they are kept where there is more than the bounds
    allow. Of several entries with one type and state key the first counts; the key `leave_out` is left out.
    """
    kept: list[bytes] = []
    size = 2
    seen = {leave_out}
    for key, json in sorted(_well_formed(entries[:_MOST_READ]), key=lambda pair: _rank(pair[0])):
        if key in seen or size + len(json) + 1 > MOST_BYTES:
            continue
        if len(kept) == MOST_EVENTS:
            break
        seen.add(key)
        kept.append(json)
        size += len(json) + 1
    return b"[" + b",".join(kept) + b"]"


def senders_of(stripped_state: bytes) -> frozenset[str]:
    """The senders of the events in a pruned array."""
    return frozenset(event.sender for event in msgspec.json.decode(stripped_state, type=list[_Sent]))


class _Sent(msgspec.Struct):
    sender: str


def _rank(key: tuple[str, str]) -> int:
    return _ORDER.get(key[0], len(_ORDER)) if key[1] == "" else len(_ORDER)


def _well_formed(entries: Sequence[Any]) -> Iterator[tuple[tuple[str, str], bytes]]:
    """Keys and JSON of the entries that are state events."""
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        event = {member: entry.get(member) for member in ("type", "state_key", "sender", "content")}
        event_type, state_key, sender = event["type"], event["state_key"], event["sender"]
        if not (isinstance(event_type, str) and isinstance(state_key, str) and isinstance(sender, str)):
            continue
        if not isinstance(event["content"], dict):
            continue
        try:
            if byte_length(event_type) > MAX_MEMBER_SIZE or byte_length(state_key) > MAX_MEMBER_SIZE:
                continue
            json = encode_canonical(event)
        except (InvalidIdentifier, NotCanonicalJson):
            continue
        if is_user_id(sender) and depth_of(json) <= MAX_DEPTH:
            yield (event_type, state_key), json
