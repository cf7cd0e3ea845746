# SPDX-License-Identifier: Apache-2.0
"""Several processes in one: each has its own clock or the reactor's, and all use one PostgreSQL database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from federation.processes.live_processes import DEAD_AFTER, REFUSED_AFTER, LiveProcesses
from federation.processes.ownership import Alone, Ownership, Peer
from storage.engine.database import Database, Dialect
from storage.engine.errors import DatabaseUnavailable
from storage.processes import Processes
from storage.runtime.background import BackgroundTasks
from tests.support.databases import DatabaseHome
from tests.support.postgres_cluster import run_sql
from tests.support.reactor import in_reactor

ROOMS = [f"!room{number}:example.org" for number in range(60)]


async def until(holds: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        await deferLater(reactor, 0.005)


@attrs.frozen(eq=False)
class Living:
    """One process, and what its listeners heard."""

    name: str
    live: LiveProcesses
    clock: Any
    background: BackgroundTasks
    dead: list[Peer]
    positions: list[int] = attrs.field(factory=list)
    changes: list[int] = attrs.field(factory=list)
    aways: list[int] = attrs.field(factory=list)
    told: list[int] = attrs.field(factory=list)

    async def start(self) -> None:
        await self.live.start(f"127.0.0.1:{self.name}")

    async def beat(self) -> None:
        """The next heartbeat comes, and is taken in."""
        heard = len(self.positions)
        self.clock.advance(1)
        await until(lambda: len(self.positions) > heard)

    def others(self) -> str:
        return "".join(sorted(peer.process for peer in self.live.peers()))

    def owners(self) -> set[str]:
        """Who owns a few rooms, according to this process."""
        owners = map(self.live.owner_of, ROOMS)
        return {self.name if owner is None else owner.process for owner in owners}


@attrs.frozen(eq=False)
class Town:
    """Makes processes over one database."""

    database: Database
    made: list[Living] = attrs.field(factory=list)

    def process(self, name: str, clock: Any = None) -> Living:
        heard: dict[str, list[int]] = {kind: [] for kind in ("positions", "changes", "aways", "told")}
        dead: list[Peer] = []
        background, clock = BackgroundTasks(), clock or Clock()
        live = LiveProcesses(
            process=name,
            processes=Processes(self.database),
            clock=clock,
            background=background,
            tell=lambda: heard["told"].append(1),
            on_change=[lambda: heard["changes"].append(1)],
            on_away=[lambda: heard["aways"].append(1)],
            on_dead=dead.append,
            on_position=heard["positions"].append,
        )
        self.made.append(Living(name, live, clock, background, dead, **heard))
        return self.made[-1]

    async def started(self, *names: str) -> list[Living]:
        """Processes that know each other."""
        processes = [self.process(name) for name in names]
        for process in processes:
            await process.start()
        for process in processes:
            await process.beat()
        return processes

    async def age(self, process: str, seconds: float) -> None:
        """Let the last heartbeat of a process be so much longer ago."""
        sql = "UPDATE processes SET heartbeat = heartbeat - make_interval(secs => ?) WHERE process = ?"
        assert await self.sql(sql, int(seconds), process) == 1

    async def sql(self, sql: str, *parameters: Any) -> int:
        return await self.database.write("test", lambda txn: txn.execute(sql, parameters))

    async def rows(self) -> list[Any]:
        return await self.database.look("all", "SELECT process, draining FROM processes ORDER BY process")

    async def close(self) -> None:
        for process in self.made:
            await process.live.stop()
            await process.background.stop()


@pytest.fixture
def engine() -> Dialect:
    """SQLite is for one process alone."""
    return "postgresql"


@pytest.fixture
def town(database: Database) -> Iterator[Town]:
    town = Town(database)
    yield town
    in_reactor(town.close())


def test_alone_owns_everything() -> None:
    ownership: Ownership = Alone()
    assert {ownership.owner_of(room) for room in ROOMS} == {None}


async def test_one_process_owns_everything(town: Town) -> None:
    [a] = await town.started("a")
    assert (a.live.peers(), a.owners()) == ((), {"a"})
    assert (a.changes, a.aways, a.positions) == ([], [], [0, 0])
    assert await town.rows() == [("a", False)]


async def test_processes_agree_on_owners(town: Town) -> None:
    a, b, c = await town.started("a", "b", "c")
    await a.beat()
    await b.beat()
    assert (a.others(), b.others(), c.others()) == ("bc", "ac", "ab")
    for room in ROOMS:
        owners = [
            living.name if (owner := living.live.owner_of(room)) is None else owner.process
            for living in (a, b, c)
        ]
        assert len(set(owners)) == 1
    assert a.owners() == {"a", "b", "c"}
    assert Peer("b", "127.0.0.1:b") in a.live.peers()
    assert {a.live.owner_of(room) for room in ROOMS} == {None, *a.live.peers()}


async def test_what_is_asked_again_has_the_same_answer(town: Town) -> None:
    a, _b = await town.started("a", "b")
    assert [a.live.owner_of(room) for room in ROOMS] == [a.live.owner_of(room) for room in ROOMS]


async def test_changes_are_told_and_nothing_else_is(town: Town) -> None:
    [a] = await town.started("a")
    b = town.process("b")
    await b.start()
    assert (len(b.changes), len(b.told)) == (1, 1)  # it was told of a; the others are asked to look
    await a.beat()
    assert len(a.changes) == 1
    await a.beat()
    await a.beat()
    assert len(a.changes) == 1
    await town.sql("UPDATE processes SET address = 'elsewhere:1' WHERE process = 'b'")
    await a.beat()
    assert (len(a.changes), a.live.peers()) == (2, (Peer("b", "elsewhere:1"),))
    await b.beat()
    await a.beat()
    assert (len(a.changes), a.live.peers()) == (3, (Peer("b", "127.0.0.1:b"),))


async def test_one_at_whose_address_nobody_listens_is_dead_sooner(town: Town) -> None:
    a, b, _ = await town.started("a", "b", "c")
    for process in ("b", "c"):
        await town.age(process, REFUSED_AFTER)
    a.live.refused(Peer("b", "127.0.0.1:b"))
    await a.beat()
    assert a.others() == "c", "it may only stand still"
    assert a.dead == [Peer("b", "127.0.0.1:b")]
    await b.beat()
    a.live.refused(Peer("b", "127.0.0.1:b"))
    await a.beat()
    assert a.others() == "bc", "it was heard of: something else refuses connections to it"


async def test_a_process_without_heartbeat_is_dead(town: Town) -> None:
    a, b = await town.started("a", "b")
    assert a.owners() == {"a", "b"}
    await town.age("b", DEAD_AFTER - 3)
    await a.beat()
    assert (a.others(), len(a.changes)) == ("b", 1)
    await town.age("b", 3)
    await a.beat()
    assert (a.others(), len(a.changes), a.owners()) == ("", 2, {"a"})
    await a.beat()
    assert a.dead == [Peer("b", "127.0.0.1:b")]
    await b.beat()
    await a.beat()
    assert (a.others(), len(a.changes), a.owners()) == ("b", 3, {"a", "b"})


async def test_the_position_is_told_at_each_heartbeat(town: Town) -> None:
    [a] = await town.started("a")
    await town.sql("UPDATE counters SET value = 17 WHERE name = 'position'")
    await a.beat()
    await a.beat()
    assert a.positions == [0, 0, 17, 17]


async def test_one_that_was_paused_says_so_and_is_back(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    a, b = await town.started("a", "b")
    await town.age("a", 30)
    await b.beat()
    assert b.others() == ""
    await a.beat()
    assert (len(a.aways), a.others()) == (1, "b")
    assert "took this process for dead: 30" in caplog.text
    await a.beat()
    assert len(a.aways) == 1
    await b.beat()
    assert (b.others(), len(b.aways)) == ("a", 0)


async def test_one_that_was_taken_out_by_mistake_comes_back(town: Town) -> None:
    a, b = await town.started("a", "b")
    await Processes(town.database).remove("a")
    await b.beat()
    assert b.others() == ""
    await a.beat()
    assert len(a.aways) == 1
    await b.beat()
    assert b.others() == "a"


async def test_who_is_back_first_waits_for_the_others(town: Town) -> None:
    """The database was away, so nobody has a heartbeat: that does not make everybody but one dead."""
    a, b, c = await town.started("a", "b", "c")
    await a.beat()
    for process in "abc":
        await town.age(process, 20)
    changes = len(a.changes)
    await a.beat()
    assert (a.others(), len(a.aways), len(a.changes)) == ("bc", 1, changes)
    await b.beat()
    await a.beat()
    assert (a.others(), len(a.changes)) == ("bc", changes)
    for _ in range(int(DEAD_AFTER)):
        await a.beat()
    assert (a.others(), len(a.changes)) == ("b", changes + 1)
    assert c.name == "c"


async def test_an_end_is_told(town: Town) -> None:
    a, b = await town.started("a", "b")
    await b.live.stop()
    assert len(b.told) == 2
    assert await town.rows() == [("a", False)]
    b.clock.advance(60)
    await a.beat()
    assert a.others() == ""
    assert a.dead == [], "it may still answer what it owes"
    assert await town.rows() == [("a", False)]


SLOW = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$;
CREATE TRIGGER linger BEFORE INSERT ON processes FOR EACH ROW EXECUTE FUNCTION linger()"""


async def test_an_end_waits_for_the_heartbeat_under_way(town: Town) -> None:
    """Which would bring the process back."""
    [a] = await town.started("a")
    await town.sql(SLOW)
    a.clock.advance(1)
    await a.live.stop()
    await deferLater(reactor, 0.3)
    assert await town.rows() == []


async def test_who_drains_owns_nothing(town: Town) -> None:
    a, b, c = await town.started("a", "b", "c")
    await a.beat()
    await b.live.drain()
    assert (b.owners(), b.others(), len(b.told)) == ({"a", "c"}, "ac", 2)
    await a.beat()
    await c.beat()
    assert a.owners() == c.owners() == {"a", "c"}
    assert a.others() == "bc"
    await b.beat()
    assert await town.rows() == [("a", False), ("b", True), ("c", False)]


async def test_where_all_drain_all_own(town: Town) -> None:
    a, b = await town.started("a", "b")
    await a.live.drain()
    await b.beat()
    assert a.owners() == b.owners() == {"b"}
    await b.live.drain()
    await a.beat()
    assert a.owners() == b.owners() == {"a", "b"}
    await town.age("b", 30)
    await a.beat()
    assert a.owners() == {"a"}


async def test_the_last_one_that_drains_hands_over_to_one_that_comes(town: Town) -> None:
    [a] = await town.started("a")
    await a.live.drain()
    assert a.owners() == {"a"}
    b = town.process("b")
    await b.start()
    await a.beat()
    assert a.owners() == b.owners() == {"b"}


async def test_looks_are_gathered(town: Town) -> None:
    [a] = await town.started("a")
    b = town.process("b")
    await b.start()
    heard = len(a.positions)
    a.clock.advance(0.5)
    for _ in range(5):
        a.live.look()
    a.clock.advance(0)
    for _ in range(5):
        a.live.look()  # this one may have come too late for the reading under way
    await until(lambda: len(a.positions) == heard + 1)
    assert a.others() == "b"
    a.clock.advance(0.04)
    await deferLater(reactor, 0.05)
    assert len(a.positions) == heard + 1
    a.clock.advance(0.02)
    await until(lambda: len(a.positions) == heard + 2)
    a.clock.advance(0.9)
    await deferLater(reactor, 0.05)
    assert len(a.positions) == heard + 2
    a.clock.advance(0.1)
    await until(lambda: len(a.positions) == heard + 3)


async def test_a_look_before_the_start_and_after_the_end_does_no_harm(town: Town) -> None:
    a = town.process("a")
    a.live.look()
    await a.start()
    await a.live.stop()
    a.live.look()
    a.clock.advance(5)
    await deferLater(reactor, 0.05)
    assert (a.positions, await town.rows()) == ([0], [])


async def test_a_listener_that_fails_holds_up_nobody(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    changes: list[int] = []

    def fail() -> None:
        raise RuntimeError("a mistake")

    background, clock = BackgroundTasks(), Clock()
    live = LiveProcesses(
        process="a",
        processes=Processes(town.database),
        clock=clock,
        background=background,
        on_change=[fail, lambda: changes.append(1)],
    )
    [b] = await town.started("b")
    await live.start("127.0.0.1:a")
    assert (changes, [peer.process for peer in live.peers()]) == ([1], ["b"])
    assert "a mistake" in caplog.text
    await b.live.stop()
    clock.advance(1)
    await until(lambda: changes == [1, 1])
    await live.stop()
    await background.stop()


async def test_two_see_each_other_in_real_time(town: Town) -> None:
    a, b = town.process("a", reactor), town.process("b", reactor)
    await a.start()
    await b.start()
    assert b.others() == "a"
    a.live.look()
    await until(lambda: a.others() == "b", seconds=0.5)
    await until(lambda: min(len(a.positions), len(b.positions)) >= 2, seconds=2)
    await b.live.stop()
    await until(lambda: a.others() == "", seconds=1.5)


@contextmanager
def outage(home: DatabaseHome) -> Iterator[None]:
    """While it lasts, nobody can connect to the database, and whoever was connected is thrown out."""
    name = home.settings.arguments["dbname"]
    server = {**home.settings.arguments, "dbname": "postgres"}
    run_sql(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        run_sql(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        yield
    finally:
        run_sql(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_while_the_database_is_away_the_view_stays(
    town: Town, database_home: DatabaseHome, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await town.started("a", "b")
    caplog.clear()
    with outage(database_home):
        for _ in range(3):
            a.clock.advance(1)
            await deferLater(reactor, 0.1)
        await a.live.drain()
        assert (a.others(), a.owners(), len(a.changes)) == ("b", {"a", "b"}, 1)
        await b.live.stop()
    heard = len(a.positions)
    await until(lambda: a.clock.advance(1) or len(a.positions) > heard)
    ours = [record for record in caplog.records if record.name == "federation.processes.live_processes"]
    warnings = [record.getMessage() for record in ours if record.levelno == logging.WARNING]
    assert [message.split(" ")[0] for message in warnings] == ["No", "This", "The"]  # each of them once
    assert await town.rows() == [("a", True), ("b", False)]


async def test_a_start_without_database_fails(town: Town) -> None:
    a = town.process("a")
    await town.database.close()
    with pytest.raises(DatabaseUnavailable):
        await a.start()
