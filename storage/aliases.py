# SPDX-License-Identifier: Apache-2.0
"""Room aliases of this server.

spec: client-server-api, "Room aliases".
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, each

_INSERT = Batch(
    "INSERT INTO aliases (alias, room, creator) SELECT alias, room, creator FROM v",
    columns={"alias": BYTES, "room": INTEGER, "creator": INTEGER},
)
_DELETE = Batch(
    "DELETE FROM aliases WHERE alias IN (SELECT alias FROM v)",
    columns={"alias": BYTES},
)
_GET = "SELECT room, creator FROM aliases WHERE alias = ?"
_GET_MANY = Batch(
    "SELECT a.alias, a.room FROM v JOIN aliases a ON a.alias = v.alias",
    columns={"alias": BYTES},
)
_OF_ROOM = "SELECT alias FROM aliases WHERE room = ? ORDER BY alias"


@attrs.frozen
class Alias:
    """An alias and the numbers of its room and of the user who made it.

    A second one of the same name is a `DataError`.
    """

    alias: str
    room: int
    creator: int


@attrs.frozen
class DeletedAlias:
    """An alias to be deleted."""

    alias: str


WRITINGS = (
    Writing(DeletedAlias, _DELETE, each(lambda r: (r.alias.encode(),))),
    Writing(Alias, _INSERT, each(lambda r: (r.alias.encode(), r.room, r.creator))),
)


class Aliases:
    """Reads aliases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, alias: str) -> Alias | None:
        """The alias with this full name (`#name:server`), or None."""
        row = await self._database.read("alias", lambda txn: txn.row(_GET, (alias.encode(),)))
        return None if row is None else Alias(alias, row[0], row[1])

    async def rooms_of(self, aliases: Iterable[str]) -> dict[str, int]:
        """The numbers of the rooms that those of `aliases` which exist here point to."""
        rows = [(alias.encode(),) for alias in set(aliases)]
        found = await self._database.read("aliases", lambda txn: txn.batch(_GET_MANY, rows))
        return {alias.decode(): room for alias, room in found}

    async def of_room(self, room: int) -> list[str]:
        """The aliases of the room, sorted."""
        rows = await self._database.read("aliases", lambda txn: txn.rows(_OF_ROOM, (room,)))
        return [alias.decode() for (alias,) in rows]
