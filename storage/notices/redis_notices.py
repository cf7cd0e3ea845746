# SPDX-License-Identifier: Apache-2.0
"""Notices over a channel of Redis, which carries the log entries too, so that nobody has to read them."""

from __future__ import annotations

import logging
from typing import Any

from storage.notices.notice_counts import NoticeCounts
from storage.notices.notices import Hear, Notice
from storage.notices.packing import message_of, notice_of
from storage.notices.reconnection import Reconnection
from storage.notices.redis_line import CONNECT_SECONDS, RedisAddress, RedisLine, open_line

logger = logging.getLogger(__name__)


class RedisNotices:
    """Notices over one channel, which all processes of one homeserver share and nobody else knows.

    Whoever may publish on it can make the processes believe anything: it must be as well guarded as the
    database.
    """

    carries_entries = True
    carries_all_entries = True

    def __init__(
        self, *, address: RedisAddress, channel: str, reactor: Any, counts: NoticeCounts | None = None
    ) -> None:
        self._address = address
        self._channel = channel
        self._reactor = reactor
        self._counts = counts or NoticeCounts()
        self._reconnection: Reconnection[RedisLine] | None = None

    async def start(self, hear: Hear) -> None:
        """Connect in the background and stay connected."""
        self._reconnection = Reconnection(
            medium="Redis",
            connect=self._connect,
            seconds=CONNECT_SECONDS,
            hear=hear,
            reactor=self._reactor,
            counts=self._counts,
        )

    def tell(self, notice: Notice) -> None:
        """Send `notice`, or drop it while the server is away or does not keep up."""
        self._counts.told += 1
        line = self._reconnection.line if self._reconnection is not None else None
        if line is not None and line.publish(message_of(notice)):
            self._counts.sent += 1
        else:
            self._counts.dropped += 1

    async def stop(self) -> None:
        """Close the connections."""
        reconnection, self._reconnection = self._reconnection, None
        if reconnection is not None:
            await reconnection.stop()

    async def _connect(self) -> RedisLine:
        return await open_line(self._address, channel=self._channel, hear=self._heard, reactor=self._reactor)

    def _heard(self, message: object) -> None:
        if self._reconnection is not None:
            self._reconnection.hear_message(notice_of(message), f"{self._channel} of Redis", message)
