# SPDX-License-Identifier: Apache-2.0
"""Who listens to notices in a test, and what of a medium is still at work in the reactor."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.task import deferLater

from storage.notices.notices import Notice, Notices


async def until(true: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until `true` says so, or fail after so many seconds."""
    deadline = reactor.seconds() + seconds
    while not true():
        assert reactor.seconds() < deadline, "it did not come true"
        await deferLater(reactor, 0.01)


def at_work() -> tuple[int, int, int]:
    """How many calls wait for their time in the reactor, and how many things it reads from and writes to."""
    return len(reactor.getDelayedCalls()), len(reactor.getReaders()), len(reactor.getWriters())


class Listener:
    """Keeps what one process hears. `connections` counts the empty notices."""

    def __init__(self) -> None:
        self.heard: list[Notice] = []
        self.connections = 0

    def __call__(self, notice: Notice) -> None:
        if notice == Notice():
            self.connections += 1
        else:
            self.heard.append(notice)

    @property
    def upto(self) -> int:
        """The largest position that was heard of."""
        return max((notice.upto for notice in self.heard), default=0)


async def listening(notices: Notices) -> Listener:
    """Start `notices`, wait until it is connected, and return who listens."""
    listener = Listener()
    await notices.start(listener)
    await until(lambda: listener.connections)
    return listener
