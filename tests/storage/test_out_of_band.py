# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from storage.engine.database import Database
from storage.memberships import Membership
from storage.out_of_band import OutOfBandMembership
from storage.persist import Unit
from tests.support.storing import Storing, storing_over

ALICE, BOB = 1, 2
ROOM, OTHER_ROOM = 7, 8
STATE = b'[{"type":"m.room.create\\u0000"}]'


def membership(event: int, kind: str = "invite", account: int = ALICE, **options: bool) -> Membership:
    return Membership(account, ROOM, kind, event, index=1, **options)


def told(event: int, state: bytes = STATE, account: int = ALICE) -> OutOfBandMembership:
    return OutOfBandMembership(account, ROOM, event, "12", state, index=1)


async def write(storing: Storing, *records: Membership | OutOfBandMembership) -> int:
    """Write one unit; returns the position of its records."""
    return (await storing.queue.submit(Unit(records, positions=1))).base + 1


async def rows(storing: Storing, account: int = ALICE) -> dict[int, OutOfBandMembership]:
    return await storing.storage.out_of_band.of_rooms(account, (ROOM, OTHER_ROOM))


async def test_what_is_told_of_a_room_stands_beside_the_membership(database: Database) -> None:
    storing = storing_over(database)
    position = await write(storing, membership(5), told(5))
    await write(storing, membership(6, account=BOB), told(6, b"[]", BOB))
    row = OutOfBandMembership(ALICE, ROOM, 5, "12", STATE, position=position)
    assert await rows(storing) == {ROOM: row}
    assert (await rows(storing, BOB))[ROOM].event == 6


async def test_a_newer_one_takes_its_place(database: Database) -> None:
    storing = storing_over(database)
    await write(storing, membership(5, "knock"), told(5))
    position = await write(storing, membership(6), told(6, b"[1]"))
    assert await rows(storing) == {ROOM: OutOfBandMembership(ALICE, ROOM, 6, "12", b"[1]", position=position)}


@pytest.mark.parametrize(
    "later",
    [membership(6, "join"), membership(6, "leave"), membership(5), membership(6, "leave", forgotten=True)],
    ids=["join", "leave", "the same invite by way of the room", "left and forgotten at once"],
)
async def test_any_other_membership_ends_it(database: Database, later: Membership) -> None:
    storing = storing_over(database)
    await write(storing, membership(5), told(5))
    await write(storing, membership(6, account=BOB), told(6, account=BOB))
    await write(storing, later)
    assert await rows(storing) == {}
    assert await rows(storing, BOB) != {}


@pytest.mark.parametrize("forgotten", [False, True])
async def test_forgetting_leaves_the_leave_where_it_was(database: Database, forgotten: bool) -> None:
    storing = storing_over(database)
    await write(storing, membership(5), told(5))
    position = await write(storing, membership(6, "leave", forgotten=forgotten), told(6, b"[]"))
    await write(storing, membership(6, "leave", forgotten=True))
    assert (await rows(storing))[ROOM].position == position


async def test_a_join_in_the_same_batch_leaves_nothing_that_counts(database: Database) -> None:
    storing = storing_over(database)
    units = [Unit([membership(5), told(5)], positions=1), Unit([membership(6, "join")], positions=1)]
    for waiting in [storing.queue.submit(unit) for unit in units]:
        await waiting
    current = await storing.storage.memberships.of_account(ALICE)
    assert [(m.membership, m.event) for m in current] == [("join", 6)]
    assert all(row.event != 6 for row in (await rows(storing)).values())


async def test_the_version_that_was_told_last(database: Database) -> None:
    storing = storing_over(database)
    read = storing.storage.out_of_band.version_txn
    await write(storing, membership(5), told(5))
    await write(storing, membership(6, account=BOB), OutOfBandMembership(BOB, ROOM, 6, "11", index=1))
    assert await database.read("version", lambda txn: read(txn, ROOM)) == "11"
    assert await database.read("version", lambda txn: read(txn, OTHER_ROOM)) is None


async def test_who_is_joined(database: Database) -> None:
    storing = storing_over(database)
    memberships = storing.storage.memberships
    await write(storing, membership(5, "invite"))

    async def joined() -> bool:
        return await database.read("joined", lambda txn: memberships.is_anybody_joined_txn(txn, ROOM))

    assert not await joined()
    await write(storing, membership(6, "join", BOB))
    assert await joined()
    found = await database.read("one", lambda txn: memberships.get_txn(txn, BOB, ROOM))
    assert found is not None
    assert (found.membership, found.event) == ("join", 6)
    assert await database.read("none", lambda txn: memberships.get_txn(txn, BOB, OTHER_ROOM)) is None
