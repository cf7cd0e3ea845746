# SPDX-License-Identifier: Apache-2.0
"""Leases: who lost one cannot write any more."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from storage.account_data import GLOBAL, AccountData
from storage.engine.database import Database
from storage.engine.errors import DataError
from storage.leases import HeldLease, Leases
from storage.stores import Storage
from tests.support.databases import DatabaseHome
from tests.support.storing import storing_over

only_postgresql = pytest.mark.parametrize("engine", ["postgresql"])


def data(name: str) -> AccountData:
    return AccountData(1, GLOBAL, name, b"{}", index=1)


async def written(database: Database) -> list[str]:
    rows = await database.look("names", "SELECT type FROM account_data ORDER BY type")
    return [name.decode() for (name,) in rows]


async def lease_rows(database: Database) -> list[tuple[bytes, str, int]]:
    return await database.look("leases", "SELECT lease, process, generation FROM leases ORDER BY lease")


def kinds(outcomes: list[Any]) -> list[Any]:
    return [None if outcome is None else type(outcome) for outcome in outcomes]


@pytest.mark.parametrize("engine", ["sqlite"])
def test_sqlite_has_none(database: Database) -> None:
    assert Storage.over(database).leases is None
    with pytest.raises(ValueError, match="PostgreSQL"):
        Leases(database)


@only_postgresql
async def test_taking_raises_the_generation(database: Database) -> None:
    leases = Storage.over(database).leases
    assert leases is not None
    assert await leases.take("destination:example.org", "a") == HeldLease("destination:example.org", 1)
    assert await leases.take("destination:example.org", "b") == HeldLease("destination:example.org", 2)
    assert await leases.take("destination:example.org", "b") == HeldLease("destination:example.org", 3)
    assert await leases.take("ünrelated", "a") == HeldLease("ünrelated", 1)
    assert await lease_rows(database) == [
        (b"destination:example.org", "b", 3),
        ("ünrelated".encode(), "a", 1),
    ]


@only_postgresql
async def test_a_unit_is_written_while_its_lease_is_held(database: Database) -> None:
    storing = storing_over(database)
    lease = await Leases(database).take("work", "a")
    await storing.write(lease, data("one"))
    await storing.write(lease, data("two"))
    assert await written(database) == ["one", "two"]
    assert await lease_rows(database) == [(b"work", "a", 1)]


@only_postgresql
@pytest.mark.parametrize("record", [HeldLease("work", 1), HeldLease("work", 3), HeldLease("unknown", 1)])
async def test_a_unit_is_refused_without_the_lease(database: Database, record: HeldLease) -> None:
    storing = storing_over(database)
    leases = Leases(database)
    await leases.take("work", "a")
    await leases.take("work", "b")
    with pytest.raises(DataError):
        await storing.write(record, data("refused"))
    assert await written(database) == []
    assert await lease_rows(database) == [(b"work", "b", 2)]


@only_postgresql
async def test_units_of_one_batch(database: Database) -> None:
    """Several ask for the same lease; those that have lost theirs fail alone."""
    storing = storing_over(database)
    leases = Leases(database)
    old = await leases.take("work", "a")
    new = await leases.take("work", "a")
    other = await leases.take("other", "a")
    outcomes = await storing.write_together(
        [new, data("a")],
        [old, data("b")],
        [new, other, data("c")],
        [data("d")],
        [other, HeldLease("unknown", 1), data("e")],
        [new, old, data("f")],
        [new, data("g"), new],
    )
    assert kinds(outcomes) == [None, DataError, None, None, DataError, DataError, None]
    assert await written(database) == ["a", "c", "d", "g"]


LINGER = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON account_data DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION linger()"""


@only_postgresql
async def test_a_takeover_waits_for_the_commit_under_way(database_home: DatabaseHome) -> None:
    """So whoever takes a lease over finds all that was written under it."""
    mine, beside = await database_home.open(), await database_home.open()
    await beside.write("trigger", lambda txn: txn.execute(LINGER))
    storing = storing_over(mine)
    lease = await Leases(mine).take("work", "a")
    writing = Deferred.fromCoroutine(storing.write(lease, data("one")))
    await deferLater(reactor, 0.15)
    taken = await Leases(beside).take("work", "b")
    assert await written(beside) == ["one"]
    await writing
    assert taken.generation == 2
    with pytest.raises(DataError):
        await storing.write(lease, data("two"))


@only_postgresql
async def test_a_commit_that_waited_for_a_takeover_is_refused(database_home: DatabaseHome) -> None:
    """The row was as it should be when the statement began, and another once it was locked."""
    mine, beside = await database_home.open(), await database_home.open()
    storing = storing_over(mine)
    lease = await Leases(mine).take("work", "a")
    taking = Deferred.fromCoroutine(
        beside.write(
            "take slowly",
            lambda txn: [
                txn.execute("UPDATE leases SET process = 'b', generation = generation + 1"),
                txn.rows("SELECT pg_sleep(0.4)"),
            ],
        )
    )
    await deferLater(reactor, 0.15)
    with pytest.raises(DataError):
        await storing.write(lease, data("one"))
    await taking
    assert await written(mine) == []
    assert await lease_rows(mine) == [(b"work", "b", 2)]
