# SPDX-License-Identifier: Apache-2.0
"""The table of processes, dated by the clock of the database, and the secrets."""

from __future__ import annotations

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from storage.engine.database import Database
from storage.processes import Heard, Processes
from tests.support.databases import DatabaseHome

only_postgresql = pytest.mark.parametrize("engine", ["postgresql"])


async def age(database: Database, process: str, seconds: int) -> None:
    """Let the last heartbeat of `process` be so much longer ago."""
    sql = "UPDATE processes SET heartbeat = heartbeat - make_interval(secs => ?) WHERE process = ?"
    assert await database.write("age", lambda txn: txn.execute(sql, (seconds, process))) == 1


async def processes_in(database: Database) -> list[tuple[str, str, bool]]:
    return await database.look("all", "SELECT process, address, draining FROM processes ORDER BY process")


def ages(heard: Heard) -> dict[str, float]:
    return {row.process: row.age for row in heard.rows}


@pytest.mark.parametrize("engine", ["sqlite"])
def test_sqlite_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="PostgreSQL"):
        Processes(database)


@only_postgresql
async def test_a_heartbeat_tells_what_was_there_before_it(database: Database) -> None:
    processes = Processes(database)
    assert await processes.beat("a", "127.0.0.1:1", draining=False) == Heard((), position=0)
    heard = await processes.beat("b", "127.0.0.1:2", draining=False)
    [a] = heard.rows
    assert (a.process, a.address, a.draining) == ("a", "127.0.0.1:1", False)
    assert 0 <= a.age < 5
    await age(database, "a", 60)
    await age(database, "b", 7)
    found = ages(await processes.beat("a", "127.0.0.1:1", draining=False))
    assert 60 <= found["a"] < 65
    assert 7 <= found["b"] < 12
    found = ages(await processes.beat("b", "127.0.0.1:2", draining=False))
    assert 0 <= found["a"] < 5
    assert 7 <= found["b"] < 12


@only_postgresql
async def test_a_heartbeat_tells_the_position(database: Database) -> None:
    sql = "UPDATE counters SET value = value + 41 WHERE name = 'position'"
    await database.write("positions", lambda txn: txn.execute(sql))
    processes = Processes(database)
    assert (await processes.beat("a", "127.0.0.1:1", draining=False)).position == 41
    assert (await processes.beat("a", "127.0.0.1:1", draining=False)).position == 41


@only_postgresql
async def test_a_heartbeat_writes_address_and_draining_and_a_row_that_was_taken_out(
    database: Database,
) -> None:
    processes = Processes(database)
    await processes.beat("a", "127.0.0.1:1", draining=False)
    await processes.beat("b", "127.0.0.1:2", draining=False)
    await processes.beat("a", "127.0.0.1:3", draining=True)
    assert await processes_in(database) == [("a", "127.0.0.1:3", True), ("b", "127.0.0.1:2", False)]
    await processes.remove("a")
    assert await processes_in(database) == [("b", "127.0.0.1:2", False)]
    await processes.remove("a")
    assert "a" not in ages(await processes.beat("a", "127.0.0.1:3", draining=True))
    assert await processes_in(database) == [("a", "127.0.0.1:3", True), ("b", "127.0.0.1:2", False)]


@only_postgresql
async def test_what_was_not_heard_of_for_an_hour_goes(database: Database) -> None:
    processes = Processes(database)
    for process in ("a", "b", "c"):
        await processes.beat(process, "127.0.0.1:1", draining=False)
    await age(database, "a", 3601)
    await age(database, "b", 3500)
    await age(database, "c", 3601)
    await processes.beat("c", "127.0.0.1:1", draining=False)
    assert [row[0] for row in await processes_in(database)] == ["b", "c"]


@only_postgresql
async def test_one_that_comes_back_after_an_hour_is_neither_waited_for_nor_removed(
    database: Database,
) -> None:
    processes = Processes(database)
    for process in ("a", "b"):
        await processes.beat(process, "127.0.0.1:1", draining=False)
    await age(database, "a", 3601)
    ended: list[str] = []
    back = Deferred.fromCoroutine(
        database.write(
            "slow heartbeat",
            lambda txn: [
                txn.execute("UPDATE processes SET heartbeat = clock_timestamp() WHERE process = 'a'"),
                txn.rows("SELECT pg_sleep(0.4)"),
            ],
        )
    )
    back.addCallback(lambda _result: ended.append("a"))
    await deferLater(reactor, 0.1)
    await processes.beat("b", "127.0.0.1:1", draining=False)
    assert ended == []
    await back
    assert [row[0] for row in await processes_in(database)] == ["a", "b"]


@only_postgresql
async def test_a_heartbeat_does_not_wait_for_the_commits_of_the_write_queue(database: Database) -> None:
    """Nor does the position that a commit under way has taken show before it is there."""
    ended: list[str] = []
    held = Deferred.fromCoroutine(
        database.write(
            "slow",
            lambda txn: [
                txn.execute("UPDATE counters SET value = value + 1 WHERE name = 'position'"),
                txn.rows("SELECT pg_sleep(0.5)"),
            ],
        )
    )
    held.addCallback(lambda _result: ended.append("slow"))
    heard = await Processes(database).beat("a", "127.0.0.1:1", draining=False)
    assert (heard.position, ended) == (0, [])
    await held
    assert (await Processes(database).beat("a", "127.0.0.1:1", draining=False)).position == 1


@only_postgresql
async def test_all_get_the_same_secret(database_home: DatabaseHome) -> None:
    one, other = await database_home.open(), await database_home.open()
    asked = [Deferred.fromCoroutine(Processes(db).secret("links")) for db in (one, other, one, other)]
    secrets = set(await gatherResults(asked, consumeErrors=True))
    assert secrets == {await Processes(one).secret("links")}
    [secret] = secrets
    assert len(secret) == 32
    assert await Processes(one).secret("others") != secret
