# SPDX-License-Identifier: Apache-2.0
"""Background tasks end with the server and their failures are logged."""

import logging

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from storage.runtime.background import BackgroundTasks


async def test_a_failure_is_logged_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        BackgroundTasks().spawn("demolition", fail())
        await deferLater(reactor, 0)
    assert "demolition" in caplog.text
    assert "broken" in caplog.text


async def test_stop_cancels_and_awaits() -> None:
    tasks = BackgroundTasks()
    ended = []

    async def wait_for_ever() -> None:
        try:
            await Deferred()
        finally:
            ended.append(True)

    tasks.spawn("waiting", wait_for_ever())
    await tasks.stop()
    assert ended == [True]
