# SPDX-License-Identifier: Apache-2.0
"""The commit of the write queue: fences, positions, all or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from storage.engine.database import Database, Fence, Tail, Transaction
from storage.engine.errors import DataError, FenceLost
from storage.engine.statement import BYTES, INTEGER, Batch
from tests.support.databases import DatabaseHome

POSITIONED = Batch(
    "INSERT INTO items (item, data, position) SELECT v.item, v.data, base.value + v.i FROM v, base",
    {"item": INTEGER, "data": BYTES, "i": INTEGER},
)
PLAIN = Batch("INSERT INTO items (item) SELECT item FROM v WHERE true", {"item": INTEGER})


def nothing(_txn: Transaction) -> None:
    """A head that does nothing."""


async def rooms(database: Database, *numbers: int) -> None:
    make = Batch("INSERT INTO rooms (room, fence) SELECT room, 0 FROM v WHERE true", {"room": INTEGER})
    await database.write("rooms", lambda txn: txn.batch(make, [(number,) for number in numbers]))


async def fences(database: Database) -> dict[int, int]:
    return dict(await database.read("fences", lambda txn: txn.rows("SELECT room, fence FROM rooms")))


async def positions(database: Database) -> list[tuple[Any, ...]]:
    sql = "SELECT item, position FROM items ORDER BY item"
    return await database.read("positions", lambda txn: txn.rows(sql))


async def last_position(database: Database) -> int:
    row = await database.read(
        "last", lambda txn: txn.row("SELECT value FROM counters WHERE name = 'position'")
    )
    assert row is not None
    return int(row[0])


async def test_rows_get_the_positions_that_were_taken(items: Database) -> None:
    first = Tail((), 3, [(POSITIONED, [(1, b"a", 1), (2, None, 2)]), (POSITIONED, [(3, b"c", 3)])])
    assert await items.commit("first", lambda txn: txn.batch(PLAIN, [(100,)]) and None, first) == 0
    assert await items.commit("second", nothing, Tail((), 1, [(POSITIONED, [(4, b"d", 1)])])) == 3
    assert await positions(items) == [(1, 1), (2, 2), (3, 3), (4, 4), (100, None)]
    assert await last_position(items) == 4


async def test_many_rows_share_one_base(items: Database) -> None:
    rows = [(item, b"x", item) for item in range(1, 2_501)]
    assert await items.commit("before", nothing, Tail((), 10, ())) == 0
    assert await items.commit("many", nothing, Tail((), 2_500, [(POSITIONED, rows)])) == 10
    assert await positions(items) == [(item, item + 10) for item in range(1, 2_501)]


async def test_a_commit_without_positions_returns_the_last_one(items: Database) -> None:
    await items.commit("before", nothing, Tail((), 7, ()))
    assert await items.commit("none", nothing, Tail()) == 7
    assert await items.commit("none", lambda txn: txn.batch(PLAIN, [(1,)]) and None, Tail()) == 7
    assert await last_position(items) == 7
    assert await positions(items) == [(1, None)]


async def test_fences_are_raised(items: Database) -> None:
    await rooms(items, 5, 6, 7)
    await items.commit("both", nothing, Tail([Fence(5, 0), Fence(7, 0)], 1))
    await items.commit("one", nothing, Tail([Fence(7, 1)], 1))
    assert await fences(items) == {5: 1, 6: 0, 7: 2}


async def test_a_room_can_be_made_and_fenced_in_one_commit(items: Database) -> None:
    def head(txn: Transaction) -> None:
        txn.execute("INSERT INTO rooms (room, fence) VALUES (?, ?)", (9, 0))

    await items.commit("create", head, Tail([Fence(9, 0)], 1))
    assert await fences(items) == {9: 1}


@pytest.mark.parametrize(
    ("asked", "lost"),
    [
        ([Fence(5, 1)], (5,)),  # behind by one: the fence is as high as the commit would make it
        ([Fence(5, 3), Fence(6, 0)], (5,)),
        ([Fence(6, 4), Fence(5, 2), Fence(8, 0), Fence(7, 9)], (6, 7, 8)),  # 8 is unknown
    ],
)
async def test_a_lost_fence_writes_nothing(
    items: Database, asked: list[Fence], lost: tuple[int, ...]
) -> None:
    await rooms(items, 5, 6, 7)
    await items.write("raise", lambda txn: txn.execute("UPDATE rooms SET fence = 2 WHERE room = 5"))
    tail = Tail(asked, 4, [(POSITIONED, [(1, b"a", 1)])])
    with pytest.raises(FenceLost) as caught:
        await items.commit("late", lambda txn: txn.batch(PLAIN, [(2,)]) and None, tail)
    assert caught.value.rooms == lost
    assert await fences(items) == {5: 2, 6: 0, 7: 0}
    assert await positions(items) == []
    assert await last_position(items) == 0
    assert await items.commit("again", nothing, Tail([Fence(5, 2)], 1)) == 0


@pytest.mark.parametrize("where", ["head", "tail", "value"])
async def test_a_data_error_takes_back_all_of_it(items: Database, where: str) -> None:
    await rooms(items, 5)
    await items.commit("first", nothing, Tail((), 1, [(POSITIONED, [(1, b"a", 1)])]))

    def head(txn: Transaction) -> None:
        txn.batch(PLAIN, [(2,), (1,)] if where == "head" else [(2,)])

    rows = {"head": (3, b"x", 1), "tail": (1, b"x", 1), "value": (3, b"x", 2**63)}
    with pytest.raises(DataError):
        await items.commit("bad", head, Tail([Fence(5, 0)], 1, [(POSITIONED, [rows[where]])]))
    assert await positions(items) == [(1, 1)]
    assert await fences(items) == {5: 0}
    assert await items.commit("good", nothing, Tail([Fence(5, 0)], 1, [(POSITIONED, [(2, b"x", 1)])])) == 1


async def test_an_exception_in_the_head_takes_back_all_of_it(items: Database) -> None:
    def head(txn: Transaction) -> None:
        txn.batch(PLAIN, [(2,)])
        raise ArithmeticError("wrong")

    with pytest.raises(ArithmeticError):
        await items.commit("bad", head, Tail((), 1, [(POSITIONED, [(3, b"x", 1)])]))
    assert await positions(items) == []
    assert await last_position(items) == 0


async def test_positions_of_two_committers_have_no_gaps(items_home: DatabaseHome) -> None:
    """Failed commits give their positions back, whoever else commits at the time."""
    databases = [await items_home.open(), await items_home.open()]

    async def commit_many(offset: int) -> list[tuple[int, int]]:
        taken = []
        for round_ in range(20):
            count = 1 + (round_ + offset) % 3
            first = (offset + round_) * 10
            if round_ % 4 == 3:
                first = offset * 10  # used before
            rows = [(first + i, b"x", i) for i in range(1, count + 1)]
            try:
                base = await databases[offset % 2].commit("c", nothing, Tail((), count, [(POSITIONED, rows)]))
            except DataError:
                continue
            taken += [(first + i, base + i) for i in range(1, count + 1)]
        return taken

    taken = await gatherResults([Deferred.fromCoroutine(commit_many(offset)) for offset in (0, 1_001)])
    written = await positions(databases[0])
    assert sorted(taken[0] + taken[1]) == written
    assert sorted(position for _, position in written) == list(range(1, len(written) + 1))
    assert len(written) == await last_position(databases[1])


async def test_two_committers_race_for_one_fence(items_home: DatabaseHome) -> None:
    databases = [await items_home.open(), await items_home.open()]
    await rooms(databases[0], 1, 2)
    wins = [0, 0]

    async def race(who: int) -> None:
        fence, other = 0, 0
        order = [1, 2] if who else [2, 1]
        while sum(wins) < 30:
            known = {1: fence, 2: other}
            try:
                await databases[who].commit(
                    "race", nothing, Tail([Fence(room, known[room]) for room in order], 1)
                )
                wins[who] += 1
            except FenceLost:
                pass
            now = await fences(databases[who])
            fence, other = now[1], now[2]

    await gatherResults([Deferred.fromCoroutine(race(who)) for who in (0, 1)])
    assert await fences(databases[0]) == {1: sum(wins), 2: sum(wins)}
    assert await last_position(databases[0]) == sum(wins)
