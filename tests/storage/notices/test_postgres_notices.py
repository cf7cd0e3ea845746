# SPDX-License-Identifier: Apache-2.0
"""Notices over LISTEN and NOTIFY between several connections to a real PostgreSQL."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from twisted.internet import reactor

from storage.commits.log import LogEntry
from storage.notices.notice_counts import NoticeCounts
from storage.notices.notices import Notice
from storage.notices.postgres_notices import PostgresNotices
from tests.support.databases import postgres_server
from tests.support.notices import Listener, at_work, listening, until
from tests.support.postgres_cluster import Cluster, free_port, run_sql
from tests.support.reactor import in_reactor

KILL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'trellis notices'"
)
Make = Callable[..., PostgresNotices]


@pytest.fixture
def arguments() -> Iterator[dict[str, str | int]]:
    """What leads to a database of the test's own, which is empty."""
    server = postgres_server()
    name = f"trellis_notices_{os.getpid()}"
    run_sql({**server, "dbname": "postgres"}, f"CREATE DATABASE {name}")
    yield {**server, "dbname": name}
    run_sql({**server, "dbname": "postgres"}, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def make(arguments: dict[str, str | int]) -> Iterator[Make]:
    """Makes notices of one more process; all are stopped at the end."""
    made: list[PostgresNotices] = []

    def one(counts: NoticeCounts | None = None, **changes: Any) -> PostgresNotices:
        made.append(PostgresNotices(arguments={**arguments, **changes}, reactor=reactor, counts=counts))
        return made[-1]

    async def stop() -> None:
        for notices in made:
            await notices.stop()

    yield one
    in_reactor(stop())


async def test_all_hear_what_one_tells(make: Make) -> None:
    one, other = make(), make()
    here, there = await listening(one), await listening(other)
    assert one.carries_entries
    assert not one.carries_all_entries
    one.tell(Notice(upto=5))
    await until(lambda: here.heard and there.heard)
    other.tell(Notice(processes=True))
    await until(lambda: len(here.heard) == len(there.heard) == 2)
    assert here.heard == there.heard == [Notice(upto=5), Notice(processes=True)]
    small = Notice(upto=8, entry=LogEntry(base=5, upto=8, process="one", records=b"\0r", events=b"\xff"))
    one.tell(small)
    await until(lambda: there.upto == 8)
    assert there.heard[-1] == small
    one.tell(Notice(entry=LogEntry(base=8, upto=9, process="one", records=bytes(10_000), events=b"")))
    await until(lambda: there.upto == 9)
    assert there.heard[-1] == Notice(upto=9)
    assert (here.connections, there.connections) == (1, 1)


async def test_notices_that_gather_go_together(make: Make) -> None:
    counts = NoticeCounts()
    teller, other = make(counts), make()
    await listening(teller)
    there = await listening(other)
    for position in range(1, 1001):
        teller.tell(Notice(upto=position))
    teller.tell(Notice(upto=3, processes=True))
    await until(lambda: there.upto == 1000)
    # The first went at once, the others while it was on its way.
    assert there.heard == [Notice(upto=1), Notice(upto=1000, processes=True)]
    assert (counts.told, counts.sent, counts.dropped) == (1001, 2, 0)


async def test_a_connection_that_is_ended_is_replaced(
    make: Make, arguments: dict[str, str | int], caplog: pytest.LogCaptureFixture
) -> None:
    counts = NoticeCounts()
    notices, other = make(counts), make()
    here, there = await listening(notices), await listening(other)
    assert run_sql(arguments, KILL) == [(2,)]
    await until(lambda: here.connections == 2 and there.connections == 2)
    other.tell(Notice(upto=7))
    await until(lambda: here.upto == there.upto == 7)
    assert counts.connections == 2
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(texts) == 4  # each of them went and came back
    assert sum("server closed the connection" in text for text in texts) == 2


async def test_a_connection_that_ends_amid_a_message(make: Make, arguments: dict[str, str | int]) -> None:
    counts = NoticeCounts()
    notices = make(counts)
    here = await listening(notices)
    run_sql(arguments, KILL)
    notices.tell(Notice(upto=1))  # the end has not been read yet
    notices.tell(Notice(upto=2))
    await until(lambda: here.connections == 2)
    assert (counts.told, counts.sent, counts.dropped) == (2, 0, 2)
    notices.tell(Notice(upto=3))
    await until(lambda: here.upto == 3)


async def test_a_server_that_is_away_is_awaited(
    private_cluster: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    cluster = private_cluster()
    cluster.stop()
    counts = NoticeCounts()
    notices = PostgresNotices(
        arguments={**cluster.arguments, "dbname": "postgres"}, reactor=reactor, counts=counts
    )
    listener = Listener()
    await notices.start(listener)
    notices.tell(Notice(upto=1))
    await until(lambda: caplog.records)
    cluster.start()
    await until(lambda: listener.connections == 1)
    notices.tell(Notice(upto=2))
    await until(lambda: listener.upto == 2)
    cluster.stop()
    cluster.start()
    await until(lambda: listener.connections == 2)
    notices.tell(Notice(upto=3))
    await until(lambda: listener.upto == 3)
    assert [notice.upto for notice in listener.heard] == [2, 3]
    assert counts.dropped == 1
    texts = [record.getMessage() for record in caplog.records]
    assert ["again" in text.split(";")[0] for text in texts] == [False, True, False, True]
    await notices.stop()


async def test_a_server_that_stands_still_is_left(
    private_cluster: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    """A connection is begun, and there is no answer: the attempt ends in its time, and so does `stop`."""
    cluster = private_cluster()
    arguments = {**cluster.arguments, "dbname": "postgres", "connect_timeout": 1}
    notices = PostgresNotices(arguments=arguments, reactor=reactor)
    before = at_work()
    os.kill(cluster.pid, signal.SIGSTOP)
    try:
        listener = Listener()
        await notices.start(listener)
        await until(lambda: "no answer in 1 seconds" in caplog.text)
        await until(lambda: at_work()[1] > before[1])
        await notices.stop()
        assert at_work() == before
        assert listener.connections == 0
    finally:
        os.kill(cluster.pid, signal.SIGCONT)


@pytest.mark.parametrize("connected", [False, True])
async def test_stop_leaves_nothing(make: Make, connected: bool) -> None:
    before = at_work()
    notices = make() if connected else make(port=free_port(), host="127.0.0.1")
    listener = Listener()
    await notices.start(listener)
    if connected:
        await until(lambda: listener.connections)
        notices.tell(Notice(upto=1))  # on its way
    await notices.stop()
    assert at_work() == before
    notices.tell(Notice(upto=2))
    await notices.stop()
    assert at_work() == before
    assert listener.heard in ([], [Notice(upto=1)]), "what was on its way may have come, and nothing after it"


async def test_stop_right_after_start(make: Make) -> None:
    before = at_work()
    notices, listener = make(), Listener()
    await notices.start(listener)
    await notices.stop()
    assert at_work() == before
    assert listener.connections == 0


async def test_payloads_that_make_no_sense_are_harmless(
    make: Make, arguments: dict[str, str | int], caplog: pytest.LogCaptureFixture
) -> None:
    counts = NoticeCounts()
    notices = make(counts)
    here = await listening(notices)
    for payload in ("", "hello", "b12", "a" + "1" * 7000, "a1\n\u00fc"):
        run_sql(arguments, f"SELECT pg_notify('trellis', '{payload}')")
    notices.tell(Notice(upto=4))
    await until(lambda: here.upto == 4)
    assert here.heard == [Notice(upto=4)]
    assert counts.unreadable == 5
    assert len(caplog.records) == 1


async def test_a_listener_that_fails_is_logged_and_hears_on(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    notices, heard = make(), []

    def hear(notice: Notice) -> None:
        heard.append(notice)
        raise RuntimeError("not today")

    await notices.start(hear)
    await until(lambda: len(heard) == 1)
    notices.tell(Notice(upto=1))
    await until(lambda: len(heard) == 2)
    assert "not today" in caplog.text


def test_the_connection_says_what_it_is(make: Make, arguments: Mapping[str, str | int]) -> None:
    in_reactor(listening(make(application_name="mine")))
    rows = run_sql(
        dict(arguments),
        "SELECT application_name FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE '%LISTEN trellis'",
    )
    assert rows == [("mine notices",)]
