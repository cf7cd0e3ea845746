# SPDX-License-Identifier: Apache-2.0
"""The databases under the servers: a SQLite file each, or a database each in one PostgreSQL cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import psycopg2

from tests.bench.servers.process import ChildProcess, Command


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DatabasePlace(Protocol):
    """A database that one server has for itself."""

    def configuration(self) -> Mapping[str, Any]:
        """The `database` section of homeserver.yaml."""

    def used_bytes(self) -> int:
        """What it holds on disk, free pages not counted. Only while its server is not running."""

    def beside(self, name: str) -> DatabasePlace:
        """An empty database next to it."""


class SqliteFile:
    """A file beside the server's other data."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def configuration(self) -> Mapping[str, Any]:
        return {"name": "sqlite3", "args": {"database": str(self.path)}}

    def used_bytes(self) -> int:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def beside(self, name: str) -> SqliteFile:
        return SqliteFile(self.path.with_name(f"{name}.db"))


class PostgresDatabase:
    """One database in the cluster."""

    def __init__(self, cluster: PostgresCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name

    @property
    def process(self) -> ChildProcess:
        """That of the cluster."""
        return self._cluster.process

    def connect(self) -> Any:
        """A connection as the superuser."""
        return self._cluster.connect(self._name)

    def configuration(self) -> Mapping[str, Any]:
        return {
            "name": "psycopg2",
            "args": {
                "user": "postgres",
                "database": self._name,
                "host": "127.0.0.1",
                "port": self._cluster.port,
                "cp_min": 5,
                "cp_max": 10,
            },
        }

    def used_bytes(self) -> int:
        with contextlib.closing(self.connect()) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            cursor.execute("SELECT pg_database_size(current_database())")
            return int(cursor.fetchone()[0])

    def beside(self, name: str) -> PostgresDatabase:
        return self._cluster.create(f"{self._name}_{name}")


class PostgresCluster:
    """A cluster made for this run alone: `fsync` and `synchronous_commit` on, loopback only."""

    def __init__(self, directory: Path, *, cores: frozenset[int]) -> None:
        self._binaries = _newest_binaries()
        self._directory = directory
        self.port = free_port()
        self._initialize()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on",
            "synchronous_commit": "on",
            "max_connections": "200",
        }
        arguments = [str(self._binaries / "postgres"), "-D", str(directory / "data")]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        self.process = ChildProcess(
            Command(arguments, directory, user=_user()), cores=cores, log=directory.parent / "postgresql.log"
        )
        self._wait()

    def create(self, name: str) -> PostgresDatabase:
        """A new database, with the collation that both servers ask for."""
        with contextlib.closing(self.connect("postgres")) as connection:
            connection.autocommit = True
            connection.cursor().execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        return PostgresDatabase(self, name)

    def connect(self, database: str) -> Any:
        """A connection as the superuser."""
        return psycopg2.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=database)

    def version(self) -> str:
        """What it is."""
        output = subprocess.run(
            [str(self._binaries / "postgres"), "--version"], capture_output=True, text=True
        )
        return output.stdout.strip()

    def end(self) -> None:
        """Fast shutdown."""
        self.process.end(signal.SIGINT)

    def _initialize(self) -> None:
        self._directory.mkdir()
        if _user() is not None:
            shutil.chown(self._directory, "postgres", "postgres")
        subprocess.run(
            [
                str(self._binaries / "initdb"),
                *("-D", str(self._directory / "data"), "-U", "postgres"),
                *("--auth=trust", "--encoding=UTF8", "--locale=C"),
            ],
            user=_user(),
            group=_user(),
            extra_groups=None if _user() is None else [],
            cwd=self._directory,
            check=True,
            capture_output=True,
            timeout=120,
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or not self.process.running:
                    raise RuntimeError(f"PostgreSQL does not start:\n{self.process.log_tail()}") from None
                time.sleep(0.05)


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def _newest_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise RuntimeError("no PostgreSQL below /usr/lib/postgresql (Debian: apt-get install postgresql)")
    return found[-1].parent
