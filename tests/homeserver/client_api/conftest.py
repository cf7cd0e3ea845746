# SPDX-License-Identifier: Apache-2.0
"""The client API is tested on each engine, and on two sets of components that share a database."""

from __future__ import annotations

import pytest

from tests.support.databases import CLIENT_ENGINES


@pytest.fixture(params=CLIENT_ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn, and two sets of components on one."""
    return str(request.param)
