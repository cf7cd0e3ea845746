# SPDX-License-Identifier: Apache-2.0
"""Whether the process that owes answers is still there, and whether a connection is needed any longer."""

from __future__ import annotations

from collections.abc import Callable

from federation.processes.link_protocol import LinkTimes
from storage.runtime.clock import Clock, DelayedCall

_LATE = 1.0
"""Seconds that a look may be late; beyond, it was this process that stood still, and the other one may have
answered meanwhile."""


class Watch:
    """Looks after one connection, with one timer.

    `ping` is called when somebody waits and nothing was heard for a while, `silent` when nothing was heard
    after that either, `idle` when nobody has waited for long. After `silent` and `idle` it has ended.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        times: LinkTimes,
        ping: Callable[[], None],
        silent: Callable[[], None],
        idle: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._times = times
        self._ping = ping
        self._silent = silent
        self._idle = idle
        self._waiting = False
        self._heard = clock.seconds()
        self._pinged: float | None = None
        self._call: DelayedCall | None = None
        self._due = 0.0
        self._look_at(self._deadline())

    def heard(self) -> None:
        """The other process has said something."""
        self._heard = self._clock.seconds()
        self._pinged = None

    def wait(self) -> None:
        """Somebody waits from now on, and nobody did before."""
        self.heard()
        self._waiting = True
        deadline = self._deadline()
        if self._due > deadline:
            self._look_at(deadline)

    def rest(self) -> None:
        """Nobody waits any more."""
        self.heard()
        self._waiting = False

    def end(self) -> None:
        """The connection is gone."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _deadline(self) -> float:
        if self._pinged is not None:
            return self._pinged + self._times.pong
        return self._heard + (self._times.quiet if self._waiting else self._times.idle)

    def _look_at(self, due: float) -> None:
        self.end()
        self._due = due
        self._call = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._look)

    def _look(self) -> None:
        self._call = None
        now = self._clock.seconds()
        stood_still = now > self._due + _LATE
        deadline = self._deadline()
        if now < deadline:
            self._look_at(deadline)
        elif not self._waiting:
            self._idle()
        elif self._pinged is None or stood_still:
            self._pinged = now
            self._look_at(self._deadline())
            self._ping()
        else:
            self._silent()
