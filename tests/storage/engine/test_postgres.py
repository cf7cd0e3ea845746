# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL alone does: servers that go away, outcomes that are unknown, conflicts, encodings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from storage.engine.database import Database, DatabaseSettings, Fence, Tail, Transaction
from storage.engine.errors import DatabaseUnavailable, DataError, OutcomeUnknown, UnsuitableDatabase
from storage.engine.opening import open_database
from storage.engine.statement import BYTES, INTEGER, Batch
from tests.support.databases import DatabaseHome, postgres_server
from tests.support.postgres_cluster import Cluster, free_port, run_sql

POSITIONED = Batch(
    "INSERT INTO items (item, data, position) SELECT v.item, v.data, base.value + v.i FROM v, base",
    {"item": INTEGER, "data": BYTES, "i": INTEGER},
)
SLOW = Batch("SELECT pg_sleep(v.seconds) FROM v", {"seconds": INTEGER})
ADD = "INSERT INTO items (item) VALUES (?)"


@pytest.fixture(params=["postgresql"])
def engine(request: pytest.FixtureRequest) -> Any:
    """PostgreSQL alone."""
    return request.param


def nothing(_txn: Transaction) -> None:
    """A head that does nothing."""


def one(item: int) -> Tail:
    """A tail that writes one item."""
    return Tail((), 1, [(POSITIONED, [(item, b"x", 1)])])


async def items_of(database: Database) -> list[int]:
    sql = "SELECT item FROM items ORDER BY item"
    return [item for (item,) in await database.read("all", lambda txn: txn.rows(sql))]


async def session_of(database: Database, sql: str) -> int:
    """The process id of the server's session that runs `sql`, once there is one."""
    find = (
        "SELECT pid FROM pg_stat_activity WHERE query LIKE ? AND pid <> pg_backend_pid() AND state = 'active'"
    )
    for _ in range(500):
        row = await database.read("find", lambda txn: txn.row(find, (f"%{sql}%",)))
        if row is not None:
            return int(row[0])
        await deferLater(reactor, 0.01)
    raise AssertionError(f"nothing runs {sql}")


async def terminate(database: Database, pid: int) -> None:
    sql = "SELECT pg_terminate_backend(CAST(? AS INTEGER))"
    await database.read("terminate", lambda txn: txn.row(sql, (pid,)))


async def seconds_of(request: Any) -> float:
    """How long it takes until `request` is refused."""
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await request
    return time.monotonic() - began


async def resumes(database: Database) -> None:
    """Return once requests are answered again, in 10 seconds at most."""
    deadline = time.monotonic() + 10
    while True:
        try:
            await database.read("again", lambda txn: txn.row("SELECT 1"))
            return
        except DatabaseUnavailable:
            assert time.monotonic() < deadline
            await deferLater(reactor, 0.02)


@pytest.fixture
def cluster(private_cluster: Callable[..., Cluster]) -> Cluster:
    """A server that the test may stop."""
    return private_cluster()


@pytest.fixture
def outage_home(
    database_homes: Callable[..., DatabaseHome], items_schema: Path, cluster: Cluster
) -> DatabaseHome:
    """A database on that server."""
    return database_homes(schema=items_schema, cluster=cluster)


@pytest.mark.parametrize("end", [Cluster.stop, Cluster.kill], ids=["stopped", "killed"])
async def test_a_server_that_goes_and_comes_back(
    outage_home: DatabaseHome, cluster: Cluster, end: Callable[[Cluster], None]
) -> None:
    database = await outage_home.open()
    assert await database.commit("one", nothing, one(1)) == 0
    await deferToThread(end, cluster)
    for _ in range(3):
        assert await seconds_of(items_of(database)) < 1
        assert await seconds_of(database.write("w", lambda txn: txn.execute(ADD, (9,)))) < 1
        assert await seconds_of(database.commit("two", nothing, one(2))) < 1
        refused = [seconds_of(items_of(database)) for _ in range(20)]
        assert max(await gatherResults([Deferred.fromCoroutine(request) for request in refused])) < 2
    await deferToThread(cluster.start)
    await resumes(database)
    assert await database.commit("three", nothing, one(3)) == 1
    assert await items_of(database) == [1, 3]


async def test_a_restart_between_two_requests_is_not_noticed(
    outage_home: DatabaseHome, cluster: Cluster
) -> None:
    database = await outage_home.open()
    await database.commit("one", nothing, one(1))
    assert await items_of(database) == [1]
    await deferToThread(cluster.stop)
    await deferToThread(cluster.start)
    assert await database.commit("two", nothing, one(2)) == 1
    assert await items_of(database) == [1, 2]
    await database.write("three", lambda txn: txn.execute(ADD, (3,)))
    assert await items_of(database) == [1, 2, 3]


async def test_close_while_the_server_is_away(outage_home: DatabaseHome, cluster: Cluster) -> None:
    database = await outage_home.open()
    await deferToThread(cluster.stop)
    assert await seconds_of(items_of(database)) < 1
    began = time.monotonic()
    await database.close()
    assert time.monotonic() - began < 1
    deadline = time.monotonic() + 5
    while any(thread.name == "postgresql-probe" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        await deferLater(reactor, 0.02)


async def test_a_server_that_is_not_there(items_schema: Path) -> None:
    arguments = {"host": "127.0.0.1", "port": free_port(), "user": "x", "password": "secret", "dbname": "x"}
    settings = DatabaseSettings(engine="postgresql", arguments=arguments)
    with pytest.raises(DatabaseUnavailable, match=r"cannot connect to PostgreSQL.*refused") as caught:
        await open_database(settings, reactor=reactor, schema=items_schema)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(settings)


async def test_a_connection_that_breaks_in_the_tail_leaves_the_outcome_unknown(
    items_home: DatabaseHome,
) -> None:
    database, other = await items_home.open(), await items_home.open()
    tail = Tail((), 1, [(POSITIONED, [(1, b"x", 1)]), (SLOW, [(60,)])])
    committing = Deferred.fromCoroutine(database.commit("slow", nothing, tail))
    await terminate(other, await session_of(other, "pg_sleep(v.seconds)"))
    with pytest.raises(OutcomeUnknown):
        await committing
    assert await items_of(database) == []
    assert await database.commit("next", nothing, one(2)) == 0


async def test_a_connection_that_breaks_in_commit_leaves_the_outcome_unknown(
    items_home: DatabaseHome,
) -> None:
    """A deferred trigger makes COMMIT itself take long."""
    linger = """
    CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION linger()"""
    database, other = await items_home.open(), await items_home.open()
    await other.write("trigger", lambda txn: txn.execute(linger))
    for request in (
        database.commit("slow", nothing, one(1)),
        database.write("slow", lambda txn: txn.execute(ADD, (2,))),
    ):
        committing = Deferred.fromCoroutine(request)
        await terminate(other, await session_of(other, "COMMIT"))
        with pytest.raises(OutcomeUnknown):
            await committing
    assert await items_of(database) == []


@pytest.mark.parametrize("kind", ["read", "write", "commit"])
async def test_a_connection_that_breaks_before_the_commit_is_made_anew(
    items_home: DatabaseHome, kind: str
) -> None:
    database, other = await items_home.open(), await items_home.open()
    attempts: list[int] = []

    def work(txn: Transaction) -> None:
        attempts.append(1)
        if kind != "read":
            txn.execute(ADD, (7,))
        if len(attempts) == 1:
            txn.rows("SELECT pg_sleep(60)")

    request = {
        "read": lambda: database.read("r", work),
        "write": lambda: database.write("w", work),
        "commit": lambda: database.commit("c", work, one(1)),
    }[kind]()
    waiting = Deferred.fromCoroutine(request)
    await terminate(other, await session_of(other, "SELECT pg_sleep(60)"))
    await waiting
    assert len(attempts) == 2
    assert await items_of(database) == {"read": [], "write": [7], "commit": [1, 7]}[kind]


async def test_a_connection_that_always_breaks_is_given_up(items: Database) -> None:
    attempts: list[int] = []

    def work(txn: Transaction) -> None:
        attempts.append(1)
        txn.row("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnavailable):
        await items.write("broken", work)
    assert len(attempts) == 2
    assert await items_of(items) == []


async def test_a_deadlock_is_tried_again(items_home: DatabaseHome) -> None:
    databases = [await items_home.open(), await items_home.open()]
    add_two = "INSERT INTO items (item, size) VALUES (1, 0), (2, 0)"
    await databases[0].write("two", lambda txn: txn.execute(add_two))
    both = threading.Barrier(2, timeout=30)
    attempts: list[int] = []

    def work(first: int, second: int) -> Callable[[Transaction], None]:
        met: list[int] = []

        def run(txn: Transaction) -> None:
            attempts.append(1)
            txn.execute("UPDATE items SET size = size + 1 WHERE item = ?", (first,))
            if not met:
                met.append(both.wait())
            txn.execute("UPDATE items SET size = size + 1 WHERE item = ?", (second,))

        return run

    await gatherResults(
        [
            Deferred.fromCoroutine(databases[0].write("a", work(1, 2))),
            Deferred.fromCoroutine(databases[1].commit("b", work(2, 1), Tail())),
        ]
    )
    assert len(attempts) > 2
    sizes = await databases[0].read("s", lambda txn: txn.rows("SELECT size FROM items"))
    assert sizes == [(2,), (2,)]


async def test_conflicts_without_end_are_given_up(items: Database) -> None:
    attempts: list[int] = []

    def work(txn: Transaction) -> None:
        attempts.append(1)
        txn.execute("DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$")

    with pytest.raises(DatabaseUnavailable, match="conflict"):
        await items.write("conflict", work)
    assert len(attempts) == 5


async def test_a_lock_is_not_waited_for_without_end(items_home: DatabaseHome) -> None:
    database = await items_home.open()
    await database.commit("one", nothing, one(1))
    holder = psycopg2.connect(**items_home.settings.arguments)
    try:
        with holder.cursor() as cursor:
            cursor.execute("UPDATE items SET size = 1")

        def work(txn: Transaction) -> None:
            txn.execute("SET LOCAL lock_timeout = '50ms'")
            txn.execute("UPDATE items SET size = 2")

        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await database.write("locked", work)
    finally:
        holder.close()
    await database.write("free", lambda txn: txn.execute("UPDATE items SET size = 2"))


async def test_an_index_that_cannot_hold_a_value_is_a_data_error(items: Database) -> None:
    """A B-tree's entries are limited; SQLite has no such limit."""
    await items.write("index", lambda txn: txn.execute("CREATE INDEX items_by_data ON items (data)"))
    random = bytes(range(256)) * 12
    noise = b"".join(bytes([(i * j * 7 + j) % 251 for i in range(256)]) for j in range(80))
    with pytest.raises(DataError, match="index"):
        await items.commit("large", nothing, Tail((), 1, [(POSITIONED, [(1, random + noise, 1)])]))
    assert await items.commit("small", nothing, one(1)) == 0


async def test_sessions_are_set_up(items: Database) -> None:
    names = {
        "application_name": "trellis",
        "synchronous_commit": "on",
        "idle_in_transaction_session_timeout": "10s",
        "lock_timeout": "20s",
        "client_encoding": "UTF8",
        "transaction_isolation": "repeatable read",
        "transaction_read_only": "on",
        "jit": "off",
    }
    sql = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    found = await items.read("settings", lambda txn: txn.row(sql))
    assert found is not None
    assert dict(zip(names, found, strict=True)) == names
    sql = "SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit')"
    assert await items.write("settings", lambda txn: txn.row(sql)) == ("read committed", "on")


async def test_a_look_leaves_no_transaction_open(items_home: DatabaseHome) -> None:
    database, other = await items_home.open(), await items_home.open()
    ((session, own, state),) = await database.look(
        "look", "SELECT pg_backend_pid(), txid_current_if_assigned(), current_setting(?)", ("jit",)
    )
    assert (own, state) == (None, "off")
    sql = "SELECT state, query FROM pg_stat_activity WHERE pid = ?"
    for _ in range(500):
        ((state, query),) = await other.look("state", sql, (session,))
        if state == "idle":
            break
        await deferLater(reactor, 0.01)
    assert state == "idle"
    assert query.startswith('EXECUTE "SELECT pg_backend_pid()')


async def test_a_look_survives_a_restart(outage_home: DatabaseHome, cluster: Cluster) -> None:
    database = await outage_home.open()
    assert await database.look("one", "SELECT ?", (1,)) == [(1,)]
    await deferToThread(cluster.stop)
    with pytest.raises(DatabaseUnavailable):
        await database.look("two", "SELECT ?", (2,))
    await deferToThread(cluster.start)
    await resumes(database)
    assert await database.look("three", "SELECT ?", (3,)) == [(3,)]


async def test_a_tail_and_its_commit_are_one_message(items: Database) -> None:
    """A process that is stopped has sent all of the tail or nothing of it."""
    await items.write("room", lambda txn: txn.execute("INSERT INTO rooms (room, fence) VALUES (1, 0)"))
    seen: list[int] = []

    def head(txn: Transaction) -> None:
        txn.execute(ADD, (5,))
        # What this session sends next is seen by all as its query, as a whole.
        seen.extend(txn.row("SELECT pg_backend_pid()") or ())

    tail = Tail([Fence(1, 0)], 1, [(POSITIONED, [(1, b"x", 1)])])
    await items.commit("c", head, tail)
    sql = "SELECT query FROM pg_stat_activity WHERE pid = ?"
    row = await items.read("query", lambda txn: txn.row(sql, (seen[0],)))
    assert row is not None
    query = row[0]
    order = ["trellis_raise_fences", "trellis_take_positions", "INSERT INTO items", "COMMIT", "trellis.base"]
    assert [query.rfind(part) for part in order] == sorted(query.rfind(part) for part in order)
    assert query.find("trellis_raise_fences") >= 0


@pytest.fixture
def other_database() -> Iterator[Callable[[str], DatabaseSettings]]:
    """Makes a database as its argument says."""
    server = {**postgres_server(), "dbname": "postgres"}
    names: list[str] = []

    def make(how: str) -> DatabaseSettings:
        names.append(f"trellis_other_{time.time_ns()}")
        run_sql(server, f"CREATE DATABASE {names[-1]} {how} TEMPLATE template0")
        return DatabaseSettings(engine="postgresql", arguments={**server, "dbname": names[-1]})

    yield make
    for name in names:
        run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_another_encoding_is_refused(
    other_database: Callable[[str], DatabaseSettings], items_schema: Path, encoding: str
) -> None:
    settings = other_database(f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    with pytest.raises(UnsuitableDatabase, match=f"encoding {encoding} .*CREATE DATABASE .* ENCODING 'UTF8'"):
        await open_database(settings, reactor=reactor, schema=items_schema)


async def test_any_collation_will_do(
    other_database: Callable[[str], DatabaseSettings], items_schema: Path
) -> None:
    try:
        settings = other_database("ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    except psycopg2.Error:
        pytest.skip("this server knows no ICU collation")
    database = await open_database(settings, reactor=reactor, schema=items_schema)
    try:
        rows = [(1, b"b", 1), (2, b"B", 2), (3, b"a", 3), (4, b"A", 4)]
        await database.commit("c", nothing, Tail((), 4, [(POSITIONED, rows)]))
        sql = "SELECT data FROM items ORDER BY data"
        assert await database.read("r", lambda txn: txn.rows(sql)) == [(b"A",), (b"B",), (b"a",), (b"b",)]
    finally:
        await database.close()
