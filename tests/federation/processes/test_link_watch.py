# SPDX-License-Identifier: Apache-2.0
"""When a silent process is asked, when it is given up, and when a connection is closed."""

from __future__ import annotations

from twisted.internet.task import Clock

from federation.processes.link_protocol import LinkTimes
from federation.processes.link_watch import Watch

TIMES = LinkTimes(quiet=5.0, pong=5.0, idle=60.0)


class Watched:
    """A watch, and what it called."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[tuple[str, float]] = []
        self.watch = Watch(
            clock=self.clock,
            times=TIMES,
            ping=lambda: self.note("ping"),
            silent=lambda: self.note("silent"),
            idle=lambda: self.note("idle"),
        )

    def note(self, what: str) -> None:
        self.calls.append((what, self.clock.seconds()))

    def run(self, seconds: float) -> None:
        """Time goes by, in small steps."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    @property
    def whats(self) -> list[str]:
        return [what for what, _ in self.calls]


def test_who_waits_asks_after_a_while_and_gives_up_after_another() -> None:
    watched = Watched()
    watched.watch.wait()
    watched.run(4.9)
    assert watched.calls == []
    watched.run(0.3)
    assert watched.whats == ["ping"]
    watched.run(4.6)
    assert watched.whats == ["ping"]
    watched.run(0.4)
    assert watched.whats == ["ping", "silent"]
    watched.run(200)
    assert watched.whats == ["ping", "silent"]
    assert watched.clock.getDelayedCalls() == []


def test_the_answer_to_a_ping_gives_time_again() -> None:
    watched = Watched()
    watched.watch.wait()
    for _ in range(10):
        watched.run(6)
        watched.watch.heard()
    assert set(watched.whats) == {"ping"}


def test_while_it_talks_it_is_not_asked() -> None:
    watched = Watched()
    watched.watch.wait()
    for _ in range(30):
        watched.run(4)
        watched.watch.heard()
    assert watched.calls == []


def test_nobody_waits_for_long_and_the_connection_is_closed() -> None:
    watched = Watched()
    watched.run(30)
    watched.watch.wait()
    watched.run(2)
    watched.watch.rest()
    watched.run(59)
    assert watched.calls == []
    watched.run(2)
    assert watched.whats == ["idle"]
    assert watched.clock.getDelayedCalls() == []


def test_a_process_that_stood_still_itself_asks_once_more() -> None:
    """It was stopped for a minute: the answer to its ping may lie in the socket."""
    watched = Watched()
    watched.watch.wait()
    watched.run(5.2)
    watched.clock.advance(60)
    assert watched.whats == ["ping", "ping"]
    watched.run(5.2)
    assert watched.whats == ["ping", "ping", "silent"]


def test_the_end_leaves_no_timer() -> None:
    watched = Watched()
    watched.watch.wait()
    watched.watch.end()
    watched.watch.end()
    assert watched.clock.getDelayedCalls() == []
