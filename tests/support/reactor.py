# SPDX-License-Identifier: Apache-2.0
"""The one reactor of the test run, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

T = TypeVar("T")


def _start_reactor() -> None:
    started = threading.Event()
    reactor.callWhenRunning(started.set)
    threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True).start()
    started.wait(10)


def in_reactor(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` in the reactor's thread and return what it returns, or raise what it raises."""
    if not reactor.running:
        _start_reactor()
    return blockingCallFromThread(reactor, Deferred.fromCoroutine, coroutine)
