# SPDX-License-Identifier: Apache-2.0
"""Requests to a database: snapshots, concurrency, cancellation, the end."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread

from storage.engine.database import Database, Tail, Transaction
from storage.engine.errors import DatabaseUnavailable, DataError, OutcomeUnknown
from storage.engine.opening import open_database
from tests.support.databases import DatabaseHome

COUNT = "SELECT count(*) FROM items"
INSERT = "INSERT INTO items (item) VALUES (?)"


def nothing(_txn: Transaction) -> None:
    """A head that does nothing."""


async def insert(database: Database, item: int) -> None:
    await database.write("insert", lambda txn: txn.execute(INSERT, (item,)))


async def count(database: Database) -> int:
    row = await database.read("count", lambda txn: txn.row(COUNT))
    assert row is not None
    return int(row[0])


class Gate:
    """Holds work in its thread until the test lets it go on."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()

    def wait(self) -> None:
        """Called by the work."""
        self._entered.set()
        assert self._open.wait(30)

    async def entered(self) -> None:
        """Returns once the work waits."""
        assert await deferToThread(self._entered.wait, 30)

    def open(self) -> None:
        """Let the work go on."""
        self._open.set()


@pytest.fixture
def gate() -> Any:
    gate = Gate()
    yield gate
    gate.open()


async def test_a_read_sees_one_snapshot_while_others_write(items: Database, gate: Gate) -> None:
    def work(txn: Transaction) -> list[Any]:
        before = txn.row(COUNT)
        gate.wait()
        return [before, txn.row(COUNT), txn.rows("SELECT item FROM items")]

    await insert(items, 1)
    reading = Deferred.fromCoroutine(items.read("long", work))
    await gate.entered()
    await insert(items, 2)
    await items.commit("commit", lambda txn: txn.execute(INSERT, (3,)) and None, Tail())
    assert await count(items) == 3
    gate.open()
    assert await reading == [(1,), (1,), [(1,)]]


async def test_reads_run_while_a_write_does(items: Database, gate: Gate) -> None:
    def work(txn: Transaction) -> None:
        txn.execute(INSERT, (1,))
        gate.wait()

    writing = Deferred.fromCoroutine(items.write("long", work))
    await gate.entered()
    assert await count(items) == 0
    assert await gatherResults([Deferred.fromCoroutine(count(items)) for _ in range(10)]) == [0] * 10
    gate.open()
    await writing
    assert await count(items) == 1


async def test_reads_run_beside_each_other(items: Database) -> None:
    both = threading.Barrier(2, timeout=30)
    reads = [Deferred.fromCoroutine(items.read("meet", lambda txn: both.wait())) for _ in range(2)]
    assert sorted(await gatherResults(reads)) == [0, 1]


async def test_a_failure_leaves_its_thread_in_order(items: Database) -> None:
    await insert(items, 1)
    for _ in range(5):
        with pytest.raises(DataError):
            await insert(items, 1)
        with pytest.raises(ZeroDivisionError):
            await items.read("mistake", lambda txn: 1 // 0)
        with pytest.raises(DataError):
            await items.commit("commit", lambda txn: txn.execute(INSERT, (1,)) and None, Tail())
    assert await count(items) == 1


async def test_many_requests_at_once_are_all_answered(items: Database) -> None:
    writes = [Deferred.fromCoroutine(insert(items, item)) for item in range(200)]
    reads = [Deferred.fromCoroutine(items.read("echo", lambda txn, i=i: i)) for i in range(200)]
    assert await gatherResults(reads) == list(range(200))
    await gatherResults(writes)
    assert await count(items) == 200


async def test_answers_arrive_in_the_reactors_thread_and_work_elsewhere(items: Database) -> None:
    here = threading.get_ident()
    assert await items.read("where", lambda txn: threading.get_ident()) != here
    assert threading.get_ident() == here


async def test_work_sees_the_context_of_its_request(items: Database) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    request.set("GET-1")
    assert await items.read("context", lambda txn: request.get()) == "GET-1"
    assert await items.write("context", lambda txn: request.get()) == "GET-1"
    assert request.get() == "GET-1"


async def test_a_request_that_was_given_up_is_not_begun(items: Database, gate: Gate) -> None:
    holding = [Deferred.fromCoroutine(items.write("hold", lambda txn: gate.wait())) for _ in range(2)]
    await gate.entered()
    given_up = Deferred.fromCoroutine(insert(items, 1))
    kept = Deferred.fromCoroutine(insert(items, 2))
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    gate.open()
    await gatherResults([*holding, kept])
    assert await items.read("items", lambda txn: txn.rows("SELECT item FROM items")) == [(2,)]


async def test_a_request_that_is_given_up_while_it_runs_does_no_harm(items: Database, gate: Gate) -> None:
    reading = Deferred.fromCoroutine(items.read("long", lambda txn: gate.wait()))
    await gate.entered()
    reading.cancel()
    with pytest.raises(CancelledError):
        await reading
    gate.open()
    assert await count(items) == 0


async def test_the_observer_is_told_of_all_work(items_home: DatabaseHome) -> None:
    seen: list[tuple[str, float, float]] = []
    database = await open_database(
        items_home.settings,
        reactor=reactor,
        schema=items_home.schema,
        observe=lambda name, waited, ran: seen.append((name, waited, ran)),
    )
    try:
        await database.read("slow", lambda txn: time.sleep(0.05))
        with pytest.raises(DataError):
            await database.write("bad", lambda txn: txn.execute(INSERT, (2**63,)))
    finally:
        await database.close()
    names = [name for name, _, _ in seen if name != "migrate"]
    assert names == ["slow", "bad"]
    (ran,) = [ran for name, _, ran in seen if name == "slow"]
    assert 0.05 <= ran < 5
    assert all(waited >= 0 for _, waited, _ in seen)


async def test_close_finishes_what_is_queued(items_home: DatabaseHome, gate: Gate) -> None:
    database = await items_home.open()
    work = [Deferred.fromCoroutine(database.write("hold", lambda txn: gate.wait())) for _ in range(2)]
    work += [Deferred.fromCoroutine(insert(database, item)) for item in range(10)]
    work += [Deferred.fromCoroutine(count(database)) for _ in range(10)]
    await gate.entered()
    closing = Deferred.fromCoroutine(database.close())
    for use in (insert(database, 99), count(database), database.commit("late", nothing, Tail())):
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await use
    gate.open()
    await gatherResults(work)
    await closing
    assert await count(await items_home.open()) == 10


async def test_close_twice_and_without_any_work(items_home: DatabaseHome) -> None:
    database = await items_home.open()
    await database.close()
    await database.close()


async def test_close_leaves_no_thread(items_home: DatabaseHome) -> None:
    before = set(threading.enumerate())
    database = await items_home.open()
    await insert(database, 1)
    assert set(threading.enumerate()) > before
    await database.close()
    assert set(threading.enumerate()) <= before


ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


async def test_close_interrupts_what_does_not_end(items_home: DatabaseHome) -> None:
    database = await items_home.open(grace=0.2, readers=1)
    started = threading.Event()

    def endless(txn: Transaction) -> None:
        started.set()
        txn.rows(ENDLESS[txn.dialect])

    work = [
        Deferred.fromCoroutine(database.read("endless", endless)),
        Deferred.fromCoroutine(database.commit("endless", endless, Tail())),
        Deferred.fromCoroutine(count(database)),
        Deferred.fromCoroutine(insert(database, 1)),
    ]
    assert await deferToThread(started.wait, 30)
    began = time.monotonic()
    await database.close()
    assert time.monotonic() - began < 10
    for waiting in work:
        with pytest.raises(DatabaseUnavailable):
            await waiting
    assert await count(await items_home.open()) == 0


async def test_close_leaves_behind_what_cannot_be_interrupted(items_home: DatabaseHome, gate: Gate) -> None:
    database = await items_home.open(grace=0.1)
    reading = Deferred.fromCoroutine(database.read("stuck", lambda txn: gate.wait()))
    committing = Deferred.fromCoroutine(database.commit("stuck", lambda txn: gate.wait(), Tail()))
    await gate.entered()
    await database.close()
    with pytest.raises(DatabaseUnavailable):
        await reading
    with pytest.raises(OutcomeUnknown):
        await committing


async def test_several_databases_on_one_home(items_home: DatabaseHome) -> None:
    first, second = await items_home.open(), await items_home.open()
    await insert(first, 1)
    await insert(second, 2)
    assert await count(first) == await count(second) == 2


async def test_the_configuration_names_the_database(
    items_home: DatabaseHome, database_homes: Callable[..., DatabaseHome]
) -> None:
    section = items_home.configuration()
    if items_home.engine == "sqlite":
        assert section == {"name": "sqlite3", "args": {"database": items_home.settings.path}}
    else:
        assert section["name"] == "psycopg2"
        assert {"host", "port", "user", "dbname", "cp_min", "cp_max"} <= set(section["args"])
    other = database_homes(schema=items_home.schema)
    assert other.configuration() != section
