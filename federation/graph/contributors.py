# SPDX-License-Identifier: Apache-2.0
"""The hook by which the upper floor joins in: rows that go into the same transaction as an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import attrs

from federation.graph.current_state import CurrentState, StateEntry
from storage.event import StoredEvent


class StateKeyChange(NamedTuple):
    """A key of the current state took another value; `new` None: it was removed."""

    type: str
    state_key: str
    old: StateEntry | None
    new: StateEntry | None


@attrs.frozen
class Appended:
    """An event that is about to be stored, with the numbers of its strings and what it changes.

    `state` is the current state after it. A record with `index` gets the event's own position.
    """

    stored: StoredEvent
    room: int
    type: int
    state_key: int | None
    sender: int
    index: int
    changes: Sequence[StateKeyChange]
    state: CurrentState


@attrs.frozen
class Resolved:
    """Changes of the current state that no event brings: a resolution of the forward extremities, or a
    state that was given from outside. A record with `index` gets the position of that revision.

    `state` is the current state after them.
    """

    room: int
    index: int
    changes: Sequence[StateKeyChange]
    state: CurrentState


@attrs.frozen
class EventCounts:
    """The thread of an event and the cumulative counts that are stored with it (see `StoredEvent`)."""

    thread: str | None
    notify_count: int
    highlight_count: int


@attrs.frozen
class Contribution:
    """Records for the event's own transaction; `counts` from the one contributor that counts."""

    records: Sequence[Any] = ()
    counts: EventCounts | None = None


class Contributor(Protocol):
    """Told of what becomes of a room before it is committed: of every event that gets a place in the graph,
    rejected and soft-failed ones included, and of every change of the current state.

    What it remembers of a room hangs on the room in memory. An advance of that memory is lost with the room
    object when the commit fails, and the event is told again.
    """

    async def load(self, room: int, room_id: str, state: CurrentState) -> Any:
        """What it needs to remember of a room that is loaded into memory (or begins)."""

    def contribute(self, memory: Any, appended: Appended) -> Contribution:
        """Advance `memory` by the event and return its rows. It must not block and not fail."""

    def resolved(self, memory: Any, resolved: Resolved) -> Contribution:
        """As `contribute`, for changes of the current state without an event; it gives no counts."""
