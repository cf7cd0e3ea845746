# SPDX-License-Identifier: Apache-2.0
"""Transactions to other servers that were not answered yet: one for each server at most.

Each is stored before the first attempt, with its id and its body, and sent again as it is until it is
answered, by whichever process and after whichever restart. spec: server-server-api, "Transactions".
"""

from __future__ import annotations

from typing import Any

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, TEXT, Batch
from storage.writing import Writing, each

# A second one of a server is refused by the primary key, and with it the unit.
_INSERT = Batch(
    "INSERT INTO outgoing_transactions (destination, txn_id, body, upto)"
    " SELECT destination, txn_id, body, upto FROM v",
    columns={"destination": BYTES, "txn_id": TEXT, "body": BYTES, "upto": INTEGER},
)
_DELETE = Batch(
    "DELETE FROM outgoing_transactions WHERE EXISTS (SELECT 1 FROM v"
    " WHERE v.destination = outgoing_transactions.destination AND v.txn_id = outgoing_transactions.txn_id)",
    columns={"destination": BYTES, "txn_id": TEXT},
)
_GET = "SELECT destination, txn_id, body, upto FROM outgoing_transactions WHERE destination = ?"
_WAITING = "SELECT destination FROM outgoing_transactions WHERE destination > ? ORDER BY destination LIMIT ?"


@attrs.frozen
class OutgoingTransaction:
    """A transaction to a server, `body` as it is sent.

    `upto`: once it is answered, everything up to this position that is for the server has been delivered.
    As a record, it is refused with `DataError` while another one of the server was not answered.
    """

    destination: str
    txn_id: str
    body: bytes
    upto: int


@attrs.frozen
class AnsweredTransaction:
    """The server has answered. `storage.destinations.Delivered` belongs into the same unit, and the next
    transaction may be in it."""

    destination: str
    txn_id: str


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(AnsweredTransaction, _DELETE, each(lambda r: (r.destination.encode(), r.txn_id))),
    Writing(OutgoingTransaction, _INSERT, each(lambda r: (r.destination.encode(), r.txn_id, r.body, r.upto))),
)


class OutgoingTransactions:
    """Reads the transactions that wait for an answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_destination(self, destination: str) -> OutgoingTransaction | None:
        """The server's transaction that was not answered yet."""
        rows = await self._database.look("outgoing transaction", _GET, (destination.encode(),))
        return None if not rows else OutgoingTransaction(rows[0][0].decode(), *rows[0][1:])

    async def waiting(self, *, after: str = "", limit: int) -> list[str]:
        """The servers that have one, by name, those after the name `after`."""
        rows = await self._database.look("servers to answer", _WAITING, (after.encode(), limit))
        return [name.decode() for (name,) in rows]
