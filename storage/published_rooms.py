# SPDX-License-Identifier: Apache-2.0
"""The rooms that this server lists in its published room directory.

spec: client-server-api, "Published room directory".
"""

from __future__ import annotations

import attrs

from storage.engine.database import Database
from storage.engine.statement import INTEGER, Batch
from storage.writing import Writing, each, last_of_each

_INSERT = Batch(
    "INSERT INTO published_rooms (room) SELECT room FROM v WHERE true ON CONFLICT DO NOTHING",
    columns={"room": INTEGER},
)
_DELETE = Batch(
    "DELETE FROM published_rooms WHERE room IN (SELECT room FROM v)",
    columns={"room": INTEGER},
)
_ALL = "SELECT room FROM published_rooms ORDER BY room"
_GET = "SELECT 1 FROM published_rooms WHERE room = ?"


@attrs.frozen
class PublishedRoom:
    """A room that is listed from now on."""

    room: int


@attrs.frozen
class UnpublishedRoom:
    """A room that is no longer listed."""

    room: int


WRITINGS = (
    Writing(UnpublishedRoom, _DELETE, each(lambda r: (r.room,))),
    Writing(PublishedRoom, _INSERT, last_of_each(lambda r: r.room, lambda _i, r: (r.room,))),
)


class PublishedRooms:
    """Reads which rooms are listed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[int]:
        """The numbers of all listed rooms."""
        rows = await self._database.read("published rooms", lambda txn: txn.rows(_ALL))
        return [room for (room,) in rows]

    async def has(self, room: int) -> bool:
        """Whether the room is listed."""
        return await self._database.read("published room", lambda txn: txn.row(_GET, (room,))) is not None
