# SPDX-License-Identifier: Apache-2.0
"""Filters that clients have stored; the id of a filter is made of its content.

spec: client-server-api, "Filtering".
"""

from __future__ import annotations

from hashlib import blake2b

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, last_of_each

_INSERT = Batch(
    "INSERT INTO filters (account, digest, filter) SELECT account, digest, filter FROM v WHERE true"
    " ON CONFLICT DO NOTHING",
    columns={"account": INTEGER, "digest": BYTES, "filter": BYTES},
)
_GET = "SELECT filter FROM filters WHERE account = ? AND digest = ?"
_DIGEST_SIZE = 12


@attrs.frozen
class StoredFilter:
    """A filter of a user, as the JSON that they sent."""

    account: int
    filter: bytes

    @property
    def filter_id(self) -> str:
        """The id under which it is found; the same content has the same id."""
        return blake2b(self.filter, digest_size=_DIGEST_SIZE).hexdigest()


WRITINGS = (
    Writing(
        StoredFilter,
        _INSERT,
        last_of_each(
            lambda r: (r.account, r.filter), lambda _i, r: (r.account, bytes.fromhex(r.filter_id), r.filter)
        ),
    ),
)


class Filters:
    """Reads stored filters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: int, filter_id: str) -> bytes | None:
        """The JSON of the user's filter with this id, or None."""
        try:
            digest = bytes.fromhex(filter_id)
        except ValueError:
            return None
        row = await self._database.read("filter", lambda txn: txn.row(_GET, (account, digest)))
        return row[0] if row else None
