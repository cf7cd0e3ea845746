# SPDX-License-Identifier: Apache-2.0
"""When and from where devices were last used. spec: client-server-api, "Device Management"."""

from __future__ import annotations

import logging
from itertools import islice

from twisted.internet.task import deferLater

from federation.http.endpoint import Request, Requester
from storage.devices import DeviceSeen
from storage.engine.errors import DatabaseError
from storage.persist import Unit
from storage.runtime.clock import Clock, milliseconds
from storage.write_queue import QueueFull, WriteQueue

logger = logging.getLogger(__name__)

_AT_ONCE = 500
_LONGEST_USER_AGENT = 512


class LastSeen:
    """Notes the first use of each device in every `interval` seconds, and writes them down at its end."""

    def __init__(self, *, write_queue: WriteQueue, clock: Clock, interval: float = 120.0) -> None:
        self._write_queue = write_queue
        self._clock = clock
        self._interval = interval
        self._noted: dict[int, DeviceSeen] = {}

    def seen(self, requester: Requester, request: Request) -> None:
        """Note a request; it costs a look-up where the device is noted already."""
        device = requester.device
        if device is None or device in self._noted:
            return
        user_agent = request.header("User-Agent") or ""
        self._noted[device] = DeviceSeen(
            device,
            last_seen_ts=milliseconds(self._clock),
            last_seen_ip=request.client_address,
            last_seen_user_agent=user_agent.encode(errors="replace").decode()[:_LONGEST_USER_AGENT],
        )

    async def run(self) -> None:
        """Write down what was noted, again and again."""
        while True:
            await deferLater(self._clock, self._interval)  # type: ignore[arg-type]
            await self.flush()

    async def flush(self) -> None:
        """Write down what was noted. Where the database is away it is lost, which does no harm."""
        noted, self._noted = self._noted, {}
        waiting = iter(noted.values())
        while records := tuple(islice(waiting, _AT_ONCE)):
            try:
                await self._write_queue.submit(Unit(records=records))
            except (DatabaseError, QueueFull) as error:
                logger.warning("When %d devices were last seen is lost: %s", len(noted), error)
                return
