# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from storage.engine.database import Database
from storage.persist import Unit
from storage.read_points import ReadHere, ReadUpTo
from storage.threads import EVERY_THREAD, MAIN, CountsAt
from tests.support.storing import Storing, storing_over

ALICE, BOB = 1, 2
ROOM, OTHER_ROOM = 7, 8
ROOT = "$root"


def up_to(position: int, thread: str = EVERY_THREAD, account: int = ALICE, room: int = ROOM) -> ReadUpTo:
    return ReadUpTo(account, room, thread, CountsAt(position, position * 10, position))


def here(index: int, thread: str = EVERY_THREAD, account: int = ALICE) -> ReadHere:
    return ReadHere(account, ROOM, thread, index, notify=index * 10, highlight=index)


async def points(storing: Storing, account: int = ALICE) -> dict[str, int]:
    """The positions of the user's points in `ROOM`; each has its counts."""
    found = await storing.storage.database.read(
        "points", lambda txn: storing.storage.read_points.of_rooms_txn(txn, account, [ROOM])
    )
    for point in found[ROOM].values():
        assert point[1:] == (point.position * 10, point.position)
    return {thread: point.position for thread, point in found[ROOM].items()}


async def test_points_of_threads_stand_beside_each_other(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(up_to(3), up_to(5, MAIN), up_to(6, ROOT), up_to(9, account=BOB), up_to(4, room=8))
    assert await points(storing) == {EVERY_THREAD: 3, MAIN: 5, ROOT: 6}
    assert await points(storing, BOB) == {EVERY_THREAD: 9}


async def test_a_point_never_moves_back(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(up_to(5), up_to(8), up_to(6))
    await storing.write(up_to(7))
    assert await points(storing) == {EVERY_THREAD: 8}
    await storing.queue.submit(Unit([here(1), here(2)], positions=2))
    assert await points(storing) == {EVERY_THREAD: 8}
    await storing.write(up_to(9))
    assert await points(storing) == {EVERY_THREAD: 9}


async def test_a_point_at_the_event_it_is_written_with(database: Database) -> None:
    storing = storing_over(database)
    await storing.queue.submit(Unit([here(1), here(3), here(2, MAIN), here(2, account=BOB)], positions=3))
    assert await points(storing) == {EVERY_THREAD: 3, MAIN: 2}
    assert await points(storing, BOB) == {EVERY_THREAD: 2}


async def test_reading_all_of_a_room_overtakes_points_of_threads(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(up_to(5, MAIN), up_to(9, ROOT), up_to(5, MAIN, account=BOB))
    await storing.write(up_to(5))
    assert await points(storing) == {EVERY_THREAD: 5, ROOT: 9}
    assert await points(storing, BOB) == {MAIN: 5}
