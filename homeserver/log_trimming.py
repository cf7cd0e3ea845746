# SPDX-License-Identifier: Apache-2.0
"""Takes out of the log of commits what no process needs any more."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from twisted.internet.task import deferLater

from storage.commits.log import CommitLog
from storage.engine.errors import DatabaseError
from storage.runtime.clock import Clock

logger = logging.getLogger(__name__)

KEPT_SECONDS = 600.0
"""How long a commit stays in the log at least; a process that was away for longer must start again."""


class LogTrimming:
    """Every `interval` seconds deletes what was committed more than `kept` seconds ago.

    `position` says where this process stands. Any number of processes may do this.
    """

    def __init__(
        self,
        *,
        log: CommitLog,
        position: Callable[[], int],
        clock: Clock,
        interval: float = 30.0,
        kept: float = KEPT_SECONDS,
    ) -> None:
        self._log = log
        self._position = position
        self._clock = clock
        self._interval = interval
        self._kept = kept
        self._passed: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Trim, again and again. Where the database is away the next time does it."""
        while True:
            await self.trim()
            await deferLater(self._clock, self._interval)  # type: ignore[arg-type]

    async def trim(self) -> None:
        """Note where the process stands, and delete what is older than what is to be kept."""
        now = self._clock.seconds()
        self._passed.append((now, self._position()))
        before = None
        while self._passed and self._passed[0][0] <= now - self._kept:
            before = self._passed.popleft()[1]
        if before is None:
            return
        try:
            await self._log.forget(before)
        except DatabaseError as error:
            logger.warning("Old commits stay in the log for now: %s", error)
