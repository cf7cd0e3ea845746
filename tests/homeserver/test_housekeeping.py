# SPDX-License-Identifier: Apache-2.0
"""Old transaction ids go, young ones stay."""

from __future__ import annotations

from twisted.internet import reactor

from homeserver.housekeeping import Housekeeping
from storage.client_transactions import ClientTransaction
from storage.engine.database import Database
from storage.runtime.clock import milliseconds
from tests.support.storing import storing_over

_LIFETIME_MS = 3600_000


async def test_old_transaction_ids_are_forgotten(database: Database) -> None:
    storing = storing_over(database)
    transactions = storing.storage.client_transactions
    now = milliseconds(reactor)
    old, young = now - _LIFETIME_MS - 60_000, now - _LIFETIME_MS + 60_000
    await storing.write(
        *(ClientTransaction(1, "/send", f"old{i}", i, old) for i in range(1, 1201)),
        ClientTransaction(1, "/send", "young", 5000, young),
    )
    housekeeping = Housekeeping(
        transactions=transactions, transaction_lifetime_ms=_LIFETIME_MS, clock=reactor, pause=0
    )
    assert await housekeeping.expire_transactions() == 1200
    assert await transactions.event_of(1, "/send", "old1") is None
    assert await transactions.event_of(1, "/send", "young") == 5000
    assert await housekeeping.expire_transactions() == 0
