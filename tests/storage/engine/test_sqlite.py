# SPDX-License-Identifier: Apache-2.0
"""What SQLite alone does: its settings, a full disk, a lock that is held, the length of the log."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from storage.engine.database import Database, DatabaseSettings, Tail, Transaction
from storage.engine.errors import DatabaseError, DatabaseUnavailable, OutcomeUnknown, UnsuitableDatabase
from storage.engine.opening import open_database
from storage.engine.sqlite import connect
from storage.engine.statement import BYTES, INTEGER, Batch
from tests.support.databases import DatabaseHome
from tests.support.reactor import in_reactor

INSERT = Batch(
    "INSERT INTO items (item, data, position) SELECT v.item, v.data, base.value + v.i FROM v, base",
    {"item": INTEGER, "data": BYTES, "i": INTEGER},
)


@pytest.fixture(params=["sqlite"])
def engine(request: pytest.FixtureRequest) -> Any:
    """SQLite alone."""
    return request.param


def nothing(_txn: Transaction) -> None:
    """A head that does nothing."""


async def put(database: Database, item: int, size: int = 10) -> None:
    await database.commit("put", nothing, Tail((), 1, [(INSERT, [(item, b"x" * size, 1)])]))


async def items_of(database: Database) -> list[int]:
    return [item for (item,) in await database.read("all", lambda txn: txn.rows("SELECT item FROM items"))]


@pytest.mark.parametrize(("synchronous", "number"), [("FULL", 2), ("NORMAL", 1)])
def test_connections_are_set_up(tmp_path: Path, synchronous: Any, number: int) -> None:
    with contextlib.closing(
        connect(str(tmp_path / "x.db"), synchronous=synchronous, writes=True)
    ) as connection:
        found = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "query_only", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": number,
        "foreign_keys": 0,
        "query_only": 0,
        "busy_timeout": 5_000,
    }


@pytest.mark.parametrize("path", ["", ":memory:", "file:x.db", "/nowhere/at/all/x.db"])
async def test_a_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(UnsuitableDatabase):
        await open_database(DatabaseSettings(engine="sqlite", path=path), reactor=reactor)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and long enough to be looked at\n" * 100)
    with pytest.raises(DatabaseUnavailable, match=r"notes\.txt"):
        await open_database(DatabaseSettings(engine="sqlite", path=str(path)), reactor=reactor)
    assert path.read_text().startswith("not a database")


async def test_after_close_one_file_is_left(items_home: DatabaseHome) -> None:
    database = await items_home.open()
    await put(database, 1)
    await database.close()
    path = Path(items_home.settings.path)
    assert [found.name for found in path.parent.glob(f"{path.name}*")] == [path.name]


async def test_a_full_file_is_unavailable_until_there_is_room(items: Database) -> None:
    """SQLite's own limit of pages gives the same error as a full disk."""
    await put(items, 1)
    (pages,) = await items.write("limit", lambda txn: txn.row("PRAGMA page_count"))
    await items.write("limit", lambda txn: txn.rows(f"PRAGMA max_page_count = {pages + 1}"))
    for attempt in range(3):
        with pytest.raises(DatabaseUnavailable, match="full"):
            await put(items, 2 + attempt, size=100_000)
        assert await items_of(items) == [1]
    await items.write("limit", lambda txn: txn.rows("PRAGMA max_page_count = 1000000"))
    await put(items, 2, size=100_000)
    assert await items_of(items) == [1, 2]
    position = await items.read("p", lambda txn: txn.row("SELECT max(position), count(position) FROM items"))
    assert position == (2, 2)


@contextlib.contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_fails_writes_nothing_and_service_resumes(items_home: DatabaseHome) -> None:
    database = await items_home.open()
    await put(database, 1)
    with files_no_longer_than(200_000):
        for attempt in range(3):
            with pytest.raises((DatabaseUnavailable, OutcomeUnknown)):
                await put(database, 2 + attempt, size=1_000_000)
            assert await items_of(database) == [1]
    await put(database, 5, size=1_000_000)
    assert await items_of(database) == [1, 5]
    await database.close()
    assert await items_of(await items_home.open()) == [1, 5]


def test_a_disk_that_is_really_full(items_schema: Path, tmp_path: Path) -> None:
    """On a small file system of its own, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        in_reactor(_fill(str(disk / "x.db"), items_schema, disk / "ballast"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def _put_until_full(database: Database) -> list[int]:
    """The items that were acknowledged before the first that was not."""
    for item in range(1_000):
        try:
            await put(database, item, size=20_000)
        except DatabaseError:
            return list(range(item))
    raise AssertionError("the disk was never full")


async def _fill(path: str, schema: Path, ballast: Path) -> None:
    ballast.write_bytes(b"x" * 400_000)
    database = await open_database(
        DatabaseSettings(engine="sqlite", path=path), reactor=reactor, schema=schema
    )
    try:
        written = await _put_until_full(database)
        assert 2 < len(written) < 100
        for _ in range(3):
            with pytest.raises(DatabaseError):
                await put(database, 1_000, size=200_000)
        assert await items_of(database) == written
        ballast.unlink()
        await put(database, 2_000, size=1_000)
        assert await items_of(database) == [*written, 2_000]
    finally:
        await database.close()


async def test_a_lock_that_another_program_holds(items_home: DatabaseHome) -> None:
    database = await items_home.open()
    await put(database, 1)
    await database.write("patience", lambda txn: txn.rows("PRAGMA busy_timeout = 50"))
    with contextlib.closing(sqlite3.connect(items_home.settings.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked"):
            await put(database, 2)
        with pytest.raises(DatabaseUnavailable, match="locked"):
            await database.write("put", lambda txn: txn.execute("INSERT INTO items (item) VALUES (2)"))
        assert await items_of(database) == [1]
        other.execute("ROLLBACK")
    await put(database, 2)
    assert await items_of(database) == [1, 2]


async def test_a_lock_that_is_given_back_in_time_is_waited_for(items_home: DatabaseHome) -> None:
    database = await items_home.open()
    with contextlib.closing(sqlite3.connect(items_home.settings.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = Deferred.fromCoroutine(put(database, 1))
        await deferLater(reactor, 0.1)
        assert not waiting.called
        other.execute("ROLLBACK")
        await waiting
    assert await items_of(database) == [1]


async def test_the_log_stays_short_under_a_steady_load(items_home: DatabaseHome) -> None:
    database = await items_home.open()
    log = Path(items_home.settings.path + "-wal")
    size, written, item = 0, 0, 0
    while written < 250_000_000:
        rows = [(item + i, b"x" * 20_000, i) for i in range(1, 51)]
        await database.commit("bulk", nothing, Tail((), 50, [(INSERT, rows)]))
        item, written = item + 50, written + 1_000_000
        size = max(size, log.stat().st_size)
    assert size < written / 2, "the log was never begun anew"


KILLED = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from storage.engine.database import DatabaseSettings, Tail
from storage.engine.opening import open_database
from tests.storage.engine.test_sqlite import nothing, put

async def main():
    settings = DatabaseSettings(engine="sqlite", path={path!r})
    database = await open_database(settings, reactor=reactor, schema=Path({schema!r}))
    for item in range(1, 51):
        await put(database, item)
    os.write(1, b"acknowledged")
    os.kill(os.getpid(), 9)

Deferred.fromCoroutine(main()).addErrback(lambda failure: (failure.printTraceback(), os._exit(1)))
reactor.run()
"""


async def test_what_was_acknowledged_survives_a_killed_process(items_home: DatabaseHome) -> None:
    root = str(Path(__file__).parents[3])
    script = KILLED.format(root=root, path=items_home.settings.path, schema=str(items_home.schema))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, cwd=root)
    assert done.stdout == b"acknowledged", done.stderr.decode()
    assert done.returncode == -9
    database = await items_home.open()
    assert await items_of(database) == list(range(1, 51))


async def test_a_copy_of_a_closed_database_is_whole(items_home: DatabaseHome, tmp_path: Path) -> None:
    database = await items_home.open()
    await put(database, 1)
    await database.close()
    copy = tmp_path / "copy.db"
    shutil.copyfile(items_home.settings.path, copy)
    database = await open_database(
        DatabaseSettings(engine="sqlite", path=os.fspath(copy)), reactor=reactor, schema=items_home.schema
    )
    try:
        assert await items_of(database) == [1]
    finally:
        await database.close()
