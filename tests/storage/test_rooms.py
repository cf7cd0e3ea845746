# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

from storage.engine.database import Database
from storage.persist import RoomEpoch, Unit
from storage.rooms import ExtremitiesRemoved, ExtremityChange, NewRoom, RoomRow
from tests.support.storing import Storing, storing_over


async def extremities(storing: Storing, room: int) -> list[int]:
    read = storing.storage.database.read
    return await read("extremities", lambda txn: storing.storage.rooms.extremities_txn(txn, room))


async def test_a_room_and_its_fence(database: Database) -> None:
    storing = storing_over(database)
    rooms = storing.storage.rooms
    await storing.write(NewRoom(7, "12"), NewRoom(3, "10"))
    assert sorted(await database.read("all", rooms.all_txn)) == [3, 7]
    assert await database.read("room", lambda txn: rooms.get_txn(txn, 7)) == RoomRow(7, "12", 0)
    await storing.queue.submit(Unit([ExtremityChange(7, 1, ())], epoch=RoomEpoch(7, 0)))
    assert await database.read("room", lambda txn: rooms.get_txn(txn, 7)) == RoomRow(7, "12", 1)
    assert await database.read("room", lambda txn: rooms.get_txn(txn, 3)) == RoomRow(3, "10", 0)
    assert await database.read("room", lambda txn: rooms.get_txn(txn, 4)) is None


async def test_extremities_are_set_aside_and_come_back(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(ExtremityChange(1, 10, ()), ExtremityChange(1, 11, ()), ExtremityChange(2, 10, ()))
    await storing.write(ExtremitiesRemoved(1, (10, 11)), ExtremityChange(1, 12, ()))
    assert await extremities(storing, 1) == [12]
    assert await extremities(storing, 2) == [10]
    outcomes = await storing.write_together(
        [ExtremityChange(1, 13, (12,))], [ExtremitiesRemoved(1, (13,))], [ExtremityChange(1, 12, ())]
    )
    assert outcomes == [None, None, None]
    assert await extremities(storing, 1) == [12]


async def test_batches_of_changes_in_their_order(database: Database) -> None:
    """However the changes fall into batches, the extremities are what one change after another leaves."""
    rng = random.Random(5)
    storing = storing_over(database)
    for room in range(1, 6):
        expected: set[int] = set()
        for _ in range(8):
            units = []
            for _ in range(rng.randint(1, 4)):
                gone = tuple(rng.sample(sorted(expected), rng.randint(0, len(expected))))
                expected -= set(gone)
                if rng.random() < 0.3:
                    units.append([ExtremitiesRemoved(room, gone)])
                    continue
                new = rng.choice([n for n in range(1, 9) if n not in expected])
                expected.add(new)
                units.append([ExtremityChange(room, new, tuple(n for n in gone if n != new))])
                if new in gone:
                    units.insert(len(units) - 1, [ExtremitiesRemoved(room, (new,))])
            assert await storing.write_together(*units) == [None] * len(units)
            assert await extremities(storing, room) == sorted(expected)
