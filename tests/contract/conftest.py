# SPDX-License-Identifier: Apache-2.0
"""The server that the contract is tested on, one on each engine for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.scenario import Scenario, prepare
from tests.contract.server import RunningServer, running
from tests.support.databases import CLIENT_ENGINES
from tests.support.reactor import in_reactor


@pytest.fixture(scope="module", params=CLIENT_ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A running server, with registration open and without rate limits, on each engine in turn."""
    with running(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def scenario(server: RunningServer) -> Scenario:
    """Two users and a room on the server."""
    return in_reactor(prepare(server.connection))
