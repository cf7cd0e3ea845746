# SPDX-License-Identifier: Apache-2.0
"""Looking at a database changes nothing and tells which schema it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from storage.engine.database import Database, DatabaseSettings
from storage.engine.errors import DatabaseUnavailable, UnsuitableDatabase
from storage.engine.inspection import inspect_database
from storage.engine.migrations import SCHEMA, load_migrations, newest_version
from tests.support.databases import DatabaseHome
from tests.support.postgres_cluster import Cluster

KNOWN = newest_version(load_migrations(SCHEMA, "sqlite"))


def test_a_migrated_database(database_home: DatabaseHome) -> None:
    state = inspect_database(database_home.settings)
    assert (state.version, state.known, state.is_too_new) == (KNOWN, KNOWN, False)


def test_an_empty_database_stays_empty(database_homes: Callable[..., DatabaseHome], tmp_path: Path) -> None:
    home = database_homes(migrated=False)
    if home.engine == "sqlite":
        Path(home.settings.path).touch()
    for _ in range(2):
        assert inspect_database(home.settings).version == 0


async def test_a_database_of_a_newer_program(database_home: DatabaseHome, run: object) -> None:
    database: Database = await database_home.open()
    statement = "INSERT INTO schema_version (version, compat_version) VALUES (?, ?)"
    await database.write("newer", lambda txn: txn.execute(statement, (KNOWN + 2, KNOWN)))
    state = inspect_database(database_home.settings)
    assert (state.version, state.is_too_new) == (KNOWN + 2, False)
    await database.write("newer still", lambda txn: txn.execute(statement, (KNOWN + 3, KNOWN + 1)))
    assert inspect_database(database_home.settings).is_too_new


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a file?#%.db"
    settings = DatabaseSettings(engine="sqlite", path=str(path))
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        inspect_database(settings)
    path.write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        inspect_database(settings)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    settings = DatabaseSettings(engine="postgresql", arguments={"host": str(tmp_path), "user": "nobody"})
    with pytest.raises(DatabaseUnavailable, match="cannot read the PostgreSQL database"):
        inspect_database(settings)
    with pytest.raises(DatabaseUnavailable, match="invalid"):
        inspect_database(attrs.evolve(settings, arguments={"no_such_option": "x"}))


def test_a_database_of_another_encoding(private_cluster: Callable[..., Cluster]) -> None:
    cluster = private_cluster(encoding="LATIN1")
    settings = DatabaseSettings(engine="postgresql", arguments={**cluster.arguments, "dbname": "postgres"})
    with pytest.raises(UnsuitableDatabase, match="must have UTF8"):
        inspect_database(settings)
