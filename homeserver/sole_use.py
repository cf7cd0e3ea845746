# SPDX-License-Identifier: Apache-2.0
"""Keeps two servers that know nothing of each other from serving on the same PostgreSQL database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.task import deferLater

from storage.claim import Claim
from storage.engine.database import Database, DatabaseSettings
from storage.engine.errors import DatabaseError, UnsuitableDatabase
from storage.engine.opening import open_database
from storage.runtime.background import BackgroundTasks

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 12.0
"""How long a server waits for another one that is just ending."""

_RETRY_SECONDS = 0.25
_CHECK_SECONDS = 5.0

_IN_USE = (
    "another Trellis server uses it that does not expect this one: stop that, or let both know of each other"
    " with processes.enabled: true in the configuration of each"
)


@attrs.frozen
class SoleUse:
    """The claim of a server on its database, and the connection that it hangs on."""

    database: Database
    claim: Claim
    lost: Callable[[str], None]
    clock: Any

    @classmethod
    async def claimed(
        cls, settings: DatabaseSettings, reactor: Any, *, shared: bool, lost: Callable[[str], None]
    ) -> SoleUse:
        """Claim the database, `shared` with others that know of this server or for it alone.

        `lost` is told the reason when another server has taken the database meanwhile. Raises
        `UnsuitableDatabase` where another server has a claim that goes against this one, and
        `DatabaseUnavailable`.
        """
        database = await open_database(attrs.evolve(settings, readers=1), reactor=reactor)
        use = cls(database, Claim(database, shared=shared), lost, reactor)
        try:
            await use._make()
        except BaseException:
            await database.close()
            raise
        return use

    async def _make(self) -> None:
        until = self.clock.seconds() + PATIENCE_SECONDS
        told = False
        while not await self.claim.holds():
            if self.clock.seconds() > until:
                raise UnsuitableDatabase(_IN_USE)
            if not told:
                told = True
                logger.warning("Another Trellis server uses the database; waiting for it to end")
            await deferLater(self.clock, _RETRY_SECONDS)

    def watch(self, background: BackgroundTasks) -> None:
        """Make the claim again whenever its connection was lost."""
        background.spawn("claim on the database", self._watch())

    async def _watch(self) -> None:
        while True:
            await deferLater(self.clock, _CHECK_SECONDS)
            try:
                held = await self.claim.holds()
            except DatabaseError:
                continue  # whoever needs the database says so
            if not held:
                self.lost(f"the database was taken: {_IN_USE}")
                return
