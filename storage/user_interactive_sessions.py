# SPDX-License-Identifier: Apache-2.0
"""Sessions of user-interactive authentication: what a client has proved so far, and for which request.

spec: client-server-api, "User-Interactive Authentication API".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, each, last_of_each

_COLUMNS = "session, client, endpoint, body, completed, expires_ts"
_INSERT = Batch(
    f"INSERT INTO user_interactive_sessions ({_COLUMNS}) SELECT {_COLUMNS} FROM v",
    columns={
        "session": BYTES,
        "client": BYTES,
        "endpoint": BYTES,
        "body": BYTES,
        "completed": BYTES,
        "expires_ts": INTEGER,
    },
)
_PROGRESS = Batch(
    "UPDATE user_interactive_sessions SET body = v.body, completed = v.completed FROM v"
    " WHERE user_interactive_sessions.session = v.session",
    columns={"session": BYTES, "body": BYTES, "completed": BYTES},
)
_DELETE = Batch(
    "DELETE FROM user_interactive_sessions WHERE session IN (SELECT session FROM v)",
    columns={"session": BYTES},
)
_GET = f"SELECT {_COLUMNS} FROM user_interactive_sessions WHERE session = ?"
_SURPLUS = (
    "SELECT session FROM user_interactive_sessions WHERE client = ?"
    " ORDER BY expires_ts DESC, session LIMIT 100 OFFSET ?"
)
_EXPIRE = "DELETE FROM user_interactive_sessions WHERE expires_ts <= ?"


@attrs.frozen
class UserInteractiveSession:
    """A session. As a record it makes the session; a second one of the name is a `DataError`.

    `session` is the SHA-256 of its id. `endpoint` and `body` are hashes of what is being authorised.
    `completed` holds what came of each stage that is done, as JSON, in the order in which they were done.
    `expires_ts` in milliseconds.
    """

    session: bytes
    client: str
    endpoint: bytes
    body: bytes
    expires_ts: int
    completed: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class CompletedStages:
    """The stages of a session that are done, and the request that they authorise. No session: no effect."""

    session: bytes
    body: bytes
    completed: Mapping[str, Any]


@attrs.frozen
class DeletedUserInteractiveSession:
    """A session that has served its purpose."""

    session: bytes


WRITINGS = (
    Writing(
        UserInteractiveSession,
        _INSERT,
        each(
            lambda r: (
                r.session,
                r.client.encode(),
                r.endpoint,
                r.body,
                msgspec.json.encode(r.completed),
                r.expires_ts,
            )
        ),
    ),
    Writing(
        CompletedStages,
        _PROGRESS,
        last_of_each(
            lambda r: r.session, lambda _i, r: (r.session, r.body, msgspec.json.encode(r.completed))
        ),
    ),
    Writing(DeletedUserInteractiveSession, _DELETE, each(lambda r: (r.session,))),
)


class UserInteractiveSessions:
    """Reads and expires sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, session: bytes) -> UserInteractiveSession | None:
        """The session whose id has this SHA-256, expired or not, or None."""
        row = await self._database.read("session", lambda txn: txn.row(_GET, (session,)))
        if row is None:
            return None
        found, client, endpoint, body, completed, expires_ts = row
        return UserInteractiveSession(
            session=found,
            client=client.decode(),
            endpoint=endpoint,
            body=body,
            expires_ts=expires_ts,
            completed=msgspec.json.decode(completed),
        )

    async def surplus(self, client: str, keep: int) -> list[bytes]:
        """The oldest sessions that `client` began, but for the newest `keep`; at most 100 of them."""
        parameters = (client.encode(), keep)
        rows = await self._database.read("old sessions", lambda txn: txn.rows(_SURPLUS, parameters))
        return [session for (session,) in rows]

    async def expire(self, now_ts: int) -> int:
        """Forget sessions whose time is over; returns how many."""
        return await self._database.write("expire sessions", lambda txn: txn.execute(_EXPIRE, (now_ts,)))
