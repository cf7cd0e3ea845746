# SPDX-License-Identifier: Apache-2.0
"""Rooms: their version, their fence, and the forward extremities of their graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from storage.engine.database import Transaction
from storage.engine.statement import INTEGER, TEXT, Batch
from storage.writing import Indexed, Writing, each

_INSERT = Batch(
    "INSERT INTO rooms (room, version, fence) SELECT room, version, 0 FROM v",
    columns={"room": INTEGER, "version": TEXT},
)
_ADD_EXTREMITIES = Batch(
    "INSERT INTO extremities (room, event) SELECT room, event FROM v",
    columns={"room": INTEGER, "event": INTEGER},
)
_REMOVE_EXTREMITIES = Batch(
    "DELETE FROM extremities WHERE EXISTS"
    " (SELECT 1 FROM v WHERE v.room = extremities.room AND v.event = extremities.event)",
    columns={"room": INTEGER, "event": INTEGER},
)
_GET = "SELECT version, fence FROM rooms WHERE room = ?"
_FENCE = "SELECT fence FROM rooms WHERE room = ?"
_EXTREMITIES = "SELECT event FROM extremities WHERE room = ? ORDER BY event"
_ALL = "SELECT room FROM rooms"


@attrs.frozen
class NewRoom:
    """A room that begins with the unit it stands in."""

    room: int
    version: str


@attrs.frozen
class ExtremityChange:
    """What an event does to the forward extremities of its room: it joins them, and some leave."""

    room: int
    added: int
    removed: tuple[int, ...]


@attrs.frozen
class ExtremitiesRemoved:
    """Events that are no forward extremities of their room any longer."""

    room: int
    events: tuple[int, ...]


@attrs.frozen
class RoomRow:
    """A room as stored."""

    room: int
    version: str
    fence: int


def _net(
    records: Sequence[Indexed[ExtremityChange | ExtremitiesRemoved]],
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """What a batch adds to the extremities of its rooms, and what it removes of those that are stored."""
    added: set[tuple[int, int]] = set()
    removed: set[tuple[int, int]] = set()
    for _, change in records:
        for event in change.removed if isinstance(change, ExtremityChange) else change.events:
            if (change.room, event) in added:
                added.discard((change.room, event))
            else:
                removed.add((change.room, event))
        if isinstance(change, ExtremityChange):
            added.add((change.room, change.added))
    return added, removed


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(NewRoom, _INSERT, each(lambda r: (r.room, r.version))),
    Writing(
        ExtremityChange,
        _REMOVE_EXTREMITIES,
        lambda records: sorted(_net(records)[1]),
        also=(ExtremitiesRemoved,),
    ),
    Writing(
        ExtremityChange,
        _ADD_EXTREMITIES,
        lambda records: sorted(_net(records)[0]),
        also=(ExtremitiesRemoved,),
    ),
)


class Rooms:
    """Reads rooms."""

    def get_txn(self, txn: Transaction, room: int) -> RoomRow | None:
        """The room with this number, or None."""
        row = txn.row(_GET, (room,))
        return None if row is None else RoomRow(room=room, version=row[0], fence=row[1])

    def fence_txn(self, txn: Transaction, room: int) -> int | None:
        """The fence of the room, which every transaction that extends it raises; None where there is none."""
        row = txn.row(_FENCE, (room,))
        return None if row is None else row[0]

    def extremities_txn(self, txn: Transaction, room: int) -> list[int]:
        """Numbers of the forward extremities of the room."""
        return [event for (event,) in txn.rows(_EXTREMITIES, (room,))]

    def all_txn(self, txn: Transaction) -> list[int]:
        """The numbers of all rooms."""
        return [room for (room,) in txn.rows(_ALL)]
