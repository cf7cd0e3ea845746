# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL clusters of the tests' own: made, started, stopped and killed at will."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2

MISSING = (
    "PostgreSQL is not installed: run .ci/postgres (or `apt-get install postgresql`), or set "
    "TRELLIS_TEST_POSTGRES to the DSN of a server on which the user may create databases"
)
_QUICK = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
_USER = "trellis"


def binaries() -> Path | None:
    """The directory of the newest `initdb` and `postgres` on this machine, or None."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True
    )
    on_path = shutil.which("initdb")
    candidates = [*found, *([Path(on_path).resolve()] if on_path else [])]
    return next((path.parent for path in candidates if (path.parent / "postgres").exists()), None)


def _other_user() -> dict[str, Any]:
    """How to start PostgreSQL, which refuses to run as root."""
    if os.getuid() != 0:
        return {}
    postgres = pwd.getpwnam("postgres")
    return {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """A cluster in a temporary directory, reached over 127.0.0.1 by a superuser without password.

    `durable` clusters sync to the disk as a real one does; the others are quicker.
    """

    def __init__(self, directory: Path, *, durable: bool, encoding: str = "UTF8") -> None:
        self._directory = directory
        self._durable = durable
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(_initialized(encoding), directory / "data")
        _give_away(directory)

    @property
    def arguments(self) -> dict[str, str | int]:
        """What `psycopg2.connect` needs, but for `dbname`."""
        return {"host": "127.0.0.1", "port": self._port, "user": _USER}

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and return when it answers."""
        directory = binaries()
        assert directory is not None
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(directory / "postgres"),
                    *("-D", "data", "-k", str(self._directory), "-h", "127.0.0.1", "-p", str(self._port)),
                    *("-c", "max_connections=200", "-c", "shared_buffers=64MB"),
                    *(() if self._durable else _QUICK),
                ],
                cwd=self._directory,
                stdout=log,
                stderr=log,
                **_other_user(),
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg2.connect(**self.arguments, dbname="postgres").close()
                return
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.kill()
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Shut the server down; its sessions are ended."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a crash does: without a shutdown, its sessions cut off."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop the server and delete all that it kept."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def sql(self, statement: str, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement outside of a transaction."""
        return run_sql({**self.arguments, "dbname": dbname}, statement)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _give_away(directory: Path) -> None:
    """Let the user that PostgreSQL runs as own all of `directory`."""
    if os.getuid() == 0:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, "postgres")


@functools.cache
def _initialized(encoding: str) -> Path:
    """The data directory of a new cluster, to be copied: making one takes a second."""
    programs = binaries()
    assert programs is not None
    directory = Path(tempfile.mkdtemp(prefix="trellis-initdb-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    _give_away(directory)
    options = ("--auth=trust", f"--encoding={encoding}", "--locale=C", "--no-sync", "--wal-segsize=4")
    done = subprocess.run(
        [str(programs / "initdb"), "-D", "data", "-U", _USER, *options],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        **_other_user(),
    )
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stderr}")
    return directory / "data"


def run_sql(arguments: dict[str, str | int], statement: str) -> list[tuple[Any, ...]]:
    """Run one statement outside of a transaction on the database that `arguments` lead to."""
    with contextlib.closing(psycopg2.connect(**arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def make_cluster(*, durable: bool, encoding: str = "UTF8") -> Cluster:
    """A new cluster, started; it ends with this process at the latest."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="trellis-pg-")), durable=durable, encoding=encoding)
    atexit.register(cluster.remove)
    cluster.start()
    return cluster


@functools.cache
def shared_cluster() -> Cluster:
    """The one cluster that all tests share which need no other; not durable."""
    return make_cluster(durable=False)
