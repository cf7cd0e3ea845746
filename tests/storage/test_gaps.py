# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from storage.engine.database import Database
from storage.gaps import Gap, GapClosed, NewGap
from tests.support.event_records import event_id_of
from tests.support.storing import storing_over

A, B, ODD = event_id_of("a"), event_id_of("b"), "$\0/odd id:a.example"


async def test_gaps_are_opened_and_closed(database: Database) -> None:
    storing = storing_over(database)
    gaps = storing.storage.gaps
    await storing.write(
        NewGap(1, A, referrer=10, topo=5),
        NewGap(1, A, referrer=11, topo=9),
        NewGap(1, B, referrer=11, topo=9),
        NewGap(1, A, referrer=10, topo=5),
        NewGap(2, A, referrer=20, topo=-3),
        NewGap(2, ODD, referrer=20, topo=-3),
    )
    of_room = await database.read("gaps", lambda txn: gaps.of_room_txn(txn, 1))
    assert [gap.topo for gap in of_room] == [9, 9, 5]
    assert set(of_room) == {Gap(1, A, 11, 9), Gap(1, B, 11, 9), Gap(1, A, 10, 5)}
    referrers = await database.read("gaps", lambda txn: gaps.referrers_txn(txn, 1, [A, ODD, A, "$none"]))
    assert referrers == {A: [Gap(1, A, 11, 9), Gap(1, A, 10, 5)]}
    elsewhere = await database.read("gaps", lambda txn: gaps.referrers_txn(txn, 2, [A, ODD]))
    assert elsewhere == {A: [Gap(2, A, 20, -3)], ODD: [Gap(2, ODD, 20, -3)]}
    await storing.write(GapClosed(1, A), GapClosed(2, ODD), GapClosed(1, "$none"))
    assert await database.read("gaps", lambda txn: gaps.of_rooms_txn(txn, [1, 2, 3])) == {
        1: [Gap(1, B, 11, 9)],
        2: [Gap(2, A, 20, -3)],
        3: [],
    }


async def test_a_gap_that_one_batch_opens_and_closes(database: Database) -> None:
    storing = storing_over(database)
    outcomes = await storing.write_together([NewGap(1, A, 10, 5), NewGap(1, B, 10, 5)], [GapClosed(1, A)])
    assert outcomes == [None, None]
    left = await database.read("gaps", lambda txn: storing.storage.gaps.of_room_txn(txn, 1))
    assert left == [Gap(1, B, 10, 5)]
