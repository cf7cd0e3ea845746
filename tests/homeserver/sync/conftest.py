# SPDX-License-Identifier: Apache-2.0
"""A server whose users sync."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.engine.database import Database
from tests.support.databases import CLIENT_ENGINES
from tests.support.sync_server import SyncServer, sync_server


@pytest.fixture(params=CLIENT_ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn, and two sets of components on one."""
    return str(request.param)


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[SyncServer]:
    """The server, once on each engine."""
    with sync_server(database, tmp_path) as running:
        yield running
