# SPDX-License-Identifier: Apache-2.0
"""Databases for tests, fresh and migrated, on both engines.

`database` is an open one; `database_home` is where it lies, for tests that open it several times or from
another process; `database_homes` makes more, with another schema or on a cluster of one's own. Each of them
runs a test once for SQLite and once for PostgreSQL; where the fixture `engine` has the values of
`CLIENT_ENGINES`, also for two sets of components that share a database on PostgreSQL. The server is that of
the DSN in TRELLIS_TEST_POSTGRES, else a throw-away one made from the installed binaries.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import psycopg2
import psycopg2.extensions
import pytest
from twisted.internet import reactor

from storage.engine.database import Database, DatabaseSettings, Dialect
from storage.engine.migrations import SCHEMA
from storage.engine.opening import open_database
from tests.support.postgres_cluster import (
    MISSING,
    Cluster,
    binaries,
    make_cluster,
    run_sql,
    shared_cluster,
)
from tests.support.postgres_pool import PostgresPool
from tests.support.reactor import in_reactor
from tests.support.shared_database import SharedDatabase

ENGINES = ("sqlite", "postgresql")
TWO = "postgresql-two"
"""PostgreSQL, and two sets of components that share it."""
CLIENT_ENGINES = (*ENGINES, TWO)
"""For tests that are clients of the server."""

one_set = pytest.mark.parametrize("engine", ENGINES)
"""Marks a test that is about a single set of components, among those that run with `CLIENT_ENGINES`."""

_numbers = itertools.count(1)
_sqlite_templates: dict[str, Path] = {}
_postgres_templates: dict[tuple[str, str], str] = {}
_postgres_pools: dict[tuple[str, str], PostgresPool] = {}


@attrs.frozen(eq=False)
class DatabaseHome:
    """Where a database lies. Databases that `open` made are closed at the end of the test."""

    settings: DatabaseSettings
    schema: Path
    _opened: list[Database] = attrs.field(factory=list)

    @property
    def engine(self) -> Dialect:
        """Which engine it is for."""
        return self.settings.engine

    async def open(self, *, grace: float = 4.0, **changes: Any) -> Database:
        """Another `Database` on the same data; `changes` are made to the settings."""
        settings = attrs.evolve(self.settings, **changes)
        database = await open_database(settings, reactor=reactor, schema=self.schema, grace=grace)
        self._opened.append(database)
        return database

    def configuration(self) -> dict[str, Any]:
        """The section `database` of a `homeserver.yaml` that leads here."""
        if self.engine == "sqlite":
            return {"name": "sqlite3", "args": {"database": self.settings.path}}
        pool = {"cp_min": 1, "cp_max": self.settings.readers}
        return {"name": "psycopg2", "args": {**self.settings.arguments, **pool}}

    async def close(self) -> None:
        """Close all that was opened."""
        while self._opened:
            await self._opened.pop().close()


def _fingerprint(schema: Path) -> str:
    """A name for the schema in a directory as its files are now."""
    digest = hashlib.sha256()
    for path in sorted(schema.glob("*.sql")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


async def _migrate(home: DatabaseHome) -> None:
    await home.open(readers=1)
    await home.close()


def _sqlite_template(schema: Path) -> Path:
    """The file of a migrated database."""
    name = _fingerprint(schema)
    if name not in _sqlite_templates:
        directory = Path(tempfile.mkdtemp(prefix="trellis-sqlite-"))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        path = directory / "template.db"
        in_reactor(_migrate(DatabaseHome(DatabaseSettings(engine="sqlite", path=str(path)), schema)))
        _sqlite_templates[name] = path
    return _sqlite_templates[name]


def _sqlite_home(directory: Path, schema: Path, migrated: bool) -> DatabaseHome:
    path = directory / f"homeserver{next(_numbers)}.db"
    if migrated:
        shutil.copyfile(_sqlite_template(schema), path)
    return DatabaseHome(DatabaseSettings(engine="sqlite", path=str(path), readers=2), schema)


def _postgres_template(server: dict[str, str | int], schema: Path) -> str:
    """The name of a migrated database on `server`."""
    name = f"trellis_template_{_fingerprint(schema)}_{os.getpid()}"
    key = (name, f"{server.get('host')}:{server.get('port')}")
    if key not in _postgres_templates:
        run_sql(
            {**server, "dbname": "postgres"}, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
        )
        settings = DatabaseSettings(engine="postgresql", arguments={**server, "dbname": name})
        atexit.register(_quietly, lambda: _drop(settings))
        in_reactor(_migrate(DatabaseHome(settings, schema)))
        _postgres_templates[key] = name
    return name


def _postgres_pool(server: dict[str, str | int], schema: Path) -> PostgresPool:
    template = _postgres_template(server, schema)
    key = (template, f"{server.get('host')}:{server.get('port')}")
    if key not in _postgres_pools:
        pool = _postgres_pools[key] = PostgresPool(server, template)
        atexit.register(_quietly, pool.drop_all)
    return _postgres_pools[key]


def _postgres_home(server: dict[str, str | int], schema: Path, name: str) -> DatabaseHome:
    settings = DatabaseSettings(engine="postgresql", arguments={**server, "dbname": name}, readers=2)
    return DatabaseHome(settings, schema)


def _empty_postgres_database(server: dict[str, str | int], template: str) -> str:
    name = f"trellis_test_{os.getpid()}_{next(_numbers)}"
    run_sql({**server, "dbname": "postgres"}, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE {template}")
    return name


def _missing() -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)


def postgres_server() -> dict[str, str | int]:
    """What leads to the server that tests share; skips the test, or in CI fails it, where there is none."""
    dsn = os.environ.get("TRELLIS_TEST_POSTGRES")
    if dsn:
        arguments: dict[str, str | int] = dict(psycopg2.extensions.parse_dsn(dsn))
        arguments.pop("dbname", None)
        return arguments
    if binaries() is None:
        _missing()
    return shared_cluster().arguments


def _drop(settings: DatabaseSettings) -> None:
    """Take a database off its PostgreSQL server."""
    arguments = dict(settings.arguments)
    name = arguments.pop("dbname")
    run_sql({**arguments, "dbname": "postgres"}, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _quietly(clean_up: Callable[[], None]) -> None:
    with contextlib.suppress(psycopg2.OperationalError):  # our own server ends before
        clean_up()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.fixture
def database_homes(engine: str, tmp_path: Path) -> Iterator[Callable[..., DatabaseHome]]:
    """Makes empty databases: `database_homes(schema=…, migrated=False, cluster=…)`, all of them optional."""
    homes: list[DatabaseHome] = []

    def make(*, schema: Path = SCHEMA, migrated: bool = True, cluster: Cluster | None = None) -> DatabaseHome:
        if engine == "sqlite":
            home = _sqlite_home(tmp_path, schema, migrated)
        elif cluster is not None:
            template = _postgres_template(cluster.arguments, schema) if migrated else "template0"
            name = _empty_postgres_database(cluster.arguments, template)
            home = _postgres_home(cluster.arguments, schema, name)
        elif migrated:
            pool = _postgres_pool(postgres_server(), schema)
            name = pool.take()
            home = _postgres_home(pool.server, schema, name)
            after.append(lambda: pool.give_back(name))
        else:
            server = postgres_server()
            home = _postgres_home(server, schema, _empty_postgres_database(server, "template0"))
            after.append(lambda: _drop(home.settings))
        homes.append(home)
        return home

    after: list[Callable[[], None]] = []
    yield make
    for home in homes:
        in_reactor(home.close())
    for clean_up in after:
        clean_up()


@pytest.fixture
def database_home(database_homes: Callable[..., DatabaseHome]) -> DatabaseHome:
    """Where a fresh database lies, with the homeserver's schema."""
    return database_homes()


@pytest.fixture
def database(database_home: DatabaseHome, engine: str) -> Database:
    """A fresh open database with the homeserver's schema; a `SharedDatabase` for two sets of components."""
    if engine != TWO:
        return in_reactor(database_home.open())
    databases = tuple(in_reactor(database_home.open()) for _ in range(2))
    sharing = tuple(in_reactor(database_home.open(readers=1)) for _ in databases)
    shared: Any = SharedDatabase(databases, sharing, database_home.configuration())
    return shared


@pytest.fixture
def private_cluster() -> Iterator[Callable[..., Cluster]]:
    """Makes PostgreSQL clusters that a test may stop and start: `private_cluster(durable=…, encoding=…)`."""
    clusters: list[Cluster] = []

    def make(*, durable: bool = False, encoding: str = "UTF8") -> Cluster:
        if binaries() is None:
            _missing()
        clusters.append(make_cluster(durable=durable, encoding=encoding))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.remove()
