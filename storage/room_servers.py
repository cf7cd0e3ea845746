# SPDX-License-Identifier: Apache-2.0
"""Which servers have joined members in each room, from which position until which.

It follows the current state (branch 0): one row for each time that a server spends in a room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.state_records import OPEN
from storage.writing import Indexed, Writing

_END = Batch(
    "UPDATE room_servers SET to_position = base.value + v.i FROM base, v WHERE room_servers.room = v.room"
    f" AND room_servers.server = v.server AND room_servers.to_position = {OPEN}",
    columns={"i": INTEGER, "room": INTEGER, "server": BYTES},
)
_BEGIN = Batch(
    "INSERT INTO room_servers (room, server, from_position, to_position)"
    f" SELECT v.room, v.server, base.value + v.i, coalesce(base.value + v.until, {OPEN}) FROM base, v",
    columns={"i": INTEGER, "room": INTEGER, "server": BYTES, "until": INTEGER},
)
# Both ends belong to it: the state before an event at that position, or the one after it.
_AT = Batch(
    "SELECT v.room, v.position, s.server FROM v JOIN room_servers s ON s.room = v.room"
    " AND s.to_position >= v.position AND s.from_position <= v.position",
    columns={"room": INTEGER, "position": INTEGER},
)
_NOW = Batch(
    f"SELECT s.room, s.server FROM v JOIN room_servers s ON s.room = v.room AND s.to_position = {OPEN}",
    columns={"room": INTEGER},
)
_OF_SERVER = (
    "SELECT room, from_position, to_position FROM room_servers"
    " WHERE server = ? AND to_position > ? ORDER BY room, from_position"
)


@attrs.frozen
class RoomServerChange:
    """A server's first member came into the room, or its last one is gone (`present` False).

    `index` gives the position. Those of one server and room come in order, and take turns.
    """

    room: int
    server: str
    present: bool
    index: int


@attrs.frozen
class ServerSpan:
    """A server's time in a room: from the position of the event that began it until that of the event that
    ended it; `end` None: it goes on. Events at both positions are for the server."""

    room: int
    first: int
    end: int | None


_Times = dict[tuple[int, str], list[tuple[int, bool]]]


def _times(records: Sequence[Indexed[RoomServerChange]]) -> _Times:
    """The changes of each room and server, as indexes in the batch, in order."""
    times: _Times = {}
    for offset, record in records:
        times.setdefault((record.room, record.server), []).append((offset + record.index, record.present))
    return times


def _ended(records: Sequence[Indexed[RoomServerChange]]) -> list[tuple[Any, ...]]:
    """The times on disk that come to an end."""
    return [
        (changes[0][0], room, server.encode())
        for (room, server), changes in _times(records).items()
        if not changes[0][1]
    ]


def _begun(records: Sequence[Indexed[RoomServerChange]]) -> list[tuple[Any, ...]]:
    """The times that begin, with their ends where these are in the same batch."""
    rows = []
    for (room, server), changes in _times(records).items():
        ends: list[int | None] = [i for i, _ in changes[1:]]
        for (i, present), until in zip(changes, [*ends, None], strict=True):
            if present:
                rows.append((i, room, server.encode(), until))
    return rows


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(RoomServerChange, _END, _ended, positioned=True),
    Writing(RoomServerChange, _BEGIN, _begun, positioned=True),
)


class RoomServers:
    """Reads which servers are in rooms. This server is listed like any other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def at(self, room: int, position: int) -> frozenset[str]:
        """The servers that an event at `position` is for: those in the room before it or after it.

        So the event that ends a server's time in the room is for that server, too, and so is the one that
        begins it. Between events, the servers in the room at that position.
        """
        found = await self.at_each([(room, position)])
        return found[room, position]

    async def at_each(self, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], frozenset[str]]:
        """As `at`, for many pairs of room and position in one statement."""
        asked = list(dict.fromkeys(wanted))
        return await self._database.read("servers of events", lambda txn: self.at_each_txn(txn, asked))

    def at_each_txn(
        self, txn: Transaction, wanted: Iterable[tuple[int, int]]
    ) -> dict[tuple[int, int], frozenset[str]]:
        """As `at_each`, inside a transaction of the caller's."""
        found: dict[tuple[int, int], set[str]] = {pair: set() for pair in wanted}
        for room, position, server in txn.batch(_AT, list(found)):
            found[room, position].add(server.decode())
        return {pair: frozenset(servers) for pair, servers in found.items()}

    async def now(self, rooms: Iterable[int]) -> dict[int, frozenset[str]]:
        """The servers that are in each of the rooms."""
        asked = list(dict.fromkeys(rooms))
        return await self._database.read("servers of rooms", lambda txn: self.now_txn(txn, asked))

    def now_txn(self, txn: Transaction, rooms: Iterable[int]) -> dict[int, frozenset[str]]:
        """As `now`, inside a transaction of the caller's."""
        found: dict[int, set[str]] = {room: set() for room in rooms}
        for room, server in txn.batch(_NOW, [(room,) for room in found]):
            found[room].add(server.decode())
        return {room: frozenset(servers) for room, servers in found.items()}

    async def of_server(self, server: str, *, after: int) -> list[ServerSpan]:
        """The server's times in rooms that had not ended at position `after`, by room and in order.

        What a destination that got everything up to `after` may have missed lies in these.
        """
        rows = await self._database.look("rooms of server", _OF_SERVER, (server.encode(), after))
        return [ServerSpan(room, first, None if end == OPEN else end) for room, first, end in rows]
