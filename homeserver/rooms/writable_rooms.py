# SPDX-License-Identifier: Apache-2.0
"""The rooms as those find them who write: the state that the next event builds on, and the one door."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

from federation.graph.current_state import CurrentState, StateEntry
from federation.graph.drafts import Draft, RecordsOf, Request, no_records
from federation.graph.room_memory import RoomGone
from federation.graph.rooms import RoomGraphs
from federation.rules.canonical_json import encode_canonical
from homeserver.rooms.checks import check_joined, not_in_room
from storage.event import StoredEvent
from storage.events import Events

T = TypeVar("T")


@attrs.frozen
class WritableRooms:
    """The room graphs. A room that does not exist is to a user like one that they are not in."""

    graphs: RoomGraphs
    events: Events

    async def append(
        self, user_id: str, room_id: str, request: Request, records_of: RecordsOf = no_records
    ) -> list[StoredEvent]:
        """Append to the room on behalf of the user. Raises `Forbidden`, and as `RoomGraph.append` does."""
        try:
            graph = await self.graphs.get(room_id)
            return await graph.append(request, records_of)
        except RoomGone:
            raise not_in_room(user_id) from None

    async def look(self, user_id: str, room_id: str, look: Callable[[CurrentState], T]) -> T:
        """What `look` sees in the state that the next event builds on. Raises `Forbidden`."""
        seen: list[T] = []

        def request(state: CurrentState) -> tuple[Draft, ...]:
            seen.append(look(state))
            return ()

        await self.append(user_id, room_id, request)
        return seen[-1]

    async def check_joined(self, user_id: str, room_id: str) -> None:
        """Raise `Forbidden` unless the user is joined to the room."""
        await self.look(user_id, room_id, lambda state: check_joined(state, user_id))

    async def value(self, user_id: str, room_id: str, event_type: str, state_key: str) -> StoredEvent | None:
        """The value of a key of the current state; None where it has none, or none that is on disk yet.

        Raises `Forbidden`.
        """
        return await self._stored(
            await self.look(user_id, room_id, lambda state: state.get(event_type, state_key))
        )

    async def unchanged(self, room_id: str, draft: Draft) -> StoredEvent | None:
        """The current value of the draft's key, if its sender would only say the same once more.

        None where they are not joined. Raises `Forbidden`.
        """
        state_key = draft.state_key
        assert state_key is not None

        def look(state: CurrentState) -> StateEntry | None:
            joined = state.membership(draft.sender) == "join"
            return state.get(draft.type, state_key) if joined else None

        stored = await self._stored(await self.look(draft.sender, room_id, look))
        if stored is None or stored.event.sender != draft.sender or stored.redacted_by is not None:
            return None
        # Compared as JSON: to Python, 1 and true are the same.
        same = encode_canonical(stored.event.content) == encode_canonical(draft.content)
        return stored if same else None

    async def _stored(self, entry: StateEntry | None) -> StoredEvent | None:
        if entry is None:
            return None
        return (await self.events.get((entry.number,))).get(entry.number)
