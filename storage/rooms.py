# SPDX-License-Identifier: Apache-2.0
"""Rooms: their version, their fence, and the forward extremities of their graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import attrs

from storage.engine.database import Transaction
from storage.engine.statement import INTEGER, TEXT, Batch
from storage.writing import Indexed, Writing, each

_INSERT = Batch(
    "INSERT INTO rooms (room, version, fence) SELECT room, version, 0 FROM v",
    columns={"room": INTEGER, "version": TEXT},
)
# In place, since nearly every event takes the place of the one before it.
_MOVE_EXTREMITIES = Batch(
    "UPDATE extremities SET event = v.added FROM v"
    " WHERE extremities.room = v.room AND extremities.event = v.removed",
    columns={"room": INTEGER, "removed": INTEGER, "added": INTEGER},
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


class _Net(NamedTuple):
    """What a batch does to the extremities on disk: (room, removed, added), and (room, event) of others."""

    moved: list[tuple[int, int, int]]
    removed: list[tuple[int, int]]
    added: list[tuple[int, int]]


def _net(records: Sequence[Indexed[ExtremityChange | ExtremitiesRemoved]]) -> _Net:
    stored_no_more: dict[int, set[int]] = {}
    new: dict[int, set[int]] = {}
    for _, change in records:
        gone, come = stored_no_more.setdefault(change.room, set()), new.setdefault(change.room, set())
        for event in change.removed if isinstance(change, ExtremityChange) else change.events:
            if event in come:
                come.remove(event)
            else:
                gone.add(event)
        if isinstance(change, ExtremityChange):
            if change.added in gone:
                gone.remove(change.added)
            else:
                come.add(change.added)
    net = _Net([], [], [])
    for room in sorted(new):
        gone, come = stored_no_more[room], new[room]
        while gone and come:
            net.moved.append((room, gone.pop(), come.pop()))
        net.removed.extend((room, event) for event in gone)
        net.added.extend((room, event) for event in come)
    return net


def _extremities(statement: Batch, rows: Callable[[_Net], list[tuple[int, ...]]]) -> Writing[Any]:
    return Writing(
        ExtremityChange, statement, lambda records: rows(_net(records)), also=(ExtremitiesRemoved,)
    )


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(NewRoom, _INSERT, each(lambda r: (r.room, r.version))),
    _extremities(_MOVE_EXTREMITIES, lambda net: list(net.moved)),
    _extremities(_REMOVE_EXTREMITIES, lambda net: list(net.removed)),
    _extremities(_ADD_EXTREMITIES, lambda net: list(net.added)),
)


def room_txn(txn: Transaction, room: int) -> RoomRow | None:
    """The room with this number, or None."""
    row = txn.row(_GET, (room,))
    return None if row is None else RoomRow(room=room, version=row[0], fence=row[1])


class Rooms:
    """Reads rooms."""

    def get_txn(self, txn: Transaction, room: int) -> RoomRow | None:
        """The room with this number, or None."""
        return room_txn(txn, room)

    def extremities_txn(self, txn: Transaction, room: int) -> list[int]:
        """Numbers of the forward extremities of the room."""
        return [event for (event,) in txn.rows(_EXTREMITIES, (room,))]

    def all_txn(self, txn: Transaction) -> list[int]:
        """The numbers of all rooms."""
        return [room for (room,) in txn.rows(_ALL)]
