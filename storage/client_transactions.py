# SPDX-License-Identifier: Apache-2.0
"""Transaction ids of clients: a request that is sent again gets the event that the first one made.

spec: client-server-api, "Transaction identifiers".
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, each

_INSERT = Batch(
    "INSERT INTO client_transactions (device, txn_id, path, event, created_ts)"
    " SELECT device, txn_id, path, event, created_ts FROM v",
    columns={"device": INTEGER, "txn_id": BYTES, "path": BYTES, "event": INTEGER, "created_ts": INTEGER},
)
_GET = "SELECT event FROM client_transactions WHERE device = ? AND txn_id = ? AND path = ?"
_OF_EVENTS = Batch(
    "SELECT t.event, t.txn_id FROM v JOIN client_transactions t ON t.event = v.event AND t.device = v.device",
    columns={"event": INTEGER, "device": INTEGER},
)
_OF_DEVICE = "SELECT event, txn_id FROM client_transactions WHERE device = ? LIMIT ?"
_EXPIRE = (
    "DELETE FROM client_transactions WHERE (device, txn_id, path) IN"
    " (SELECT device, txn_id, path FROM client_transactions WHERE created_ts < ? LIMIT ?)"
)


@attrs.frozen
class ClientTransaction:
    """The event number that a request of a device made; `path` is the request's path without the id."""

    device: int
    path: str
    txn_id: str
    event: int
    created_ts: int


def _digest(path: str) -> bytes:
    return blake2b(path.encode(), digest_size=12).digest()


WRITINGS = (
    Writing(
        ClientTransaction,
        _INSERT,
        each(lambda r: (r.device, r.txn_id.encode(), _digest(r.path), r.event, r.created_ts)),
    ),
)


class ClientTransactions:
    """Reads the transaction ids of clients."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def event_of(self, device: int, path: str, txn_id: str) -> int | None:
        """The number of the event that this request made before, or None."""
        parameters = (device, txn_id.encode(), _digest(path))
        rows = await self._database.look("transaction id", _GET, parameters)
        return rows[0][0] if rows else None

    async def of_events(self, device: int, events: Iterable[int]) -> dict[int, str]:
        """The transaction ids with which the device sent those of `events` that it sent."""
        rows = [(event, device) for event in events]
        found = await self._database.read("transaction ids", lambda txn: txn.batch(_OF_EVENTS, rows))
        return {event: txn_id.decode() for event, txn_id in found}

    async def of_device(self, device: int, limit: int) -> dict[int, str] | None:
        """The ids of all events that the device sent with one; None where there are `limit` or more."""
        rows = await self._database.look("transaction ids", _OF_DEVICE, (device, limit))
        return None if len(rows) >= limit else {event: txn_id.decode() for event, txn_id in rows}

    async def expire(self, before_ts: int, *, limit: int) -> int:
        """Forget at most `limit` requests from before `before_ts` (milliseconds); returns how many."""
        return await self._database.write(
            "expire transaction ids", lambda txn: txn.execute(_EXPIRE, (before_ts, limit))
        )
