# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from storage.engine.database import Database
from storage.notification_exceptions import NotificationException
from storage.persist import Unit
from storage.read_points import ReadUpTo
from storage.threads import EVERY_THREAD, MAIN, CountsAt
from tests.support.storing import Storing, storing_over

ALICE, BOB = 1, 2
ROOM, OTHER_ROOM = 7, 8
ROOT = "$root"
PLACES = [
    (ALICE, ROOM, MAIN),
    (ALICE, ROOM, ROOT),
    (BOB, ROOM, MAIN),
    (ALICE, ROOM, MAIN),
    (ALICE, OTHER_ROOM, MAIN),
]


async def with_exceptions(database: Database) -> Storing:
    storing = storing_over(database)
    records = [NotificationException(*place, -1, 1, index) for index, place in enumerate(PLACES, 1)]
    await storing.queue.submit(Unit(records, positions=len(records)))
    return storing


async def left(storing: Storing, account: int = ALICE) -> dict[int, list[tuple[int, str]]]:
    found = await storing.storage.database.read(
        "exceptions",
        lambda txn: storing.storage.notification_exceptions.of_rooms_txn(txn, account, [ROOM, OTHER_ROOM]),
    )
    assert all((x.notify, x.highlight, x.room) == (-1, 1, room) for room, xs in found.items() for x in xs)
    return {room: [(x.position, x.thread) for x in exceptions] for room, exceptions in found.items()}


async def test_exceptions_are_read_in_order(database: Database) -> None:
    storing = await with_exceptions(database)
    assert await left(storing) == {ROOM: [(1, MAIN), (2, ROOT), (4, MAIN)], OTHER_ROOM: [(5, MAIN)]}
    assert await left(storing, BOB) == {ROOM: [(3, MAIN)], OTHER_ROOM: []}


@pytest.mark.parametrize(
    ("thread", "position", "remain"),
    [
        (EVERY_THREAD, 2, [(4, MAIN)]),
        (EVERY_THREAD, 4, []),
        (MAIN, 1, [(2, ROOT), (4, MAIN)]),
        (MAIN, 9, [(2, ROOT)]),
        (ROOT, 9, [(1, MAIN), (4, MAIN)]),
        (ROOT, 1, [(1, MAIN), (2, ROOT), (4, MAIN)]),
    ],
)
async def test_what_is_read_is_deleted(
    database: Database, thread: str, position: int, remain: list[tuple[int, str]]
) -> None:
    storing = await with_exceptions(database)
    await storing.write(ReadUpTo(ALICE, ROOM, thread, CountsAt(position, 0, 0)))
    assert await left(storing) == {ROOM: remain, OTHER_ROOM: [(5, MAIN)]}
    assert await left(storing, BOB) == {ROOM: [(3, MAIN)], OTHER_ROOM: []}
