# SPDX-License-Identifier: Apache-2.0
"""Profiles of local users, field by field.

spec: client-server-api, "Profiles".
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, last_of_each

_UPSERT = Batch(
    "INSERT INTO profiles (account, field, value) SELECT account, field, value FROM v WHERE true"
    " ON CONFLICT (account, field) DO UPDATE SET value = excluded.value",
    columns={"account": INTEGER, "field": BYTES, "value": BYTES},
)
_DELETE = Batch(
    "DELETE FROM profiles WHERE EXISTS"
    " (SELECT 1 FROM v WHERE v.account = profiles.account AND v.field = profiles.field)",
    columns={"account": INTEGER, "field": BYTES},
)
_GET = "SELECT field, value FROM profiles WHERE account = ? ORDER BY field"


@attrs.frozen
class ProfileField:
    """One field of a user's profile (`displayname`, `avatar_url`, …).

    `value` is any JSON value; None deletes the field.
    """

    account: int
    field: str
    value: Any


def _key(record: ProfileField) -> tuple[int, str]:
    return (record.account, record.field)


def _row(_i: int, record: ProfileField) -> tuple[Any, ...]:
    return (record.account, record.field.encode(), msgspec.json.encode(record.value))


WRITINGS = (
    Writing(
        ProfileField,
        _DELETE,
        last_of_each(_key, lambda _i, r: (r.account, r.field.encode())),
    ),
    Writing(
        ProfileField,
        _UPSERT,
        lambda records: [row for row in last_of_each(_key, _row)(records) if row[2] != b"null"],
    ),
)


class Profiles:
    """Reads profiles."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: int) -> dict[str, Any]:
        """The fields of the user's profile."""
        rows = await self._database.read("profile", lambda txn: txn.rows(_GET, (account,)))
        return {field.decode(): msgspec.json.decode(value) for field, value in rows}
