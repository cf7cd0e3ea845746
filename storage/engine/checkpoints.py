# SPDX-License-Identifier: Apache-2.0
"""SQLite's write-ahead log is carried over into the database file beside the commits, not within them."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from twisted.internet.defer import Deferred

from storage.engine.threads import Mailbox

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
_BUSY_PAUSE_SECONDS = 0.25
_MANY_PAGES = 4_096
_TIMEOUT_MILLISECONDS = 100


class Checkpoints:
    """A thread that runs a checkpoint a moment after something was written.

    A passive checkpoint holds up no one, but under a steady load it never reaches the end of the log,
    which then grows for ever. So once the log is long, a second one takes the little that is left, and
    commits wait for it.
    """

    def __init__(self, *, connect: Callable[[], sqlite3.Connection], mailbox: Mailbox) -> None:
        self._connect = connect
        self._mailbox = mailbox
        self._ended: Deferred[None] = Deferred()
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpoints", daemon=True)
        self._thread.start()

    def written(self) -> None:
        """Note that a transaction was committed; called in any thread."""
        if not self._wanted.is_set():
            self._wanted.set()

    async def close(self) -> None:
        """End the thread; the last connection to close carries the whole log over."""
        self._closing.set()
        self._wanted.set()
        await self._ended
        self._thread.join()

    def _run(self) -> None:
        try:
            self._run_until_closed()
        finally:
            self._mailbox.send(self._ended, None)

    def _run_until_closed(self) -> None:
        connection: sqlite3.Connection | None = None
        pause = _PAUSE_SECONDS
        while True:
            self._wanted.wait()
            if self._closing.wait(pause):
                break
            self._wanted.clear()
            try:
                connection = connection or self._connect()
                pause = _BUSY_PAUSE_SECONDS if _checkpoint(connection) > _MANY_PAGES else _PAUSE_SECONDS
            except Exception as error:
                logger.warning("SQLite could not run a checkpoint: %s", error)
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()


def _checkpoint(connection: sqlite3.Connection) -> int:
    """Carry over what can be without waiting, all of it if the log is long; return how many pages it had."""
    connection.execute(f"PRAGMA busy_timeout = {_TIMEOUT_MILLISECONDS}")
    _busy, pages, _done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if pages > _MANY_PAGES:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return int(pages)
