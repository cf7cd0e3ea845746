# SPDX-License-Identifier: Apache-2.0
"""Every process hears of every commit once and in order, whatever becomes of notices and of the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread

from storage.account_data import GLOBAL, AccountData
from storage.aliases import Alias
from storage.client_transactions import ClientTransaction
from storage.commits.follower import MOST_KEPT
from storage.commits.log import LogEntry
from storage.engine.database import Database
from storage.engine.errors import DatabaseUnavailable, DataError
from storage.ephemeral import TypingChange
from storage.notices.notices import Notice
from storage.persist import RoomEpoch, Unit
from storage.rooms import NewRoom
from storage.write_queue import Committed, RoomReloaded
from tests.support.databases import DatabaseHome
from tests.support.following_processes import (
    FollowingProcess,
    MemoryMedium,
    follow,
    following,
    logged,
    noted_of,
    position_of,
    until,
)
from tests.support.postgres_cluster import Cluster
from tests.support.reactor import in_reactor
from tests.support.severing_proxy import SeveringProxy

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])

NO_EVENTS = b"\x80"
either_medium = pytest.mark.parametrize("carries", [False, True], ids=["bare", "with entries"])


def data(name: str, epoch: RoomEpoch | None = None) -> Unit:
    """A unit with a position."""
    return Unit([AccountData(1, GLOBAL, name, b"{}", index=1)], positions=1, epoch=epoch)


def names(process: FollowingProcess) -> list[str]:
    """The account data that the process has heard of, in order."""
    return [r.type for _, records in process.heard for r in records if type(r) is AccountData]


def medium_of(seed: int, carries: bool) -> MemoryMedium:
    """One that does all that a medium may do."""
    return MemoryMedium(Random(seed), carries, loss=0.3, repetition=0.2, delay=0.03)


# What random processes do


@attrs.define(eq=False)
class _Writer:
    """Commits at random in one process, and looks at what the others know then."""

    random: Random
    process: FollowingProcess
    others: Sequence[FollowingProcess]
    own_room: RoomEpoch
    contested: RoomEpoch
    number: int = 0
    expected: list[Any] = attrs.field(factory=list)
    refused: list[Any] = attrs.field(factory=list)
    errors: set[str] = attrs.field(factory=set)

    async def act(self, count: int) -> None:
        """Commit so many units, several at a time."""
        while count > 0:
            size = self.random.randint(1, 6)
            await gatherResults([Deferred.fromCoroutine(self._one(self._unit())) for _ in range(size)])
            count -= size
            if self.contested.broken:
                self.contested = RoomEpoch(self.contested.room, await self._fence())
            await deferLater(reactor, self.random.random() * 0.01)

    def _unit(self) -> Unit:
        self.number += 1
        name = f"{self.process.name}:{self.number}"
        record = AccountData(1, GLOBAL, name, b"{}", index=1)
        another = AccountData(2, GLOBAL, name, b"{}", index=3)
        taken = self.random.choice([name, name, "taken"])
        units = [
            Unit([record], positions=1),
            Unit([record, Alias(f"#{name}:a.example", 1, 1), another], positions=3),
            Unit([ClientTransaction(1, "/path", taken, self.number, 1)]),
            Unit([Alias(f"#{taken}:a.example", 1, 1)]),
            Unit([record, Alias(f"#{taken}:a.example", 1, 1)], positions=1, epoch=self.own_room),
            Unit([record], positions=1, epoch=self.contested),
            Unit([Alias(f"#{name}:a.example", 1, 1)], epoch=self.own_room),
            Unit([TypingChange(1, f"@{name}", True)], positions=1),
        ]
        return self.random.choice(units)

    async def _one(self, unit: Unit) -> None:
        try:
            committed = await self.process.queue.submit(unit)
        except (DataError, RoomReloaded) as error:
            self.errors.add(type(error).__name__)
            self.refused += noted_of(0, unit)
            if self.own_room.broken:
                self.own_room = RoomEpoch(self.own_room.room, await self._fence_of(self.own_room.room))
            return
        heard = noted_of(committed.base, unit)
        self.expected += heard
        # Whoever submitted goes on after the listeners have heard, and so does who then reads elsewhere.
        assert all(one in self.process.heard[-1000:] for one in heard)
        if self.random.random() < 0.3:
            reader = self.random.choice(self.others)
            await reader.latest.reached()
            assert all(one in reader.heard for one in heard)

    async def _fence(self) -> int:
        return await self._fence_of(self.contested.room)

    async def _fence_of(self, room: int) -> int:
        look = self.process.storage.database.look
        [[fence]] = await look("fence", "SELECT fence FROM rooms WHERE room = ?", (room,))
        return int(fence)


@either_medium
@pytest.mark.parametrize("seed", range(4))
async def test_all_hear_all_in_order(database_home: DatabaseHome, seed: int, carries: bool) -> None:
    random = Random(seed)
    async with following(database_home, 3, medium_of(seed, carries), batch_limit=20) as processes:
        first = processes[0]
        await first.write(*(NewRoom(room=room, version="12") for room in range(1, 5)))
        await first.write(Alias("#taken:a.example", 1, 1), ClientTransaction(1, "/path", "taken", 1, 1))
        before = list(first.heard)
        writers = [
            _Writer(Random(random.random()), process, processes, RoomEpoch(i + 2, 0), RoomEpoch(1, 0))
            for i, process in enumerate(processes)
        ]
        await gatherResults([Deferred.fromCoroutine(writer.act(60)) for writer in writers])
        for process in processes:
            await process.latest.reached()
        truth = await logged(first.storage.database)
        position = await position_of(first.storage.database)
        for process in processes:
            assert process.heard == truth
            assert process.follower.position == position
            assert process.losses == []
        told = [records for _, records in truth]
        by_base = sorted([*before, *(one for writer in writers for one in writer.expected)], key=repr)
        assert sorted(truth, key=repr) == by_base
        for _, records in (one for writer in writers for one in writer.refused):
            assert records not in told or any(type(r) is ClientTransaction for r in records)
        assert {error for writer in writers for error in writer.errors} == {"DataError", "RoomReloaded"}
        for i, process in enumerate(processes):
            assert i + 2 not in process.rooms
            assert {2, 3, 4} - {i + 2} <= set(process.rooms)
        if carries:
            assert sum(process.counts.commits["notice"] for process in processes) > 0


# Ways by which a commit comes


@either_medium
async def test_a_good_medium_and_the_way_that_commits_take(
    database_home: DatabaseHome, carries: bool
) -> None:
    async with following(database_home, 2, MemoryMedium(carries_entries=carries)) as [one, other]:
        for i in range(10):
            await one.queue.submit(data(str(i)))
        await until(lambda: len(other.heard) == 10)
        assert one.counts.commits == {"own": 10, "notice": 0, "log": 0}
        way = "notice" if carries else "log"
        assert other.counts.commits == {"own": 0, "notice": 0, "log": 0, way: 10}
        assert other.counts.unannounced == 0
        if carries:
            assert other.counts.readings == 0


async def test_entries_that_overtake_each_other_are_not_read(database_home: DatabaseHome) -> None:
    medium = MemoryMedium(carries_entries=True, cut=True)
    async with following(database_home, 2, medium) as [one, other]:
        for i in range(5):
            await one.queue.submit(data(str(i)))
        entries = await one.log.since(0)
        for entry in reversed(entries):
            other.notices.hears(Notice(upto=entry.upto, entry=entry))
        assert names(other) == ["0", "1", "2", "3", "4"]
        await deferLater(reactor, 0.05)
        assert other.counts.readings == 0


async def test_strange_notices_do_no_harm(database_home: DatabaseHome) -> None:
    medium = MemoryMedium(carries_entries=True, cut=True)
    async with following(database_home, 2, medium) as [one, other]:
        await one.queue.submit(data("a"))
        await other.latest.reached()
        position = other.follower.position
        await one.queue.submit(data("b"))
        [entry] = await one.log.since(position)
        for notice in (
            Notice(),
            Notice(upto=position),
            Notice(upto=entry.upto, entry=attrs.evolve(entry, events=None)),
            Notice(upto=entry.upto, entry=attrs.evolve(entry, records=b"\xff")),
            Notice(upto=1, entry=attrs.evolve(entry, base=position - 1, upto=position)),
        ):
            other.notices.hears(notice)
        await until(lambda: names(other) == ["a", "b"])
        # More than is kept, of what comes much later.
        later = [LogEntry(10**6 + i, 10**6 + i + 1, "p0", b"\x90", NO_EVENTS) for i in range(MOST_KEPT + 50)]
        for entry in later:
            other.notices.hears(Notice(entry=entry, upto=0))
            other.follower._known = other.follower.position  # such positions there are not yet
        assert len(other.follower._entries) == MOST_KEPT


async def test_a_listener_that_fails_holds_nobody_up(
    database_home: DatabaseHome, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_batch: Sequence[Committed]) -> None:
        raise RuntimeError("a listener's own mistake")

    async with following(database_home, 2, listeners=[fails]) as [one, other]:
        await one.queue.submit(data("a"))
        await other.latest.reached()
        assert names(one) == names(other) == ["a"]
    assert "a listener's own mistake" in caplog.text


async def test_a_commit_of_which_others_take_no_note_has_its_turn_too(database_home: DatabaseHome) -> None:
    """Whoever hears of it may take its base for reached, so all before it must be told."""
    heard: list[tuple[int, int, bool]] = []

    def listener(batch: Sequence[Committed]) -> None:
        heard.extend((c.base, c.unit.positions, c.foreign) for c in batch)

    medium = MemoryMedium(cut=True)
    async with following(database_home, 1, medium) as [other]:
        process = await follow(await database_home.open(readers=2), medium, "p", listeners=[listener])
        await other.queue.submit(data("a"))
        await other.queue.submit(data("b"))
        submitted = process.write(Alias("#a:a.example", 1, 1))
        assert (await submitted).base == 2
        assert heard == [(0, 1, True), (1, 1, True), (2, 0, False)]
        await process.write(Alias("#b:a.example", 1, 1))
        await process.queue.submit(data("c"))
        assert heard[3:] == [(2, 0, False), (2, 1, False)]
        await process.stop()


async def test_a_listener_that_leads_back_here_does_not_break_the_order(database_home: DatabaseHome) -> None:
    medium = MemoryMedium(carries_entries=True, cut=True)
    entries: list[LogEntry] = []
    order: list[tuple[str, str]] = []

    def first(batch: Sequence[Committed]) -> None:
        order.extend(("first", c.unit.records[0].type) for c in batch)
        if entries:
            entry = entries.pop()
            process.notices.hears(Notice(upto=entry.upto, entry=entry))

    def second(batch: Sequence[Committed]) -> None:
        order.extend(("second", c.unit.records[0].type) for c in batch)

    async with following(database_home, 1, medium) as [writer]:
        database = await database_home.open(readers=2)
        process = await follow(database, medium, "p", listeners=[first, second])
        await writer.queue.submit(data("a"))
        await writer.queue.submit(data("b"))
        a, b = await writer.log.since(0)
        entries.append(b)
        process.notices.hears(Notice(upto=a.upto, entry=a))
        assert order == [("first", "a"), ("second", "a"), ("first", "b"), ("second", "b")]
        await process.stop()


async def test_much_to_take_in_lets_others_have_their_turn(database_home: DatabaseHome) -> None:
    """With listeners that take 3 ms each; an own commit comes in the midst of it, and has its place."""

    def slow(_batch: Sequence[Committed]) -> None:
        end = time.perf_counter() + 0.003
        while time.perf_counter() < end:
            pass

    medium = MemoryMedium(cut=True)
    async with following(database_home, 1, medium) as [writer]:
        process = await follow(await database_home.open(readers=2), medium, "slow", listeners=[slow])
        for i in range(60):
            await writer.queue.submit(data(str(i)))
        seen: list[int] = []
        ticks = LoopingCall(lambda: seen.append(len(process.heard)))
        ticks.start(0)
        process.follower.found(60)
        await until(lambda: len(process.heard) > 5)
        assert (await process.queue.submit(data("own"))).base == 60
        ticks.stop()
        assert names(process) == [*map(str, range(60)), "own"]
        assert max(b - a for a, b in pairwise(seen)) <= 3
        assert len(set(seen)) > 20
        assert process.counts.readings <= 2
        await process.stop()


# A process that has lost the thread


async def lag_behind(writer: FollowingProcess) -> None:
    """Commit something and forget it, as if it were long ago."""
    for name in ("a", "b", "c"):
        await writer.queue.submit(data(name))
    await writer.log.forget(2)


@either_medium
async def test_a_process_that_was_away_for_too_long(database_home: DatabaseHome, carries: bool) -> None:
    """With entries, its own commits wait before it finds out; without, they come after that."""
    async with following(database_home, 2, MemoryMedium(carries_entries=carries, cut=True)) as [one, other]:
        await lag_behind(one)
        own = [other.queue.submit(data(name)) for name in ("d", "e")]
        readers = [Deferred.fromCoroutine(other.latest.reached()) for _ in range(3)]
        began = time.monotonic()
        assert all(done for done, _ in await DeferredList(own))
        for reader in readers:
            with pytest.raises(DatabaseUnavailable):
                await reader
        with pytest.raises(DatabaseUnavailable):
            await other.latest.reached()
        assert not await other.follower.reached(99, 60.0)
        assert time.monotonic() - began < 2
        assert (await other.queue.submit(data("f"))).base == 5
        assert (await other.write(Alias("#a:a.example", 1, 1))).base == 6
        other.notices.hears(Notice(upto=6))
        assert len(other.losses) == 1
        assert "after position 0" in other.losses[0]
        assert other.heard == []
        await one.latest.reached()
        assert names(one) == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("records", [b"\xff", b"", b"\x91\x94\x00\x00\xc0\x91\x92\x01\x90", b"\x91\x01"])
async def test_a_commit_of_which_nothing_can_be_made(
    database_home: DatabaseHome, records: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(database_home, 2, MemoryMedium(cut=True)) as [one, other]:
        await one.queue.submit(data("a"))
        await one.queue.submit(data("b"))
        await one.storage.database.write(
            "spoil", lambda txn: txn.execute("UPDATE commit_log SET records = ? WHERE base = 1", (records,))
        )
        with pytest.raises(DatabaseUnavailable):
            await other.latest.reached()
        assert len(other.losses) == 1
    assert "cannot be read" in caplog.text


# A database that is away


@pytest.fixture
def cluster(private_cluster: Callable[..., Cluster]) -> Cluster:
    return private_cluster()


@pytest.fixture
def home_of_cluster(cluster: Cluster, database_homes: Callable[..., DatabaseHome]) -> DatabaseHome:
    return database_homes(cluster=cluster)


@either_medium
async def test_it_goes_on_when_the_database_is_back(
    cluster: Cluster, home_of_cluster: DatabaseHome, carries: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(home_of_cluster, 2, MemoryMedium(carries_entries=carries, cut=True)) as [one, other]:
        await one.queue.submit(data("a"))
        await deferToThread(cluster.stop)
        other.notices.hears(Notice(upto=1))
        await deferLater(reactor, 1.0)
        assert names(other) == []
        assert len([r for r in caplog.records if "log of commits cannot be read" in r.message]) == 1
        await deferToThread(cluster.start)
        await until(lambda: names(other) == ["a"])
        assert other.losses == []


# A commit whose outcome is not known at once


@attrs.frozen
class _Severed:
    proxy: SeveringProxy
    behind: DatabaseHome


async def _sever(home: DatabaseHome) -> _Severed:
    proxy = SeveringProxy(dict(home.settings.arguments))
    settings = attrs.evolve(home.settings, arguments=proxy.arguments)
    return _Severed(proxy, attrs.evolve(home, settings=settings, opened=[]))


async def _close(severed: _Severed) -> None:
    await severed.behind.close()
    await severed.proxy.close()


@pytest.fixture
def severed(database_home: DatabaseHome) -> Iterator[_Severed]:
    severed = in_reactor(_sever(database_home))
    yield severed
    in_reactor(_close(severed))


LINGER = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON account_data DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION linger()"""


@attrs.define(eq=False)
class _WithoutOutcome:
    """A database that does not say what became of a commit until it is asked to."""

    database: Database
    gate: Deferred[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    async def write(self, name: str, work: Callable[[Any], Any]) -> Any:
        """As the database does, but that it is slow to find out."""
        if name == "find out" and self.gate is not None:
            await self.gate
        return await self.database.write(name, work)


@pytest.mark.parametrize("moment", ["before", "begun", "after"])
async def test_an_own_commit_that_is_read_before_its_outcome_is_known(
    database_home: DatabaseHome, severed: _Severed, moment: Any
) -> None:
    medium = MemoryMedium(cut=True)
    async with following(database_home, 1, medium) as [one]:
        await one.storage.database.write("trigger", lambda txn: txn.execute(LINGER))
        database = _WithoutOutcome(await severed.behind.open(readers=2), gate=Deferred())
        other = await follow(database, medium, "other")  # type: ignore[arg-type]
        await other.write(NewRoom(room=1, version="12"))
        epoch = RoomEpoch(1, 0)
        severed.proxy.moment = moment
        submitted = [other.queue.submit(data("a", epoch)), other.queue.submit(data("b"))]
        await until(lambda: severed.proxy.moment is None)
        await deferLater(reactor, 0.7)
        await one.queue.submit(data("c"))
        await other.latest.reached()
        done = moment != "before"
        assert names(one) == names(other) == (["a", "b", "c"] if done else ["c"])
        assert not any(answer.called for answer in submitted)
        assert database.gate is not None
        database.gate.callback(None)
        results = await DeferredList(submitted, consumeErrors=True)
        assert [fine for fine, _ in results] == [done] * 2
        assert (epoch.fence, epoch.broken) == ((1, False) if done else (0, True))
        assert names(other) == (["a", "b", "c"] if done else ["c"])
        assert (await other.queue.submit(data("d"))).base == (3 if done else 1)
        await one.latest.reached()
        assert one.heard == other.heard == await logged(one.storage.database)
        assert 1 not in other.rooms
        assert one.rooms == ([1] if done else [])
        await other.stop()


async def test_a_stop_waits_for_the_turn_of_what_was_committed(database_home: DatabaseHome) -> None:
    medium = MemoryMedium(cut=True)
    async with following(database_home, 1, medium) as [one]:
        other = await follow(await database_home.open(readers=2), medium, "other")
        await one.queue.submit(data("a"))
        submitted = other.queue.submit(data("b"))
        await other.stop()
        assert submitted.called
        assert names(other) == ["a", "b"]
