# SPDX-License-Identifier: Apache-2.0
"""Gaps: events that a room's graph refers to and that are not in it.

spec: server-server-api, "Backfilling and retrieving missing events".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from storage.engine.database import Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.event_ids import pack_event_id, unpack_event_id
from storage.writing import Writing, each

_COLUMNS = {"room": INTEGER, "event_id": BYTES, "referrer": INTEGER, "topo": INTEGER}
_INSERT = Batch(
    "INSERT INTO gaps (room, event_id, referrer, topo) SELECT room, event_id, referrer, topo FROM v"
    " WHERE true ON CONFLICT DO NOTHING",
    columns=_COLUMNS,
)
_DELETE = Batch(
    "DELETE FROM gaps WHERE EXISTS (SELECT 1 FROM v WHERE v.room = gaps.room AND v.event_id = gaps.event_id)",
    columns={"room": INTEGER, "event_id": BYTES},
)
_OF_ROOMS = Batch(
    "SELECT g.room, g.event_id, g.referrer, g.topo FROM v JOIN gaps g ON g.room = v.room"
    " ORDER BY g.room, g.topo DESC, g.referrer",
    columns={"room": INTEGER},
)
_OF_EVENTS = Batch(
    "SELECT g.room, g.event_id, g.referrer, g.topo FROM v JOIN gaps g"
    " ON g.room = v.room AND g.event_id = v.event_id ORDER BY g.topo DESC, g.referrer",
    columns={"room": INTEGER, "event_id": BYTES},
)


@attrs.frozen
class NewGap:
    """The event `event_id` is missing; the event `referrer`, which stands at `topo`, follows it."""

    room: int
    event_id: str
    referrer: int
    topo: int


@attrs.frozen
class GapClosed:
    """The event `event_id` of the room is missing no longer, whoever refers to it."""

    room: int
    event_id: str


@attrs.frozen
class Gap:
    """A missing event and one of those that refer to it; see `NewGap`."""

    room: int
    event_id: str
    referrer: int
    topo: int


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(NewGap, _INSERT, each(lambda r: (r.room, pack_event_id(r.event_id), r.referrer, r.topo))),
    Writing(GapClosed, _DELETE, each(lambda r: (r.room, pack_event_id(r.event_id)))),
)


class Gaps:
    """Reads gaps."""

    def of_room_txn(self, txn: Transaction, room: int) -> list[Gap]:
        """The gaps of the room, the one with the highest `topo` first."""
        return self.of_rooms_txn(txn, [room])[room]

    def of_rooms_txn(self, txn: Transaction, rooms: Iterable[int]) -> dict[int, list[Gap]]:
        """The gaps of several rooms, by room, the one with the highest `topo` first."""
        found: dict[int, list[Gap]] = {room: [] for room in rooms}
        for row in txn.batch(_OF_ROOMS, [(room,) for room in found]):
            found[row[0]].append(_gap(row))
        return found

    def referrers_txn(self, txn: Transaction, room: int, event_ids: Iterable[str]) -> dict[str, list[Gap]]:
        """For those of `event_ids` that are missing in the room: the gaps that they are, the highest `topo`
        first.

        What events of other rooms name says nothing of this one.
        """
        rows = [(room, packed) for packed in sorted({pack_event_id(event_id) for event_id in event_ids})]
        found: dict[str, list[Gap]] = {}
        for row in txn.batch(_OF_EVENTS, rows):
            gap = _gap(row)
            found.setdefault(gap.event_id, []).append(gap)
        return found


def _gap(row: tuple[Any, ...]) -> Gap:
    room, packed, referrer, topo = row
    return Gap(room, unpack_event_id(packed), referrer, topo)
