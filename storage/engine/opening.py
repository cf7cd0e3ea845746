# SPDX-License-Identifier: Apache-2.0
"""Opens the database that the configuration names, with its schema up to date."""

from __future__ import annotations

from pathlib import Path

from storage.engine.database import Database, DatabaseSettings
from storage.engine.migrations import SCHEMA, migrate
from storage.engine.postgres import open_postgres
from storage.engine.sqlite import open_sqlite
from storage.engine.threads import Observer, Reactor


async def open_database(
    settings: DatabaseSettings,
    *,
    reactor: Reactor,
    schema: Path = SCHEMA,
    grace: float = 4.0,
    observe: Observer | None = None,
) -> Database:
    """The database of `settings`, migrated to the newest version in the directory `schema`.

    `grace` is how many seconds `close` waits for what is under way before it interrupts it; `observe` is
    told of each piece of work. Raises `DatabaseUnavailable` when the database cannot be reached and
    `UnsuitableDatabase` when this program cannot work with it.
    """
    opening = open_sqlite if settings.engine == "sqlite" else open_postgres
    database: Database = opening(settings, reactor=reactor, grace=grace, observe=observe)
    try:
        await migrate(database, schema)
    except BaseException:
        await database.close()
        raise
    return database
