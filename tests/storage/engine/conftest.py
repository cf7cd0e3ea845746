# SPDX-License-Identifier: Apache-2.0
"""The engines are tested on a small schema of their own, beside the functions that the real one brings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.engine.database import Database
from storage.engine.migrations import SCHEMA
from tests.support.databases import DatabaseHome
from tests.support.reactor import in_reactor

TABLES = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value NUMBER NOT NULL) WITHOUT_ROWID;
INSERT INTO counters (name, value) VALUES ('position', 0);
CREATE TABLE rooms (room NUMBER PRIMARY KEY, fence NUMBER NOT NULL);
CREATE TABLE items (item NUMBER PRIMARY KEY, data BYTES, note TEXT, size NUMBER, position NUMBER UNIQUE);
"""


@pytest.fixture
def items_schema(tmp_path: Path) -> Path:
    """A directory with one migration: `items`, and what a commit needs."""
    directory = tmp_path / "schema"
    directory.mkdir()
    (directory / "0001_foundation.sql").write_text(TABLES)
    shutil.copy(SCHEMA / "0001_commit.postgresql.sql", directory)
    return directory


@pytest.fixture
def items_home(database_homes: Callable[..., DatabaseHome], items_schema: Path) -> DatabaseHome:
    """Where a database with the table `items` lies."""
    return database_homes(schema=items_schema)


@pytest.fixture
def items(items_home: DatabaseHome) -> Database:
    """An open database with the table `items`."""
    return in_reactor(items_home.open())
