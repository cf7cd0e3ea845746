# SPDX-License-Identifier: Apache-2.0
"""The write queue's rules of failure, on both databases, with failures that are real."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from storage.account_data import GLOBAL, AccountData
from storage.aliases import Alias
from storage.engine.database import Database
from storage.engine.errors import DatabaseUnavailable, DataError, OutcomeUnknown
from storage.persist import RoomEpoch, Unit
from storage.rooms import NewRoom
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import Committed, QueueFull, RoomReloaded, WriteQueue
from tests.support.databases import DatabaseHome
from tests.support.graphs import ALICE, graphs_over, just, message, public_room
from tests.support.postgres_cluster import Cluster
from tests.support.reactor import in_reactor
from tests.support.severing_proxy import SeveringProxy

ACCOUNT = 1


@attrs.frozen
class Queueing:
    """A queue, what it told its listener, and how to look at what is on disk."""

    storage: Storage
    queue: WriteQueue
    committed: list[Committed]

    async def outcomes(self, *units: Unit) -> list[Any]:
        """What became of units that are submitted together: the type of the error, or True."""
        return await outcomes([self.queue.submit(unit) for unit in units])

    async def written(self) -> list[str]:
        """The account data on disk, in the order of positions."""
        return [data.type for data in await self.storage.account_data.since(ACCOUNT, 0)]

    def told(self) -> list[str]:
        """The account data of which the listener was told."""
        return [
            record.type for c in self.committed for record in c.unit.records if type(record) is AccountData
        ]


async def outcomes(submitted: Sequence[Deferred[Committed]]) -> list[Any]:
    results = await DeferredList(submitted, consumeErrors=True)
    return [True if done else type(result.value) for done, result in results]


def queueing_over(database: Database, **settings: Any) -> Queueing:
    storage = Storage.over(database)
    committed: list[Committed] = []
    settings.setdefault("on_commit", [committed.extend])
    queue = WriteQueue(
        database=database,
        strings=storage.strings,
        clock=reactor,
        background=BackgroundTasks(),
        **settings,
    )
    return Queueing(storage, queue, committed)


def data(name: str, epoch: RoomEpoch | None = None, content: bytes = b"{}") -> Unit:
    """A unit that writes one row with a position."""
    return Unit([AccountData(ACCOUNT, GLOBAL, name, content, index=1)], positions=1, epoch=epoch)


def alias(name: str, epoch: RoomEpoch | None = None) -> Unit:
    """A unit that is refused if there is such an alias."""
    return Unit([Alias(f"#{name}:a.example", 1, ACCOUNT)], epoch=epoch)


async def rooms(queueing: Queueing, count: int) -> list[RoomEpoch]:
    await queueing.queue.submit(Unit([NewRoom(room=i, version="12") for i in range(1, count + 1)]))
    return [RoomEpoch(i, 0) for i in range(1, count + 1)]


async def test_what_gathers_is_one_batch_and_listeners_hear_of_it_first(database: Database) -> None:
    batches: list[list[str]] = []
    answered: list[str] = []

    def listener(committed: Sequence[Committed]) -> None:
        assert not answered
        batches.append([c.unit.records[0].type for c in committed])

    queueing = queueing_over(database, on_commit=[listener])
    submitted = [queueing.queue.submit(data(str(i))) for i in range(5)]
    for one in submitted:
        one.addCallback(lambda c: (answered.append(c.unit.records[0].type), c)[1])
    bases = [(await one).base for one in submitted]
    assert batches == [["0", "1", "2", "3", "4"]]
    assert bases == [0, 1, 2, 3, 4]
    assert answered == await queueing.written() == ["0", "1", "2", "3", "4"]


async def test_a_listener_that_fails_fails_nobody(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Committed] = []

    def fails(_committed: Sequence[Committed]) -> None:
        raise RuntimeError("a listener's own mistake")

    queueing = queueing_over(database, on_commit=[fails, told.extend])
    assert await queueing.outcomes(data("a"), data("b")) == [True, True]
    assert len(told) == 2
    assert "a listener's own mistake" in caplog.text


async def test_a_unit_that_the_database_refuses_fails_alone(database: Database) -> None:
    queueing = queueing_over(database)
    [epoch] = await rooms(queueing, 1)
    assert await queueing.outcomes(alias("taken")) == [True]
    units = [data("a"), alias("taken"), data("b"), data("c", epoch), alias("taken"), data("d")]
    assert await queueing.outcomes(*units) == [True, DataError, True, True, DataError, True]
    assert await queueing.written() == queueing.told() == ["a", "b", "c", "d"]
    assert (epoch.fence, epoch.broken) == (1, False)


@pytest.mark.parametrize(
    "record",
    [
        AccountData(ACCOUNT, GLOBAL, "\ud800", b"{}", index=1),
        Alias("#\udfff:a.example", 1, ACCOUNT),
        AccountData(2**63, GLOBAL, "too large", b"{}", index=1),
    ],
    ids=["surrogate with a position", "surrogate", "number"],
)
async def test_a_record_that_cannot_become_a_row_fails_alone(database: Database, record: Any) -> None:
    queueing = queueing_over(database)
    a, bad, b = await queueing.outcomes(data("a"), Unit([record], positions=1), data("b"))
    assert (a, b) == (True, True)
    assert issubclass(bad, (DataError, UnicodeEncodeError))
    assert await queueing.written() == ["a", "b"]


async def test_what_builds_on_a_refused_unit_is_built_again(database: Database) -> None:
    queueing = queueing_over(database)
    [epoch, other] = await rooms(queueing, 2)
    await queueing.queue.submit(alias("taken"))
    units = [data("a", epoch), alias("taken", epoch), data("b", epoch), data("c", other)]
    assert await queueing.outcomes(*units) == [True, DataError, RoomReloaded, True]
    assert (epoch.broken, other.broken) == (True, False)
    assert await queueing.outcomes(data("late", epoch)) == [RoomReloaded]
    assert await queueing.written() == ["a", "c"]


async def test_a_lost_fence_fails_only_that_room(database: Database) -> None:
    here, there = queueing_over(database), queueing_over(database)
    lost, kept = await rooms(here, 2)
    await there.queue.submit(data("there", RoomEpoch(lost.room, 0)))
    units = [data("a", kept), data("b", lost), data("c"), data("d", lost), data("e", kept)]
    assert await here.outcomes(*units) == [True, RoomReloaded, True, RoomReloaded, True]
    assert (lost.broken, kept.broken, kept.fence) == (True, False, 1)
    assert await here.written() == ["there", "a", "c", "e"]
    assert await here.outcomes(data("f", RoomEpoch(lost.room, 1))) == [True]


async def test_rows_that_collide_with_those_of_another_process_fail_as_a_lost_fence(
    database: Database,
) -> None:
    here, there = queueing_over(database), queueing_over(database)
    lost, kept = await rooms(here, 2)
    await there.queue.submit(alias("taken", RoomEpoch(lost.room, 0)))
    assert await here.outcomes(alias("taken", lost)) == [RoomReloaded]
    assert (lost.broken, kept.broken) == (True, False)
    assert await here.outcomes(alias("taken", kept), data("a")) == [DataError, True]
    assert await here.outcomes(alias("taken", RoomEpoch(lost.room, 1))) == [DataError]


async def test_a_full_queue_takes_no_more(database: Database) -> None:
    queueing = queueing_over(database, queue_limit=2)
    [epoch] = await rooms(queueing, 1)
    assert await queueing.outcomes(data("a"), data("b"), data("c", epoch)) == [True, True, QueueFull]
    assert epoch.broken
    assert await queueing.outcomes(data("d")) == [True]
    assert await queueing.written() == ["a", "b", "d"]


async def test_a_full_queue_leaves_what_waits_of_the_room(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs, "12", message(ALICE, "the type is known now"))
    parts.queue._queue_limit = 5  # a limit of 20,000 would take the test too long
    sent = [Deferred.fromCoroutine(room.append(just(message(ALICE, str(i))))) for i in range(20)]
    results = await outcomes(sent)
    assert results == [True] * 5 + [QueueFull] * 15
    assert await outcomes([Deferred.fromCoroutine(room.append(just(message(ALICE, "after"))))]) == [True]


class Outage:
    """A database that stops taking writes, and takes them again."""

    def __init__(self, database: Database, cluster: Cluster | None) -> None:
        self._database = database
        self._cluster = cluster

    async def begin(self) -> None:
        if self._cluster is not None:
            await deferToThread(self._cluster.stop)
            return
        (pages,) = await self._database.write("limit", lambda txn: txn.row("PRAGMA page_count"))
        await self._database.write("limit", lambda txn: txn.rows(f"PRAGMA max_page_count = {pages}"))

    async def end(self) -> None:
        if self._cluster is not None:
            await deferToThread(self._cluster.start)
        else:
            await self._database.write("limit", lambda txn: txn.rows("PRAGMA max_page_count = 1000000"))


@pytest.fixture
def outage_home(
    engine: str,
    database_homes: Callable[..., DatabaseHome],
    private_cluster: Callable[..., Cluster],
) -> tuple[DatabaseHome, Cluster | None]:
    cluster = private_cluster() if engine == "postgresql" else None
    return database_homes(cluster=cluster), cluster


LARGE = b'{"x": "' + b"x" * 1_000_000 + b'"}'


async def test_an_outage_refuses_all_and_leaves_no_gap(
    outage_home: tuple[DatabaseHome, Cluster | None],
) -> None:
    home, cluster = outage_home
    database = await home.open()
    outage = Outage(database, cluster)
    queueing = queueing_over(database)
    [epoch, other] = await rooms(queueing, 2)
    assert await queueing.outcomes(data("a", epoch)) == [True]
    await outage.begin()
    began = time.monotonic()
    units = [data("b", epoch, LARGE), data("c"), data("d", other)]
    assert await queueing.outcomes(*units) == [DatabaseUnavailable] * 3
    assert time.monotonic() - began < 2
    assert epoch.broken
    assert other.broken
    await outage.end()
    assert await resumed(queueing) < 10
    assert (await queueing.queue.submit(data("e", RoomEpoch(epoch.room, 1)))).base == 2
    assert await queueing.written() == queueing.told() == ["a", "again", "e"]


async def resumed(queueing: Queueing) -> float:
    """Write until it is done, ten seconds at most; how long it took."""
    began = time.monotonic()
    while await queueing.outcomes(data("again")) != [True]:
        if time.monotonic() - began > 10:
            break
        await deferLater(reactor, 0.05)
    return time.monotonic() - began


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file of this process can grow beyond 300 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_disk_that_fails(database: Database, short_files: None) -> None:
    queueing = queueing_over(database)
    for name in ("a", "b"):
        [outcome] = await queueing.outcomes(data(name, content=LARGE))
        assert issubclass(outcome, DatabaseUnavailable)
        assert await queueing.written() == queueing.told() == []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before[1], before[1]))
    assert await queueing.outcomes(data("c", content=LARGE)) == [True]
    assert await queueing.written() == queueing.told() == ["c"]


@attrs.frozen
class Severed:
    """A database behind a proxy that breaks connections, and beside it."""

    proxy: SeveringProxy
    behind: DatabaseHome
    beside: DatabaseHome


async def severed_over(home: DatabaseHome) -> Severed:
    proxy = SeveringProxy(dict(home.settings.arguments))
    behind = attrs.evolve(home, settings=attrs.evolve(home.settings, arguments=proxy.arguments), opened=[])
    return Severed(proxy, behind, home)


async def close(severed: Severed) -> None:
    await severed.behind.close()
    await severed.proxy.close()


@pytest.fixture
def severed(database_home: DatabaseHome) -> Iterator[Severed]:
    severed = in_reactor(severed_over(database_home))
    yield severed
    in_reactor(close(severed))


@pytest.fixture
def cluster(private_cluster: Callable[..., Cluster]) -> Cluster:
    return private_cluster()


@pytest.fixture
def severed_of_cluster(cluster: Cluster, database_homes: Callable[..., DatabaseHome]) -> Iterator[Severed]:
    severed = in_reactor(severed_over(database_homes(cluster=cluster)))
    yield severed
    in_reactor(close(severed))


only_postgresql = pytest.mark.parametrize("engine", ["postgresql"])

LINGER = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON account_data DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION linger()"""


@only_postgresql
@pytest.mark.parametrize("moment", ["before", "begun", "after"])
async def test_a_connection_that_breaks_in_the_commit(severed: Severed, moment: Any) -> None:
    """Whether the commit was done is found out, also where the server is still at it."""
    beside = await severed.beside.open()
    await beside.write("trigger", lambda txn: txn.execute(LINGER))
    queueing = queueing_over(await severed.behind.open())
    [epoch] = await rooms(queueing, 1)
    severed.proxy.moment = moment
    units = [data("a", epoch), data("b")]
    expected = DatabaseUnavailable if moment == "before" else True
    assert await queueing.outcomes(*units) == [expected] * 2
    assert (epoch.fence, epoch.broken) == ((0, True) if moment == "before" else (1, False))
    assert severed.proxy.moment is None
    assert await queueing.outcomes(data("c")) == [True]
    written = ["c"] if moment == "before" else ["a", "b", "c"]
    assert await queueing.written() == queueing.told() == written


@only_postgresql
async def test_a_commit_that_arrives_after_it_was_given_up_is_refused(severed: Severed) -> None:
    queueing = queueing_over(await severed.behind.open())
    [epoch] = await rooms(queueing, 1)
    severed.proxy.moment = "held"
    assert await queueing.outcomes(data("a", epoch), data("b")) == [DatabaseUnavailable] * 2
    severed.proxy.release()
    await deferLater(reactor, 0.3)
    assert await queueing.outcomes(data("c", RoomEpoch(epoch.room, 0))) == [True]
    assert await queueing.written() == queueing.told() == ["c"]


@only_postgresql
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_outcome_that_stays_unknown_is_answered_and_still_looked_up(
    severed_of_cluster: Severed, cluster: Cluster, moment: Any
) -> None:
    proxy = severed_of_cluster.proxy
    queueing = queueing_over(await severed_of_cluster.behind.open(), lookup_timeout=0.5)
    [epoch] = await rooms(queueing, 1)
    proxy.stop_server = cluster.kill
    proxy.moment = moment
    began = time.monotonic()
    submitted = [queueing.queue.submit(data("a", epoch))]
    assert await outcomes(submitted) == [OutcomeUnknown]
    assert await queueing.outcomes(data("refused")) == [DatabaseUnavailable]
    assert time.monotonic() - began < 3
    await deferToThread(cluster.start)
    assert await resumed(queueing) < 10
    written = ["again"] if moment == "before" else ["a", "again"]
    assert await queueing.written() == queueing.told() == written


@only_postgresql
async def test_a_stop_does_not_wait_for_an_outcome_that_cannot_be_found_out(
    severed_of_cluster: Severed, cluster: Cluster
) -> None:
    queueing = queueing_over(await severed_of_cluster.behind.open())
    await rooms(queueing, 1)
    severed_of_cluster.proxy.stop_server = cluster.kill
    severed_of_cluster.proxy.moment = "before"
    submitted = queueing.queue.submit(data("a"))
    began = time.monotonic()
    await queueing.queue.stop()
    assert time.monotonic() - began < 3
    assert await outcomes([submitted]) == [OutcomeUnknown]


async def test_a_stop_settles_what_waits_and_leaves_no_marks(database: Database) -> None:
    queueing = queueing_over(database)
    submitted = queueing.queue.submit(data("a"))
    await queueing.queue.stop()
    assert submitted.called
    names = await database.read("names", lambda txn: txn.rows("SELECT name FROM counters ORDER BY name"))
    assert names == [("event",), ("position",)]
    assert await queueing.written() == ["a"]
