# SPDX-License-Identifier: Apache-2.0
"""The one door into a room's graph: every event enters here, from this server's users and from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from federation.graph.appending import Appending
from federation.graph.batches import Incoming
from federation.graph.drafts import RecordsOf, Request, no_records
from federation.graph.graph_tools import GraphTools
from federation.graph.loading import LoadedRoom
from federation.graph.merging import Merging
from federation.graph.receiving import Received, Receiving
from federation.graph.room_memory import RoomMemory
from storage.event import Event, StoredEvent


class RoomGraph:
    """The graph of one room, for the process that owns it."""

    def __init__(self, *, room: int, room_id: str, tools: GraphTools) -> None:
        self.room = room
        self.room_id = room_id
        self._memory = RoomMemory(room=room, room_id=room_id, tools=tools)
        self._receiving = Receiving(self._memory)
        self._appending = Appending(self._memory, Merging(self._receiving))

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the room waits to be written, so that it may leave memory."""
        return self._memory.is_idle

    async def append(self, request: Request, records_of: RecordsOf = no_records) -> list[StoredEvent]:
        """Append the events that `request` asks for, as one unit, and return them once they are on disk.

        Raises what `request` raises, `AuthRefused` and the format errors of `federation.rules` (nothing is
        appended then), `RoomGone`, and what `WriteQueue.submit` raises.
        """
        return await self._appending.append(request, records_of)

    async def receive(self, incoming: Incoming) -> Received:
        """Take in events from outside: judge them, store them in the graph, and settle the current state.

        Each event must have passed the checks on receipt up to its hash. Long batches are taken in pieces,
        except of older events. Raises `RoomGone` and what `WriteQueue.submit` raises.
        """
        return await self._receiving.receive(incoming)

    async def begin(
        self,
        loaded: LoadedRoom,
        create: Event,
        request: Request,
        new_room: Sequence[Any],
        records_of: RecordsOf,
    ) -> list[StoredEvent]:
        """Append the first events of a room that is not stored yet: `create`, then what `request` asks for.

        `new_room` are the records that go before them. Raises as `append` does.
        """
        return await self._appending.begin(loaded, create, request, new_room, records_of)

    async def begin_with(self, loaded: LoadedRoom, incoming: Incoming, new_room: Sequence[Any]) -> Received:
        """Take in the first events of a room that is not stored yet, and that others made.

        `new_room` are the records that go before them. Raises as `receive` does.
        """
        await self._memory.begin(loaded)
        return await self._receiving.receive(incoming, new_room)
