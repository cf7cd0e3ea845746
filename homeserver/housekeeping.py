# SPDX-License-Identifier: Apache-2.0
"""What is thrown away in time: transaction ids that no client sends again."""

from __future__ import annotations

import logging

from twisted.internet.task import deferLater

from storage.client_transactions import ClientTransactions
from storage.engine.errors import DatabaseError
from storage.runtime.clock import Clock, milliseconds

logger = logging.getLogger(__name__)

_AT_ONCE = 500


class Housekeeping:
    """Clears up every `interval` seconds, a little at a time so that writers do not wait behind it."""

    def __init__(
        self,
        *,
        transactions: ClientTransactions,
        transaction_lifetime_ms: int,
        clock: Clock,
        interval: float = 3600.0,
        pause: float = 0.05,
    ) -> None:
        self._transactions = transactions
        self._transaction_lifetime_ms = transaction_lifetime_ms
        self._clock = clock
        self._interval = interval
        self._pause = pause

    async def run(self) -> None:
        """Clear up, again and again. Where the database is away the next time does it."""
        while True:
            await deferLater(self._clock, self._interval)  # type: ignore[arg-type]
            try:
                await self.expire_transactions()
            except DatabaseError as error:
                logger.warning("Old transaction ids stay for now: %s", error)

    async def expire_transactions(self) -> int:
        """Forget the transaction ids of requests older than their lifetime; returns how many."""
        before = milliseconds(self._clock) - self._transaction_lifetime_ms
        total = 0
        while expired := await self._transactions.expire(before, limit=_AT_ONCE):
            total += expired
            await deferLater(self._clock, self._pause)  # type: ignore[arg-type]
        return total
