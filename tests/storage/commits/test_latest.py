# SPDX-License-Identifier: Apache-2.0
"""A reader waits until their process knows what was committed when they came, and one look serves many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

import storage.commits.latest
from storage.account_data import GLOBAL, AccountData
from storage.commits.latest import LatestCommit
from storage.engine.database import Database
from storage.engine.errors import DatabaseUnavailable
from storage.engine.statement import Row, Value
from tests.support.databases import DatabaseHome
from tests.support.following_processes import FollowingProcess, MemoryMedium, following, until
from tests.support.postgres_cluster import Cluster

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])


@attrs.define(eq=False)
class _Counted:
    """A database whose looks are counted, and can be held."""

    database: Database
    looks: int = 0
    gate: Deferred[None] | None = None

    async def look(self, name: str, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """As the database does."""
        self.looks += 1
        rows = await self.database.look(name, sql, parameters)
        if self.gate is not None:
            await self.gate
        return rows


def counted(process: FollowingProcess) -> tuple[_Counted, LatestCommit]:
    """How the process looks, with counting."""
    database = _Counted(process.storage.database)
    return database, LatestCommit(database=database, follower=process.follower)  # type: ignore[arg-type]


async def write(process: FollowingProcess, name: str) -> None:
    """One commit."""
    await process.write(AccountData(1, GLOBAL, name, b"{}", index=1), positions=1)


def reading(latest: LatestCommit) -> Deferred[Any]:
    """A reader, who has come now."""
    return Deferred.fromCoroutine(latest.reached())


async def test_what_another_process_committed_is_known(database_home: DatabaseHome) -> None:
    async with following(database_home, 2, MemoryMedium(cut=True)) as [one, other]:
        for i in range(20):
            await write(one, str(i))
            await other.latest.reached()
            assert len(other.heard) == i + 1
        assert other.heard == one.heard
        assert other.counts.unannounced == 20


async def test_whoever_comes_while_somebody_looks_has_the_next_look(database_home: DatabaseHome) -> None:
    async with following(database_home, 2, MemoryMedium(cut=True)) as [one, other]:
        database, latest = counted(other)
        gate = database.gate = Deferred()
        first = reading(latest)
        await write(one, "a")
        late = [reading(latest) for _ in range(50)]
        gate.callback(None)
        await first
        database.gate = None
        await gatherResults(late)
        assert database.looks == 2
        assert len(other.heard) == 1


async def test_a_reader_who_goes_takes_nobody_along(database_home: DatabaseHome) -> None:
    async with following(database_home, 2, MemoryMedium(cut=True)) as [one, other]:
        await write(one, "a")
        gone, stays = reading(other.latest), reading(other.latest)
        gone.cancel()
        with pytest.raises(CancelledError):
            await gone
        await stays
        assert len(other.heard) == 1
        # One who goes while what they wait for is being read.
        waiting = Deferred.fromCoroutine(other.follower.reached(100, 5.0))
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting


async def test_a_look_without_a_reader(database_home: DatabaseHome) -> None:
    async with following(database_home, 2, MemoryMedium(cut=True)) as [one, other]:
        await write(one, "a")
        other.latest.look()
        await until(lambda: len(other.heard) == 1)


async def test_who_cannot_be_served_in_time_is_told(
    database_home: DatabaseHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.commits.latest, "CATCH_UP_SECONDS", 0.1)
    async with following(database_home, 2, MemoryMedium(cut=True)) as [one, other]:
        await write(one, "a")
        other.follower._filling = True  # as if the log could not be read
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="latest changes"):
            await other.latest.reached()
        assert time.monotonic() - began < 2
        other.follower._filling = False
        await other.latest.reached()
        assert len(other.heard) == 1


async def write_when_possible(process: FollowingProcess) -> None:
    """One commit, once the database answers."""
    for _ in range(100):
        try:
            return await write(process, "again")
        except DatabaseUnavailable:
            await deferLater(reactor, 0.1)
    pytest.fail("the database stays away")


@pytest.fixture
def cluster(private_cluster: Callable[..., Cluster]) -> Cluster:
    return private_cluster()


@pytest.fixture
def home_of_cluster(cluster: Cluster, database_homes: Callable[..., DatabaseHome]) -> DatabaseHome:
    return database_homes(cluster=cluster)


async def test_a_database_that_is_away_is_an_error_for_all_who_wait(
    cluster: Cluster, home_of_cluster: DatabaseHome
) -> None:
    async with following(home_of_cluster, 1, MemoryMedium(cut=True)) as [process]:
        await deferToThread(cluster.stop)
        readers = [reading(process.latest) for _ in range(3)]
        process.latest.look()
        for reader in readers:
            with pytest.raises(DatabaseUnavailable):
                await reader
        await deferToThread(cluster.start)
        await write_when_possible(process)
        await process.latest.reached()
