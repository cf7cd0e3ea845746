# SPDX-License-Identifier: Apache-2.0
"""What a database does is counted by name, and its threads say how busy they are."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from storage.engine.database import Database, PoolUse
from storage.engine.errors import DataError
from storage.engine.opening import open_database
from storage.engine.work_counts import WorkCounts, pool_metrics
from tests.support.databases import DatabaseHome


def figures(counts: WorkCounts) -> dict[str, dict[str, float]]:
    """By metric: the figure of each piece of work."""
    return {
        metric.name: {sample.labels["work"]: sample.value for sample in metric.samples}
        for metric in counts.collect()
    }


async def test_work_is_counted_by_name(items_home: DatabaseHome) -> None:
    counts = WorkCounts()
    database = await open_database(
        items_home.settings, reactor=reactor, schema=items_home.schema, observe=counts.observe
    )
    pause = threading.Event()
    try:
        for _ in range(3):
            await database.read("look", lambda txn: txn.row("SELECT 1"))
        await database.read("slow", lambda txn: pause.wait(0.05))
        with pytest.raises(DataError):
            await database.write(
                "bad", lambda txn: txn.execute("INSERT INTO items (item) VALUES (?)", (2**63,))
            )
    finally:
        await database.close()
    seen = figures(counts)
    done = seen["trellis_database_work"]
    assert {name: count for name, count in done.items() if name != "migrate"} == {
        "look": 3,
        "slow": 1,
        "bad": 1,
    }
    assert 0.05 <= seen["trellis_database_work_seconds"]["slow"] < 5
    assert set(seen["trellis_database_work_waiting_seconds"]) == set(done)


async def test_what_waits_for_a_thread_is_told_apart(items_home: DatabaseHome) -> None:
    counts = WorkCounts()
    counts.observe("read", 0.5, 0.25)
    counts.observe("read", 1.0, 0.25)
    assert figures(counts)["trellis_database_work_seconds"] == {"read": 0.5}
    assert figures(counts)["trellis_database_work_waiting_seconds"] == {"read": 1.5}


async def test_pools_say_how_busy_they_are(items: Database) -> None:
    idle = items.pools()
    assert all(pool.busy == pool.waiting == 0 for pool in idle)
    readers = idle[-1].threads
    entered, leave = threading.Semaphore(0), threading.Event()

    def hold(_txn: object) -> None:
        entered.release()
        assert leave.wait(30)

    reading = [Deferred.fromCoroutine(items.read("hold", hold)) for _ in range(readers + 3)]
    try:
        for _ in range(readers):
            assert await deferToThread(entered.acquire, True, 30)
        committer, pool = items.pools()
        assert (pool.busy, pool.waiting) == (readers, 3)
        assert committer.busy == 0
    finally:
        leave.set()
    for one in reading:
        await one


def test_the_metrics_of_pools() -> None:
    uses = (PoolUse("writer", 1, 1, 7), PoolUse("reader", 4, 2, 0))
    values: dict[Any, float] = {
        (metric.name, sample.labels["pool"]): sample.value
        for metric in pool_metrics(lambda: uses)
        for sample in metric.samples
    }
    assert values == {
        ("trellis_database_threads", "writer"): 1,
        ("trellis_database_threads", "reader"): 4,
        ("trellis_database_busy_threads", "writer"): 1,
        ("trellis_database_busy_threads", "reader"): 2,
        ("trellis_database_waiting_work", "writer"): 7,
        ("trellis_database_waiting_work", "reader"): 0,
    }
