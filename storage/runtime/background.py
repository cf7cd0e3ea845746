# SPDX-License-Identifier: Apache-2.0
"""Background tasks: started by name, logged when they fail, cancelled and awaited at the stop."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList

logger = logging.getLogger(__name__)


class BackgroundTasks:
    """The tasks of one server that no request waits for."""

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()
        self._stopped = False

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` beside everything else; a failure is logged under `name`."""
        if self._stopped:
            work.close()
            return
        task: Deferred[Any] = Deferred.fromCoroutine(work)
        self._running.add(task)

        def finished(_result: Any) -> None:
            self._running.discard(task)

        def failed(failure: Any) -> None:
            if not failure.check(CancelledError):
                logger.error("Background task %s failed\n%s", name, failure.getTraceback())

        task.addErrback(failed)
        task.addBoth(finished)

    async def stop(self) -> None:
        """Cancel what still runs and wait for it to end."""
        self._stopped = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await DeferredList(running)
