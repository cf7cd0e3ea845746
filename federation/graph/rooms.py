# SPDX-License-Identifier: Apache-2.0
"""The rooms that this process owns: found by id, loaded when first written to, dropped when long unused."""

from __future__ import annotations

import secrets
import string
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

import attrs

from federation.errors import RoomInUse
from federation.graph.batches import Incoming
from federation.graph.drafts import Draft, RecordsOf, Request, no_records
from federation.graph.graph_tools import GraphTools
from federation.graph.loading import LoadedRoom
from federation.graph.outliers import Learnt
from federation.graph.receiving import Received
from federation.graph.room import RoomGraph
from federation.graph.room_memory import RoomGone
from federation.rules.room_versions import RoomVersion
from storage.event import Event
from storage.rooms import NewRoom

_OPAQUE_ID_LENGTH = 18


class RoomGraphs:
    """Rooms by id. At most `limit` idle ones stay in memory."""

    def __init__(self, *, tools: GraphTools, server_name: str, limit: int = 2_000) -> None:
        self._tools = tools
        self._server_name = server_name
        self._limit = limit
        self._rooms: OrderedDict[int, RoomGraph] = OrderedDict()
        self._beginning: set[str] = set()

    @property
    def in_memory(self) -> int:
        """How many rooms are in memory."""
        return len(self._rooms)

    def room_ids(self) -> Iterable[str]:
        """The ids of the rooms in memory."""
        return (graph.room_id for graph in self._rooms.values())

    async def get(self, room_id: str) -> RoomGraph:
        """The graph of the room. Raises `RoomGone` where no such room is known."""
        room = self._tools.strings.known(room_id)
        if room is None:
            room = (await self._tools.strings.find([room_id])).get(room_id)
        if room is None:
            raise RoomGone(room_id)
        graph = self._rooms.get(room)
        if graph is None:
            graph = self._remember(RoomGraph(room=room, room_id=room_id, tools=self._tools))
        else:
            self._rooms.move_to_end(room)
        return graph

    async def create(
        self,
        version: RoomVersion,
        create: Draft,
        request: Callable[[str], Request],
        records_of: Callable[[int], RecordsOf] = lambda _room: no_records,
    ) -> RoomGraph:
        """Begin a room with `create` and the events of `request(room_id)`, all in one unit.

        `records_of(room)` gives what else belongs to the unit. Raises as `RoomGraph.append` does.
        """
        event = await self._new_create_event(version, create)
        try:
            return await self._begin(version, event, request, records_of)
        finally:
            self._beginning.discard(event.room_id)

    async def _begin(
        self,
        version: RoomVersion,
        event: Event,
        request: Callable[[str], Request],
        records_of: Callable[[int], RecordsOf],
    ) -> RoomGraph:
        room = (await self._tools.strings.intern([event.room_id]))[event.room_id]
        graph = RoomGraph(room=room, room_id=event.room_id, tools=self._tools)
        new_room = [NewRoom(room, version.identifier)]
        empty = LoadedRoom.empty(version)
        await graph.begin(empty, event, request(event.room_id), new_room, records_of(room))
        return self._remember(graph)

    async def learn(
        self,
        room_id: str,
        version: RoomVersion,
        events: Sequence[Event],
        unauthorised: Collection[str] = frozenset(),
    ) -> Learnt:
        """Store events of a room that have no place in its graph; see `Outliers.learn`."""
        return await self._tools.outliers.learn(room_id, version, events, unauthorised)

    async def begin_remote(
        self, room_id: str, version: RoomVersion, incoming: Incoming
    ) -> tuple[RoomGraph, Received]:
        """Begin a room that is not stored: with its create event, or with a join and the state before it.

        Raises `RoomInUse` where it is stored already, `RoomNotBegun` where the first event is lacking
        something or is refused (nothing is stored then), and as `RoomGraph.receive` does.
        """
        if room_id in self._beginning:
            raise RoomInUse(f"the room {room_id} is just beginning")
        self._beginning.add(room_id)
        try:
            room = (await self._tools.strings.intern([room_id]))[room_id]
            if await self._tools.loader.is_stored(room):
                raise RoomInUse(f"the room {room_id} is known already")
            graph = RoomGraph(room=room, room_id=room_id, tools=self._tools)
            received = await graph.begin_with(
                LoadedRoom.empty(version), incoming, [NewRoom(room, version.identifier)]
            )
            return self._remember(graph), received
        finally:
            self._beginning.discard(room_id)

    async def _new_create_event(self, version: RoomVersion, create: Draft) -> Event:
        """A create event whose room id nobody has.

        Where the room id is the event's hash, two rooms that one user makes in the same millisecond would
        be the same room: the later one gets a later time.
        """
        room_id = None if version.room_id_is_create_hash else self._new_room_id()
        event = self._tools.builder.build_create(room_id, create, version)
        while not await self._claim(event.room_id):
            later = attrs.evolve(create, origin_server_ts=event.origin_server_ts + 1)
            event = self._tools.builder.build_create(room_id, later, version)
        return event

    async def _claim(self, room_id: str) -> bool:
        """Take a room id that neither a stored room has nor one that just begins."""
        if room_id in self._beginning:
            return False
        self._beginning.add(room_id)
        if not await self._tools.strings.find([room_id]):
            return True
        self._beginning.discard(room_id)
        return False

    def _remember(self, graph: RoomGraph) -> RoomGraph:
        self._rooms[graph.room] = graph
        if len(self._rooms) > self._limit:
            for room, candidate in list(self._rooms.items())[:10]:
                if candidate.is_idle and candidate is not graph:
                    del self._rooms[room]
                    break
        return graph

    def _new_room_id(self) -> str:
        opaque = "".join(secrets.choice(string.ascii_letters) for _ in range(_OPAQUE_ID_LENGTH))
        return f"!{opaque}:{self._server_name}"
