# SPDX-License-Identifier: Apache-2.0
"""Migrations run once, in order, each as a whole, and never on a database from a newer program."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from storage.engine.database import Database, Dialect
from storage.engine.errors import UnsuitableDatabase
from storage.engine.migrations import SCHEMA, in_dialect, load_migrations, newest_version, statements
from tests.support.databases import DatabaseHome

FIRST = "CREATE TABLE log (line NUMBER PRIMARY KEY, text TEXT NOT NULL);\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "migrations"
    directory.mkdir()
    (directory / "0001_log.sql").write_text(FIRST)
    return directory


@pytest.fixture
def home(database_homes: Callable[..., DatabaseHome], directory: Path) -> DatabaseHome:
    """A database on which nothing has run yet."""
    return database_homes(schema=directory, migrated=False)


def add(directory: Path, name: str, *lines: str) -> None:
    """Write a migration that logs `lines`."""
    (directory / name).write_text("".join(f"INSERT INTO log VALUES ({line});\n" for line in lines))


async def log(database: Database) -> list[tuple[Any, ...]]:
    return await database.read("log", lambda txn: txn.rows("SELECT line, text FROM log ORDER BY line"))


async def versions(database: Database) -> list[tuple[Any, ...]]:
    sql = "SELECT version, compat_version FROM schema_version ORDER BY version"
    return await database.read("versions", lambda txn: txn.rows(sql))


async def test_all_run_in_order_and_once(home: DatabaseHome, directory: Path) -> None:
    add(directory, "0002_two.sql", "1, 'two'")
    add(directory, "0010_ten.sql", "2, 'ten'")
    database = await home.open()
    assert await log(database) == [(1, "two"), (2, "ten")]
    assert await versions(database) == [(1, 1), (2, 2), (10, 10)]
    await database.close()
    add(directory, "0011_eleven.sql", "3, 'eleven'")
    assert await log(await home.open()) == [(1, "two"), (2, "ten"), (3, "eleven")]
    assert await log(await home.open()) == [(1, "two"), (2, "ten"), (3, "eleven")]


async def test_one_that_was_left_out_runs_later(home: DatabaseHome, directory: Path) -> None:
    add(directory, "0003_three.sql", "3, 'three'")
    await (await home.open()).close()
    add(directory, "0002_two.sql", "2, 'two'")
    assert await log(await home.open()) == [(2, "two"), (3, "three")]


async def test_an_engine_has_files_of_its_own(home: DatabaseHome, directory: Path) -> None:
    add(directory, "0002_two.sql", "1, 'both'")
    add(directory, "0002_two.sqlite.sql", "2, 'sqlite'")
    add(directory, "0002_more.postgresql.sql", "2, 'postgresql'")
    add(directory, "0003_only.sqlite.sql", "3, 'sqlite'")
    database = await home.open()
    expected = [(1, "both"), (2, home.engine), (3, "sqlite")]
    assert await log(database) == (expected if home.engine == "sqlite" else expected[:2])
    assert [version for version, _ in await versions(database)] == [1, 2, 3]


async def test_one_that_fails_is_taken_back_and_can_be_mended(home: DatabaseHome, directory: Path) -> None:
    add(directory, "0002_two.sql", "1, 'two'")
    add(directory, "0003_bad.sql", "2, 'three'", "3, nothing")
    with pytest.raises(Exception, match="nothing"):
        await home.open()
    add(directory, "0003_bad.sql", "2, 'mended'")
    database = await home.open()
    assert await log(database) == [(1, "two"), (2, "mended")]
    assert [version for version, _ in await versions(database)] == [1, 2, 3]


async def test_several_may_start_at_once(home: DatabaseHome, directory: Path) -> None:
    for number in range(2, 12):
        add(directory, f"{number:04}_n.sql", f"{number}, 'x'")
    opened = await gatherResults([Deferred.fromCoroutine(home.open(readers=1)) for _ in range(4)])
    for database in opened:
        assert len(await log(database)) == 10
    assert len(await versions(opened[0])) == 11


async def test_a_database_from_a_newer_program_is_refused(home: DatabaseHome, directory: Path) -> None:
    add(directory, "0002_two.sql", "2, 'two'")
    await (await home.open()).close()
    (directory / "0002_two.sql").unlink()
    with pytest.raises(UnsuitableDatabase, match=r"schema version 2, .* up to 1: install a newer release"):
        await home.open()


async def test_an_older_program_works_where_a_migration_says_so(home: DatabaseHome, directory: Path) -> None:
    (directory / "0002_two.sql").write_text("-- compat: 1\nINSERT INTO log VALUES (2, 'two');")
    await (await home.open()).close()
    (directory / "0002_two.sql").unlink()
    database = await home.open()
    assert await log(database) == [(2, "two")]
    assert await versions(database) == [(1, 1), (2, 1)]


async def test_the_words_stand_for_each_engines_types(home: DatabaseHome, directory: Path) -> None:
    (directory / "0002_types.sql").write_text(
        """
        -- BYTES; it's a comment; with 'NUMBER
        CREATE TABLE kinds (
            kind NUMBER PRIMARY KEY NEVER_REUSED,  /* WITHOUT_ROWID; */
            name TEXT DEFAULT 'NUMBER; BYTES''s',
            data BYTES
        );
        CREATE TABLE pairs (a BYTES NOT NULL, b NUMBER NOT NULL, PRIMARY KEY (a, b)) WITHOUT_ROWID;
        INSERT INTO kinds (data) VALUES (NULL); INSERT INTO kinds (data) VALUES (NULL);
        DELETE FROM kinds;
        INSERT INTO kinds (data) VALUES (NULL)  -- and no semicolon at the end"""
    )
    database = await home.open()
    sql = "SELECT kind, name, data FROM kinds"
    assert await database.read("k", lambda txn: txn.rows(sql)) == [(3, "NUMBER; BYTES's", None)]
    row = (b"\0", 2**63 - 1)
    await database.write("p", lambda txn: txn.execute("INSERT INTO pairs (a, b) VALUES (?, ?)", row))
    assert await database.read("p", lambda txn: txn.row("SELECT a, b FROM pairs")) == row


@pytest.mark.parametrize(
    ("engine", "sql", "expected"),
    [
        ("sqlite", "a BYTES, b NUMBER", "a BLOB, b INTEGER"),
        ("postgresql", "a BYTES, b NUMBER) WITHOUT_ROWID", "a BYTEA, b BIGINT) "),
        ("sqlite", "x) WITHOUT_ROWID", "x) WITHOUT ROWID"),
        (
            "sqlite",
            "MYBYTES BYTES_X 'BYTES' \"BYTES\" -- BYTES",
            "MYBYTES BYTES_X 'BYTES' \"BYTES\" -- BYTES",
        ),
    ],
)
def test_in_dialect(engine: Dialect, sql: str, expected: str) -> None:
    assert in_dialect(sql, engine) == expected


@pytest.mark.parametrize(
    ("script", "count"),
    [
        ("", 0),
        ("  -- nothing;\n /* nothing; */ ", 0),
        ("SELECT 1", 1),
        ("SELECT 1; SELECT ';'; SELECT 2", 3),
        ("SELECT 1; -- a; b\nSELECT 2;", 2),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END; SELECT 3;", 2),
    ],
)
def test_statements(script: str, count: int) -> None:
    found = list(statements(script))
    assert len(found) == count
    if count:
        assert "".join(found).strip() == script.strip()


@pytest.mark.parametrize("name", ["1_short.sql", "0001_name.mysql.sql", "0001-name.sql", "notes.sql"])
def test_a_file_with_another_name_is_a_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ValueError, match="not the name of a migration"):
        load_migrations(tmp_path, "sqlite")


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_the_homeservers_own_migrations_are_read(engine: Dialect) -> None:
    migrations = load_migrations(SCHEMA, engine)
    numbers = [migration.version for migration in migrations]
    assert numbers == sorted(set(numbers))
    assert newest_version(migrations) == numbers[-1]
    assert all(a < b for a, b in itertools.pairwise(numbers))
    assert newest_version(()) == 0
