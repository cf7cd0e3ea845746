# SPDX-License-Identifier: Apache-2.0
"""Where these tests meet the real server: how it is started, reached and asked for its endpoints."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet import reactor

from federation.http.endpoint import Endpoint
from homeserver.app import Homeserver
from homeserver.config.config import Config, read_config
from tests.contract.connection import Connection
from tests.contract.loopback import Loopback
from tests.support.balancer import balancer
from tests.support.databases import TWO, postgres_server
from tests.support.postgres_cluster import run_sql
from tests.support.reactor import in_reactor

SERVER_NAME = "contract.test"
UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}


@attrs.frozen
class RunningServer:
    """A server to make requests to; `homeserver` is what was started, or the first of two."""

    connection: Connection
    homeserver: Homeserver


def all_endpoints(homeserver: Homeserver) -> Iterable[Endpoint]:
    """Return every endpoint that a running server routes."""
    return homeserver.endpoints


@contextmanager
def running(engine: str) -> Iterator[RunningServer]:
    """Start a server for the tests of one module, with registration open and no rate limits, and stop it.

    With the engine `TWO` it is two that share a database, behind a balancer. Skips the tests, or in CI fails
    them, where there is no PostgreSQL.
    """
    with (
        tempfile.TemporaryDirectory() as path,
        _database(engine, Path(path)) as database,
        ExitStack() as stack,
    ):
        config = _config(Path(path), database, several=engine == TWO)
        homeservers = [stack.enter_context(_started(config)) for _ in range(2 if engine == TWO else 1)]
        if len(homeservers) > 1:
            _wait_until_acquainted(homeservers)
        ports = [_port(homeserver) for homeserver in homeservers]
        port = ports[0] if len(ports) == 1 else stack.enter_context(balancer(ports)).port
        connection = in_reactor(_connect(port))
        stack.callback(lambda: in_reactor(connection.close()))
        yield RunningServer(connection=connection, homeserver=homeservers[0])


@contextmanager
def _started(config: Config) -> Iterator[Homeserver]:
    homeserver = Homeserver(config, reactor)
    try:
        in_reactor(homeserver.start())
        yield homeserver
    finally:
        in_reactor(homeserver.stop())


def _wait_until_acquainted(homeservers: Sequence[Homeserver]) -> None:
    """Return when each of two knows the other, as it does soon after that has started."""
    deadline = time.monotonic() + 5
    while not all(one._sharing is not None and one._sharing.live.peers() for one in homeservers):
        assert time.monotonic() < deadline, "the processes do not find each other"
        time.sleep(0.01)


def _port(homeserver: Homeserver) -> int:
    port = urlsplit(homeserver.addresses[0]).port
    assert port is not None
    return port


async def _connect(port: int) -> Loopback:
    return Loopback(server_name=SERVER_NAME, port=port)


@contextmanager
def _database(engine: str, directory: Path) -> Iterator[dict[str, Any]]:
    """Make an empty database and give the setting that leads to it."""
    if engine == "sqlite":
        yield {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}}
        return
    server = postgres_server()
    name = f"trellis_contract_{secrets.token_hex(8)}"
    everywhere = {**server, "dbname": "postgres"}
    run_sql(everywhere, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    try:
        yield {"name": "psycopg2", "args": {**server, "dbname": name, "cp_min": 1, "cp_max": 2}}
    finally:
        run_sql(everywhere, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _config(directory: Path, database: dict[str, Any], *, several: bool) -> Config:
    listener = {
        "port": 0,
        "bind_addresses": ["127.0.0.1"],
        "type": "http",
        "resources": [{"names": ["client"]}],
    }
    settings: dict[str, Any] = {
        "server_name": SERVER_NAME,
        "public_baseurl": "https://matrix.contract.test/",
        "listeners": [listener],
        "database": database,
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "trusted_key_servers": [],
        "processes": {"enabled": several},
    }
    limits = read_config(settings, base=directory).rate_limits.by_name()
    return read_config({**settings, **_unlimited(limits)}, base=directory)


def _unlimited(names: Iterable[str]) -> dict[str, Any]:
    """Return the settings that lift the limits, whose names are `rc_message` or `rc_login.address`."""
    settings: dict[str, Any] = {}
    for name in names:
        group, _, limit = name.partition(".")
        if limit:
            settings.setdefault(group, {})[limit] = UNLIMITED
        else:
            settings[group] = UNLIMITED
    return settings
