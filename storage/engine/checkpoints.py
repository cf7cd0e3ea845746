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

_LONGEST_PAUSE_SECONDS = 1.0
_SHORTEST_PAUSE_SECONDS = 0.05
_PAGES_AT_ONCE = 2_000


class Checkpoints:
    """A thread that runs a checkpoint a moment after something was written.

    A passive checkpoint holds up no one, but under a steady load it never reaches the end of the log, which
    would grow for ever. So once the log is long, the writer carries over the little that is left between two
    commits; the next one then begins the log anew, unless a read still needs it. A log that stays
    small is also quicker: a sync of a file that grows has more to write.
    """

    def __init__(self, *, connect: Callable[[], sqlite3.Connection], mailbox: Mailbox) -> None:
        self._connect = connect
        self._mailbox = mailbox
        self._ended: Deferred[None] = Deferred()
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._is_long = False
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpoints", daemon=True)
        self._thread.start()

    def written(self) -> None:
        """Note that a transaction was committed; called in any thread."""
        if not self._wanted.is_set():
            self._wanted.set()

    def catch_up(self, writer: sqlite3.Connection) -> None:
        """Carry over what is left of a long log; called between two commits in the writer's thread."""
        if self._is_long:
            self._is_long = False
            try:
                _checkpoint(writer)
            except sqlite3.Error as error:
                logger.warning("SQLite could not run a checkpoint: %s", error)

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
        pause = _LONGEST_PAUSE_SECONDS
        while self._wanted.wait() and not self._closing.wait(pause):
            self._wanted.clear()
            try:
                connection = connection or self._connect()
                pages = _checkpoint(connection)
            except Exception as error:
                logger.warning("SQLite could not run a checkpoint: %s", error)
                if connection is not None:
                    connection.close()
                connection, pages = None, 0
            self._is_long = pages >= _PAGES_AT_ONCE
            pause = _pause(pages)
        if connection is not None:
            connection.close()


def _pause(pages: int) -> float:
    """How long to wait for the next checkpoint when the last one met so many pages."""
    wanted = _LONGEST_PAUSE_SECONDS * _PAGES_AT_ONCE / max(pages, 1)
    return min(max(wanted, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


def _checkpoint(connection: sqlite3.Connection) -> int:
    """Carry over what can be without waiting; return how many pages the log had."""
    _busy, pages, _done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)
