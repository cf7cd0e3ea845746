# SPDX-License-Identifier: Apache-2.0
"""The records of an event: what the protocol says of it, and what this server knows besides.

spec: server-server-api, "PDUs"; rooms, "Event format".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs
import msgspec


@attrs.frozen
class _Pdu:
    """The members of a PDU that are read; what is absent here stays in the JSON, untouched."""

    type: str
    sender: str
    content: dict[str, Any]
    origin_server_ts: int
    depth: int
    prev_events: list[Any]
    auth_events: list[Any]
    state_key: str | None = None
    redacts: Any = None
    unsigned: Any = None


_decode_pdu = msgspec.json.Decoder(_Pdu).decode


@attrs.frozen(eq=False)
class Event:
    """An event as the protocol knows it: immutable, with the JSON it was received or built as.

    `event_id` and `room_id` stand beside the JSON because most room versions leave the former out of
    it and the create event of version 12 leaves out the latter. Two events are equal when their ids are.
    """

    event_id: str
    room_id: str
    json: bytes
    type: str
    sender: str
    state_key: str | None
    content: Mapping[str, Any]
    origin_server_ts: int
    depth: int
    prev_events: tuple[str, ...]
    auth_events: tuple[str, ...]
    redacts: str | None

    @classmethod
    def decode(cls, json: bytes, event_id: str, room_id: str) -> Event:
        """Read the PDU `json`, whose ids are already known.

        Raises `msgspec.MsgspecError` where a member that every event must have is missing or of a wrong type.
        """
        pdu = _decode_pdu(json)
        return cls(
            event_id=event_id,
            room_id=room_id,
            json=json,
            type=pdu.type,
            sender=pdu.sender,
            state_key=pdu.state_key,
            content=pdu.content,
            origin_server_ts=pdu.origin_server_ts,
            depth=pdu.depth,
            prev_events=_ids(pdu.prev_events),
            auth_events=_ids(pdu.auth_events),
            redacts=pdu.redacts if isinstance(pdu.redacts, str) else None,
        )

    @property
    def is_state(self) -> bool:
        """Whether the event has a `state_key`."""
        return self.state_key is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and other.event_id == self.event_id

    def __hash__(self) -> int:
        return hash(self.event_id)


def _ids(references: list[Any]) -> tuple[str, ...]:
    """Event ids of a reference list; room versions 1 and 2 write each as `[id, hashes]`."""
    return tuple(r if isinstance(r, str) else r[0] for r in references)


class StateAt(NamedTuple):
    """A state of a room: revision `revision` of the timeline `branch`; branch 0 is the current state."""

    branch: int
    revision: int


@attrs.frozen(eq=False)
class StoredEvent:
    """An event with what this server knows of it.

    `number` names it in the database and carries no order. `position` is its place in the homeserver's
    one stream of changes, `topo` and `position` together its place in the room; an outlier has neither.
    `before` is the room's state before it, `after` the state after it where that differs.
    `thread` is the event id of its thread's root, None in the main timeline. `notify_count` and
    `highlight_count` are the cumulative counts, over its room and `thread`, of events that notify (or
    highlight) every member, itself included.
    """

    event: Event
    number: int
    position: int | None
    topo: int | None
    before: StateAt | None
    after: StateAt | None = None
    rejected: bool = False
    soft_failed: bool = False
    thread: str | None = None
    notify_count: int = 0
    highlight_count: int = 0
    redacted_by: str | None = None

    def counted(self, thread: str | None, notify_count: int, highlight_count: int) -> StoredEvent:
        """The same event with the thread and the counts that it got."""
        return StoredEvent(
            self.event,
            self.number,
            self.position,
            self.topo,
            self.before,
            self.after,
            self.rejected,
            self.soft_failed,
            thread,
            notify_count,
            highlight_count,
            self.redacted_by,
        )

    def at(self, position: int) -> StoredEvent:
        """The same event at the position that its commit gave it."""
        return StoredEvent(
            self.event,
            self.number,
            position,
            self.topo,
            self.before,
            self.after,
            self.rejected,
            self.soft_failed,
            self.thread,
            self.notify_count,
            self.highlight_count,
            self.redacted_by,
        )
