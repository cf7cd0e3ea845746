# SPDX-License-Identifier: Apache-2.0
"""The one place where these tests meet the real server: how it is started, reached and asked for its
endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import attrs
import pytest

from federation.http.endpoint import Endpoint
from tests.contract.connection import Connection

RUNNABLE = find_spec("homeserver.app") is not None and find_spec("tests.support.server") is not None

needs_server = pytest.mark.skipif(not RUNNABLE, reason="homeserver/app.py is not there yet")


def all_endpoints(server: Any) -> Iterable[Endpoint]:
    """Return every endpoint that a running server routes."""
    endpoints: Iterable[Endpoint] = server.endpoints
    return endpoints


@attrs.frozen
class RunningServer:
    """A server to make requests to; `server` is what was started."""

    connection: Connection
    server: Any


@contextmanager
def running() -> Iterator[RunningServer]:
    """Start a server for the tests of one module, with registration open and no rate limits, and stop it."""
    pytest.skip("homeserver/app.py is not there yet")
    yield
