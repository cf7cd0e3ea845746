# SPDX-License-Identifier: Apache-2.0
"""Who may serve on a PostgreSQL database: one server alone, or any number that know of each other."""

from __future__ import annotations

from storage.engine.database import Database

_KEY = 0x7472656C6C6974
"""Chosen at random, for programs of this project alone."""

# Taken twice by one session a lock has to be given back twice; so it is taken only where it is not held.
_TAKE = (
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    f" AND classid = {_KEY >> 32} AND objid = {_KEY & 0xFFFFFFFF} AND granted AND mode = '{{mode}}')"
    f" THEN true ELSE {{function}}({_KEY}) END"
)
_ALONE = _TAKE.format(mode="ExclusiveLock", function="pg_try_advisory_lock")
_SHARED = _TAKE.format(mode="ShareLock", function="pg_try_advisory_lock_shared")


class Claim:
    """The claim of one server, which ends with its connection: nobody waits for a server that was killed.

    `database` has one reader, which makes the claim. `shared`: it is one of several that know of each other.
    """

    def __init__(self, database: Database, *, shared: bool) -> None:
        """Raises `ValueError` for SQLite, whose file is locked otherwise."""
        if database.dialect != "postgresql":
            raise ValueError("claims are for PostgreSQL")
        self._database = database
        self._take = _SHARED if shared else _ALONE

    async def holds(self) -> bool:
        """Make the claim if it is not made, also after the connection was lost; whether nobody else has one.

        Raises `DatabaseError`.
        """
        [[held]] = await self._database.look("claim", self._take)
        return bool(held)
