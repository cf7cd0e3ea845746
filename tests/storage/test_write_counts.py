# SPDX-License-Identifier: Apache-2.0
"""The write queue counts what it does with units."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import DeferredList

from storage.account_data import GLOBAL, AccountData
from storage.aliases import Alias
from storage.engine.database import Database
from storage.persist import RoomEpoch, Unit
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_counts import WriteCounts
from storage.write_queue import WriteQueue


@attrs.frozen
class Queueing:
    queue: WriteQueue
    counts: WriteCounts

    async def outcomes(self, *units: Unit) -> list[bool]:
        submitted = [self.queue.submit(unit) for unit in units]
        return [written for written, _ in await DeferredList(submitted, consumeErrors=True)]


def queueing_over(database: Database, **settings: Any) -> Queueing:
    counts = WriteCounts()
    queue = WriteQueue(
        database=database,
        strings=Storage.over(database).strings,
        clock=reactor,
        background=BackgroundTasks(),
        on_commit=(),
        counts=counts,
        **settings,
    )
    return Queueing(queue, counts)


def data(name: str, epoch: RoomEpoch | None = None) -> Unit:
    return Unit([AccountData(1, GLOBAL, name, b"{}", index=1)], positions=1, epoch=epoch)


def alias(name: str, epoch: RoomEpoch | None = None) -> Unit:
    return Unit([Alias(name, room=1, creator=1)], epoch=epoch)


async def test_units_and_batches_are_counted(database: Database) -> None:
    queueing = queueing_over(database, batch_limit=3)
    assert await queueing.outcomes(*(data(f"type {i}") for i in range(4))) == [True] * 4
    counts = queueing.counts
    assert sum(counts.batches.counts) == 2
    assert counts.batches.total == 4
    assert sum(counts.waits.counts) == 4
    assert sum(counts.commits.counts) == 2
    # Each unit waited at least as long as the commit that it was in.
    assert counts.waits.total > counts.commits.total > 0
    assert set(counts.refused.values()) == {0}


async def test_refused_units_are_counted_by_reason(database: Database) -> None:
    queueing = queueing_over(database)
    await queueing.outcomes(alias("#a:test"))
    mistake: Any = {"no": "alias"}
    written = await queueing.outcomes(alias("#a:test"), data("good"), alias(mistake))
    assert written == [False, True, False]
    assert queueing.counts.refused == {
        "full": 0,
        "data": 1,
        "unavailable": 0,
        "unknown_outcome": 0,
        "mistake": 1,
    }


async def test_a_unit_that_builds_on_a_refused_one_is_counted_as_reloaded(database: Database) -> None:
    queueing = queueing_over(database)
    epoch = RoomEpoch(room=1, fence=0)
    epoch.broken = True
    assert await queueing.outcomes(data("late", epoch)) == [False]
    assert queueing.counts.reloaded == 1
    assert set(queueing.counts.refused.values()) == {0}


async def test_a_lost_fence_is_counted(database: Database) -> None:
    queueing = queueing_over(database)
    assert await queueing.outcomes(data("never", RoomEpoch(room=1, fence=7))) == [False]
    assert queueing.counts.lost_fences == 1
    assert queueing.counts.reloaded == 1


async def test_what_a_full_queue_does_not_take_is_counted(database: Database) -> None:
    queueing = queueing_over(database, queue_limit=2)
    first = queueing.outcomes(*(data(f"type {i}") for i in range(4)))
    assert await first == [True, True, False, False]
    assert queueing.counts.refused["full"] == 2
    assert queueing.queue.waiting == 0
