# SPDX-License-Identifier: Apache-2.0
"""Events for storage alone, which looks at none of what the rules look at."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from storage.event import Event, StateAt, StoredEvent

BEGINNING = StateAt(0, 0)
"""The state of a room in which nothing has happened."""


def event_id_of(name: str) -> str:
    """An id as room versions from 4 on have it."""
    digest = hashlib.sha256(name.encode()).digest()
    return "$" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def event_named(name: str, room_id: str, *, event_id: str | None = None, **members: Any) -> Event:
    """An event of the room that differs from those of other names."""
    pdu = {
        "type": "m.room.message",
        "sender": "@alice:a.example",
        "content": {"body": name},
        "origin_server_ts": 1,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
        **members,
    }
    return Event.decode(json.dumps(pdu).encode(), event_id or event_id_of(name), room_id)


def outlier(event: Event, number: int, **members: Any) -> StoredEvent:
    """The event without a place in the graph."""
    return StoredEvent(event, number, position=None, topo=None, before=None, **members)


def placed_at(
    event: Event, number: int, topo: int, *, before: StateAt | None = BEGINNING, **members: Any
) -> StoredEvent:
    """The event at a place, before its commit gives it a position."""
    return StoredEvent(event, number, position=None, topo=topo, before=before, **members)
