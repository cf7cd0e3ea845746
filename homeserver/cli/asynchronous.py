# SPDX-License-Identifier: Apache-2.0
"""Asynchronous work of a command that ends with it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.cli.problem import Problem

T = TypeVar("T")


def until_done(work: Callable[[], Coroutine[Any, Any, T]], reactor: Any) -> T:
    """Run the reactor until `work()` is done; what it returns or raises.

    Raises:
        Problem: a signal ended the reactor before.
    """
    results: list[T | Failure] = []

    def start() -> None:
        Deferred.fromCoroutine(work()).addBoth(results.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    if not results:
        raise Problem("interrupted; nothing is known of the outcome")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
