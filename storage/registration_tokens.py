# SPDX-License-Identifier: Apache-2.0
"""Registration tokens: who was given one may register.

spec: client-server-api, "Token-authenticated registration".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch, Row
from storage.writing import Indexed, Writing, each

_COLUMNS = "token, uses_allowed, completed, created_ts, expires_ts"
_INSERT = Batch(
    f"INSERT INTO registration_tokens ({_COLUMNS}) SELECT {_COLUMNS} FROM v",
    columns={
        "token": BYTES,
        "uses_allowed": INTEGER,
        "completed": INTEGER,
        "created_ts": INTEGER,
        "expires_ts": INTEGER,
    },
)
# The column takes no NULL: a use too many is refused, and with it all that its unit holds.
_USE = Batch(
    "UPDATE registration_tokens SET completed = CASE WHEN uses_allowed IS NULL"
    " OR completed + v.uses <= uses_allowed THEN completed + v.uses END"
    " FROM v WHERE registration_tokens.token = v.token",
    columns={"token": BYTES, "uses": INTEGER},
)
_DELETE = Batch(
    "DELETE FROM registration_tokens WHERE token IN (SELECT token FROM v)", columns={"token": BYTES}
)
_GET = f"SELECT {_COLUMNS} FROM registration_tokens WHERE token = ?"
_ALL = f"SELECT {_COLUMNS} FROM registration_tokens ORDER BY created_ts, token"


@attrs.frozen
class RegistrationToken:
    """A token. As a record it makes the token; a second one of the name is a `DataError`.

    `uses_allowed` None: no limit. `completed`: accounts registered with it. `expires_ts` in milliseconds,
    None for never.
    """

    token: str
    created_ts: int
    uses_allowed: int | None = None
    completed: int = 0
    expires_ts: int | None = None

    def is_valid(self, now_ts: int) -> bool:
        """Whether one more account may be registered with it now."""
        unspent = self.uses_allowed is None or self.completed < self.uses_allowed
        return unspent and (self.expires_ts is None or now_ts < self.expires_ts)


@attrs.frozen
class UsedRegistrationToken:
    """One use of a token. One more than it allows is a `DataError`; for a token that is gone, nothing."""

    token: str


@attrs.frozen
class DeletedRegistrationToken:
    """A token to be deleted."""

    token: str


def _use_rows(records: Sequence[Indexed[UsedRegistrationToken]]) -> list[Row]:
    uses = Counter(record.token for _, record in records)
    return [(token.encode(), count) for token, count in uses.items()]


WRITINGS = (
    Writing(DeletedRegistrationToken, _DELETE, each(lambda r: (r.token.encode(),))),
    Writing(
        RegistrationToken,
        _INSERT,
        each(lambda r: (r.token.encode(), r.uses_allowed, r.completed, r.created_ts, r.expires_ts)),
    ),
    Writing(UsedRegistrationToken, _USE, _use_rows),
)


class RegistrationTokens:
    """Reads registration tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, token: str) -> RegistrationToken | None:
        """The token with this name, or None."""
        row = await self._database.read("registration token", lambda txn: txn.row(_GET, (token.encode(),)))
        return None if row is None else _token(row)

    async def all(self) -> list[RegistrationToken]:
        """All tokens, the oldest first."""
        rows = await self._database.read("registration tokens", lambda txn: txn.rows(_ALL))
        return [_token(row) for row in rows]


def _token(row: Row) -> RegistrationToken:
    token, uses_allowed, completed, created_ts, expires_ts = row
    return RegistrationToken(token.decode(), created_ts, uses_allowed, completed, expires_ts)
