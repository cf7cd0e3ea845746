# SPDX-License-Identifier: Apache-2.0
"""Where the homeserver stands at this moment, whichever process has moved it there."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from storage.commits.follower import CommitFollower
from storage.engine.database import Database
from storage.engine.errors import DatabaseUnavailable

POSITION = "SELECT value FROM counters WHERE name = 'position'"

CATCH_UP_SECONDS = 5.0
"""How long a reader waits for this process to take in what others have committed."""


class LatestCommit:
    """Lets a reader wait until this process knows all that was committed when they came.

    A look at the database serves everybody who came before it began.
    """

    def __init__(self, *, database: Database, follower: CommitFollower) -> None:
        self._database = database
        self._follower = follower
        self._gathering: list[Deferred[int]] = []
        self._looking = False

    async def reached(self) -> None:
        """Return when everything that was committed before the call is taken in.

        Raises `DatabaseUnavailable` where that does not come to pass: within `CATCH_UP_SECONDS`, or at once
        where the database cannot be asked or this process is lost.
        """
        position = await self._join()
        if position > self._follower.position:
            self._follower.found(position)
            if not await self._follower.reached(position, CATCH_UP_SECONDS):
                raise DatabaseUnavailable("this process has not yet taken in the latest changes")

    def look(self) -> None:
        """Look whether something was missed. Where the database cannot be asked, the next look finds it."""
        self._join().addCallbacks(self._follower.found, lambda _failure: None)

    def _join(self) -> Deferred[int]:
        """Fires with the position as it is at some moment after now."""
        asked: Deferred[int] = Deferred()
        self._gathering.append(asked)
        if not self._looking:
            self._looking = True
            Deferred.fromCoroutine(self._serve())
        return asked

    async def _serve(self) -> None:
        """Look for all that have gathered, until nobody has."""
        try:
            while self._gathering:
                asked, self._gathering = self._gathering, []
                try:
                    [[position]] = await self._database.look("position", POSITION)
                except Exception as error:
                    for waiting in asked:
                        if not waiting.called:
                            waiting.errback(error)
                else:
                    for waiting in asked:
                        if not waiting.called:
                            waiting.callback(position)
        finally:
            self._looking = False
