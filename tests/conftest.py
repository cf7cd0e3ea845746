# SPDX-License-Identifier: Apache-2.0
"""What every test shares: `async def` tests run in the reactor's thread."""

from __future__ import annotations

import inspect

import pytest

from tests.support.reactor import in_reactor

pytest_plugins = ("tests.support.ci", "tests.support.databases", "tests.support.redis_server")


@pytest.fixture
def run():
    """The function `in_reactor`, for plain tests and fixtures that need a coroutine's result."""
    return in_reactor


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in the reactor's thread."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    in_reactor(pyfuncitem.obj(**arguments))
    return True
