# SPDX-License-Identifier: Apache-2.0
"""Outliers, backfilled events, and which events the readers of a room's timeline leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from storage.engine.database import Database, Transaction
from storage.engine.errors import DataError
from storage.event import Event, StateAt, StoredEvent
from storage.event_records import (
    NewBackfilledEvent,
    NewEvent,
    NewOutlier,
    NewRedaction,
    OutlierBackfilled,
    OutlierPlaced,
    RedactionApplied,
)
from storage.events import BEGINNING, END, GraphRow, Place, Placed
from storage.rooms import NewRoom
from tests.support.event_records import event_id_of, event_named, outlier, placed_at
from tests.support.storing import Storing, storing_over

ROOM_ID = "!room:a.example"
MESSAGE, ALICE = 101, 102  # the numbers of a type and a sender
FIRST = StateAt(0, 1)


@attrs.frozen
class RoomOfEvents:
    """A room into which events are written straight."""

    storing: Storing
    room: int

    def event(self, name: str, **members: Any) -> Event:
        return event_named(name, ROOM_ID, **members)

    def new(self, stored: StoredEvent, index: int) -> NewEvent:
        return NewEvent(stored, self.room, MESSAGE, None, ALICE, index)

    def outlier(self, stored: StoredEvent) -> NewOutlier:
        return NewOutlier(stored, self.room, MESSAGE, None, ALICE)

    def backfilled(self, stored: StoredEvent, index: int) -> NewBackfilledEvent:
        return NewBackfilledEvent(stored, self.room, MESSAGE, None, ALICE, index)

    async def get(self, number: int) -> StoredEvent:
        """The event as it is on disk."""
        found = await self.storing.storage.database.read(
            "event", lambda txn: self.storing.storage.events.get_txn(txn, [number])
        )
        return found[0]

    async def shown(self) -> list[Placed]:
        """The whole room as a client pages through it, which every other reader must agree with."""
        events = self.storing.storage.events
        ahead = await events.forwards(self.room, after=BEGINNING, before=END, limit=100)
        back = await events.backwards(self.room, before=END, after=BEGINNING, limit=100)
        assert back == ahead[::-1]
        for backwards in (True, False):
            rows = await events.states_between(
                self.room, after=BEGINNING, before=END, backwards=backwards, limit=100
            )
            assert [row[:2] for row in rows] == [tuple(p) for p in (back if backwards else ahead)]
            assert all(row.before is not None for row in rows)
        return ahead

    async def news(self, *, after: int = 0, upto: int = 2**62, limit: int = 100) -> list[Placed]:
        """The events that a sync from the position `after` sees, the latest first."""
        events = self.storing.storage.events

        def read(txn: Transaction) -> Sequence[Placed]:
            return events.latest_txn(txn, [(self.room, after, upto)], limit).get(self.room, [])

        found = await events.between(self.room, after=after, upto=upto, limit=limit)
        assert await self.storing.storage.database.read("latest", read) == found
        return found


async def room_over(database: Database) -> RoomOfEvents:
    storing = storing_over(database)
    room = (await storing.storage.strings.intern([ROOM_ID]))[ROOM_ID]
    await storing.write(NewRoom(room, "10"))
    return RoomOfEvents(storing, room)


async def test_an_outlier_is_kept_and_shown_to_nobody(database: Database) -> None:
    room = await room_over(database)
    stored = outlier(room.event("one"), 1, rejected=True)
    await room.storing.write(room.outlier(stored), room.outlier(outlier(room.event("two"), 2)))
    found = await room.get(1)
    assert attrs.asdict(found) == attrs.asdict(stored)
    assert found.event.json == stored.event.json
    assert await room.shown() == []
    assert await room.news() == []
    events = room.storing.storage.events
    assert await events.numbers([event_id_of("one"), event_id_of("three")]) == {event_id_of("one"): 1}
    assert await database.read("last", events.last_positions_txn) == {}


async def test_an_event_is_not_stored_twice(database: Database) -> None:
    room = await room_over(database)
    await room.storing.write(room.outlier(outlier(room.event("one"), 1)))
    for record in (
        room.outlier(outlier(room.event("one"), 2)),
        room.new(placed_at(room.event("one"), 2, 1), 1),
        room.outlier(outlier(room.event("other"), 1)),
    ):
        with pytest.raises(DataError):
            await room.storing.write(record)


async def test_an_outlier_is_placed(database: Database) -> None:
    room = await room_over(database)
    await room.storing.write(room.outlier(outlier(room.event("one"), 1, rejected=True)))
    thread = event_id_of("root")
    stored = placed_at(
        room.event("one"),
        1,
        5,
        before=FIRST,
        after=StateAt(0, 2),
        thread=thread,
        notify_count=3,
        highlight_count=2,
    )
    base = await room.storing.write(
        room.new(placed_at(room.event("two"), 2, 4), 1), OutlierPlaced(stored, room.room, 2)
    )
    assert attrs.asdict(await room.get(1)) == attrs.asdict(stored.at(base + 2))
    assert await room.shown() == [Placed(2, Place(4, base + 1)), Placed(1, Place(5, base + 2))]
    assert await room.news(after=base + 1) == [Placed(1, Place(5, base + 2))]


async def test_an_outlier_is_placed_in_the_batch_that_brings_it(database: Database) -> None:
    room = await room_over(database)
    stored, earlier = placed_at(room.event("one"), 1, 5), placed_at(room.event("two"), 2, -9)
    outcomes = await room.storing.write_together(
        [room.outlier(outlier(room.event("one"), 1)), room.outlier(outlier(room.event("two"), 2))],
        [OutlierPlaced(stored, room.room, 1), OutlierBackfilled(earlier, room.room, 2)],
    )
    assert outcomes == [None, None]
    assert [placed.number for placed in await room.shown()] == [2, 1]
    assert [placed.number for placed in await room.news()] == [1]


async def test_backfilled_events_go_before_the_others_and_are_no_news(database: Database) -> None:
    room = await room_over(database)
    await room.storing.write(room.outlier(outlier(room.event("b"), 2)))
    first = await room.storing.write(room.new(placed_at(room.event("d"), 4, 2), 1))
    # From the top: c, then b and a side by side.
    base = await room.storing.write(
        room.backfilled(placed_at(room.event("c"), 3, 0), 1),
        OutlierBackfilled(placed_at(room.event("b"), 2, -1), room.room, 2),
        room.backfilled(placed_at(room.event("a"), 1, -1), 3),
    )
    assert base > first
    assert await room.shown() == [
        Placed(1, Place(-1, -(base + 3))),
        Placed(2, Place(-1, -(base + 2))),
        Placed(3, Place(0, -(base + 1))),
        Placed(4, Place(2, first + 1)),
    ]
    assert (await room.get(1)).position == -(base + 3)
    assert await room.news() == [Placed(4, Place(2, first + 1))]
    last = room.storing.storage.events.last_positions_txn
    assert await database.read("last", last) == {room.room: first + 1}


async def test_a_room_of_backfilled_events_alone_has_no_last_position(database: Database) -> None:
    room = await room_over(database)
    await room.storing.write(room.backfilled(placed_at(room.event("a"), 1, 0), 1))
    assert await database.read("last", room.storing.storage.events.last_positions_txn) == {}


@pytest.mark.parametrize(
    "members",
    [{"rejected": True}, {"soft_failed": True}, {"rejected": True, "soft_failed": True}, {"before": None}],
)
async def test_what_is_refused_or_of_unknown_state_is_not_shown(
    database: Database, members: dict[str, Any]
) -> None:
    room = await room_over(database)
    await room.storing.write(room.outlier(outlier(room.event("d"), 4)))
    base = await room.storing.write(
        room.new(placed_at(room.event("a"), 1, 1), 1),
        room.new(placed_at(room.event("b"), 2, 2, **members), 2),
        room.backfilled(placed_at(room.event("c"), 3, 0, **members), 3),
        OutlierPlaced(placed_at(room.event("d"), 4, 3, **members), room.room, 4),
        room.new(placed_at(room.event("e"), 5, 4), 5),
    )
    assert [placed.number for placed in await room.shown()] == [1, 5]
    assert [placed.number for placed in await room.news()] == [5, 1]
    assert [placed.number for placed in await room.news(limit=2)] == [5, 1]
    assert [placed.number for placed in await room.news(upto=base + 4, limit=1)] == [1]
    found = await room.get(2)
    assert (found.rejected, found.soft_failed) == (
        members.get("rejected", False),
        members.get("soft_failed", False),
    )
    assert found.before == members.get("before", StateAt(0, 0))


async def test_where_events_stand_in_the_graph(database: Database) -> None:
    room = await room_over(database)
    odd = "$\0/odd id:a.example"
    base = await room.storing.write(
        room.new(placed_at(room.event("a"), 1, 7, before=StateAt(3, -2), after=StateAt(3, -1)), 1),
        room.outlier(outlier(room.event("b"), 2, rejected=True)),
        room.new(placed_at(room.event("c", event_id=odd), 3, 8, before=None, soft_failed=True), 2),
        room.backfilled(placed_at(room.event("d"), 4, -1), 3),
    )
    asked = [event_id_of(name) for name in "abdx"]
    found = await database.read(
        "graph", lambda txn: room.storing.storage.events.graph_rows_txn(txn, [*asked, odd, *asked])
    )
    assert found == {
        asked[0]: GraphRow(room.room, 1, base + 1, 7, StateAt(3, -2), StateAt(3, -1), False, False),
        asked[1]: GraphRow(room.room, 2, None, None, None, None, True, False),
        odd: GraphRow(room.room, 3, base + 2, 8, None, None, False, True),
        asked[2]: GraphRow(room.room, 4, -(base + 3), -1, StateAt(0, 0), None, False, False),
    }
    ids = await database.read("ids", lambda txn: room.storing.storage.events.ids_txn(txn, [1, 3, 3, 99]))
    assert ids == {1: asked[0], 3: odd}


async def test_a_redaction_waits_for_its_target(database: Database) -> None:
    room = await room_over(database)
    events = room.storing.storage.events
    target, other, first, second = (event_id_of(name) for name in ("target", "other", "first", "second"))
    await room.storing.write(
        room.new(placed_at(room.event("first"), 1, 1), 1),
        NewRedaction(target, 1, first, None, False),
        room.new(placed_at(room.event("second"), 2, 2), 2),
        NewRedaction(target, 2, second, None, False),
        NewRedaction(other, 2, second, None, False),
    )
    waiting = await database.read(
        "w", lambda txn: events.waiting_redactions_txn(txn, [target, target, first])
    )
    assert waiting == {target: [(1, first), (2, second)]}
    await room.storing.write(
        room.new(placed_at(room.event("target"), 3, 3), 1), RedactionApplied(target, 2, second, 3)
    )
    assert (await room.get(3)).redacted_by == second
    waiting = await database.read("w", lambda txn: events.waiting_redactions_txn(txn, [target, other]))
    assert waiting == {target: [(1, first)], other: [(2, second)]}


async def test_a_redaction_and_its_target_in_one_batch(database: Database) -> None:
    room = await room_over(database)
    target, redaction = event_id_of("target"), event_id_of("redaction")
    outcomes = await room.storing.write_together(
        [
            room.new(placed_at(room.event("redaction"), 1, 1), 1),
            NewRedaction(target, 1, redaction, None, False),
        ],
        [room.new(placed_at(room.event("target"), 2, 2), 1), RedactionApplied(target, 1, redaction, 2)],
    )
    assert outcomes == [None, None]
    assert (await room.get(2)).redacted_by == redaction


async def test_a_thousand_outliers_at_once(database: Database) -> None:
    room = await room_over(database)
    records = [room.outlier(outlier(room.event(f"{n}"), n)) for n in range(1, 1_501)]
    await room.storing.write(*records)
    found = await room.storing.storage.events.by_id(event_id_of(f"{n}") for n in range(1, 1_502))
    assert sorted(stored.number for stored in found.values()) == list(range(1, 1_501))
    assert all(stored.event.content == {"body": f"{stored.number}"} for stored in found.values())
