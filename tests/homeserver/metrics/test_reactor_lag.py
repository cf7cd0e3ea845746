# SPDX-License-Identifier: Apache-2.0
"""The probe of the reactor notes how late it is called."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from homeserver.metrics.reactor_lag import ReactorLag


def test_lateness_is_observed() -> None:
    clock: Any = Clock()
    lag = ReactorLag(clock=clock, interval=0.125)
    running = Deferred.fromCoroutine(lag.run())
    clock.advance(0.125)
    assert (sum(lag.seconds.counts), lag.seconds.total) == (1, 0.0)
    # The reactor is busy, and calls the probe half a second too late.
    clock.advance(0.625)
    assert (sum(lag.seconds.counts), lag.seconds.total) == (2, 0.5)
    clock.advance(0.125)
    assert (sum(lag.seconds.counts), lag.seconds.total) == (3, 0.5)
    running.addErrback(lambda failure: failure.trap(CancelledError))
    running.cancel()
    assert clock.getDelayedCalls() == []


def test_a_clock_that_is_set_back_is_no_lag() -> None:
    clock: Any = Clock()
    lag = ReactorLag(clock=clock, interval=0.125)
    running = Deferred.fromCoroutine(lag.run())
    (call,) = clock.getDelayedCalls()
    clock.rightNow -= 3600.0
    call.time = clock.rightNow
    clock.advance(0)
    assert (sum(lag.seconds.counts), lag.seconds.total) == (1, 0.0)
    running.addErrback(lambda failure: failure.trap(CancelledError))
    running.cancel()
