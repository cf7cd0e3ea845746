# SPDX-License-Identifier: Apache-2.0
"""Staying connected to what carries notices, and having one's listener look after each time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as NoAnswer
from twisted.internet.task import deferLater

from storage.notices.notice_counts import NoticeCounts
from storage.notices.notices import Hear, Notice

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class MediumAway(Exception):
    """The medium cannot be reached, or refuses; the text says why."""


class Line(Protocol):
    """A connection that carries notices."""

    @property
    def lost(self) -> Deferred[str]:
        """Fires with the reason when the connection has broken."""

    async def close(self) -> None:
        """Close it, whatever its state, and return when it is gone."""


L = TypeVar("L", bound=Line)


class Reconnection(Generic[L]):
    """A line that is replaced when it breaks, with pauses that grow from 0.1 to 2 seconds.

    `connect` makes a line in at most `seconds`, or raises `MediumAway`; it is cancelled when it takes longer.
    """

    def __init__(
        self,
        *,
        medium: str,
        connect: Callable[[], Coroutine[Any, Any, L]],
        seconds: float,
        hear: Hear,
        reactor: Any,
        counts: NoticeCounts,
    ) -> None:
        self._medium = medium
        self._connect = connect
        self._seconds = seconds
        self._hear = hear
        self._reactor = reactor
        self._counts = counts
        self._away = False
        self._stopping = False
        self._warned = False
        self.line: L | None = None
        self._running: Deferred[None] = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """Close the line and make no other."""
        self._stopping = True
        self._running.cancel()
        try:
            await self._running
        except CancelledError:
            return

    def hear(self, notice: Notice) -> None:
        """Hand over a notice that came in; what goes wrong there is logged."""
        self._counts.heard += 1
        try:
            self._hear(notice)
        except Exception:
            logger.exception("A notice was not taken in")

    def hear_message(self, notice: Notice | None, channel: str, message: object) -> None:
        """Hand over the notice that a message of `channel` says; None: it says none, which is logged once."""
        if notice is not None:
            self.hear(notice)
            return
        self._counts.unreadable += 1
        if not self._warned:
            self._warned = True
            logger.warning("Unreadable notices on the channel %s: %s", channel, ascii(message)[:60])

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping:
            line = await self._try()
            if self._stopping:  # some of what twisted connects with makes another error of a cancellation
                return
            if line is not None:
                connected = self._reactor.seconds()
                self._went(await self._carry(line))
                if self._reactor.seconds() - connected > LONGEST_PAUSE_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
            await deferLater(self._reactor, pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _try(self) -> L | None:
        """A new line; None: it did not come about."""
        try:
            return await Deferred.fromCoroutine(self._connect()).addTimeout(self._seconds, self._reactor)
        except CancelledError:
            raise
        except NoAnswer:
            self._went(f"no answer in {self._seconds:g} seconds")
        except MediumAway as error:
            self._went(str(error))
        except Exception:
            logger.exception("Connecting to %s failed", self._medium)
        return None

    async def _carry(self, line: L) -> str:
        """Use `line` until it breaks; the reason."""
        try:
            self.line = line
            self._counts.connections += 1
            if self._away:
                self._away = False
                logger.warning("Notices between processes go over %s again", self._medium)
            self.hear(Notice())
            return await line.lost
        finally:
            self.line = None
            await line.close()

    def _went(self, reason: str) -> None:
        if not self._away and not self._stopping:
            self._away = True
            logger.warning(
                "No notices between processes over %s: %s; trying again until it answers",
                self._medium,
                reason,
            )
