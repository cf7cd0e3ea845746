# SPDX-License-Identifier: Apache-2.0
"""Looks at a database without changing it: whether it can be reached, and which schema it has."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import attrs
import psycopg2

from storage.engine.database import DatabaseSettings
from storage.engine.errors import DatabaseUnavailable
from storage.engine.migrations import SCHEMA, load_migrations, newest_version
from storage.engine.postgres_connections import connect

_TIMEOUT_SECONDS = 5.0
_VERSIONS = "SELECT max(version), max(compat_version) FROM schema_version"


@attrs.frozen
class SchemaState:
    """Which schema a database has.

    `version` is 0 for a database without one; `known` is the newest that this program knows; `oldest_program`
    is the version that a program must know at least to work with the database.
    """

    version: int
    oldest_program: int
    known: int

    @property
    def is_too_new(self) -> bool:
        """Whether the database is from a newer program that this one cannot stand in for."""
        return self.oldest_program > self.known


def inspect_database(settings: DatabaseSettings, schema: Path = SCHEMA) -> SchemaState:
    """The state of the schema of an SQLite file that exists, or of a PostgreSQL database.

    It waits for the database in the calling thread. Raises `DatabaseUnavailable` and `UnsuitableDatabase`.
    """
    known = newest_version(load_migrations(schema, settings.engine))
    found = _sqlite_versions(settings.path) if settings.engine == "sqlite" else _postgres_versions(settings)
    version, oldest_program = found or (0, 0)
    return SchemaState(version=version or 0, oldest_program=oldest_program or 0, known=known)


def _sqlite_versions(path: str) -> tuple[int | None, int | None] | None:
    address = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_TIMEOUT_SECONDS)) as connection:
            is_there = connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"
            ).fetchone()
            return connection.execute(_VERSIONS).fetchone() if is_there else None
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"cannot read the SQLite database {path}: {error}") from error


def _postgres_versions(settings: DatabaseSettings) -> tuple[int | None, int | None] | None:
    try:
        with contextlib.closing(connect(settings.arguments)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('schema_version') IS NOT NULL")
            if cursor.fetchone() == (False,):
                return None
            cursor.execute(_VERSIONS)
            return cursor.fetchone()
    except psycopg2.Error as error:
        raise DatabaseUnavailable(f"cannot read the PostgreSQL database: {str(error).strip()}") from error
