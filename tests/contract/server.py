# SPDX-License-Identifier: Apache-2.0
"""Where these tests meet the real server: how it is started, reached and asked for its endpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from tests.support.reactor import in_reactor

SERVER_NAME = "contract.test"
UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}


@attrs.frozen
class RunningServer:
    """A server to make requests to; `homeserver` is what was started."""

    connection: Connection
    homeserver: Homeserver


def all_endpoints(homeserver: Homeserver) -> Iterable[Endpoint]:
    """Return every endpoint that a running server routes."""
    return homeserver.endpoints


@contextmanager
def running() -> Iterator[RunningServer]:
    """Start a server for the tests of one module, with registration open and no rate limits, and stop it."""
    with tempfile.TemporaryDirectory() as directory:
        homeserver = Homeserver(_config(Path(directory)), reactor)
        connection = None
        try:
            in_reactor(homeserver.start())
            port = urlsplit(homeserver.addresses[0]).port
            assert port is not None
            connection = in_reactor(_connect(port))
            yield RunningServer(connection=connection, homeserver=homeserver)
        finally:
            if connection is not None:
                in_reactor(connection.close())
            in_reactor(homeserver.stop())


async def _connect(port: int) -> Loopback:
    return Loopback(server_name=SERVER_NAME, port=port)


def _config(directory: Path) -> Config:
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
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "trusted_key_servers": [],
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
