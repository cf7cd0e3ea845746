# SPDX-License-Identifier: Apache-2.0
"""Incremental `/sync` with nothing new, by users who are in 100 rooms."""

from __future__ import annotations

import itertools

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.figures.throughput import rate_of
from tests.bench.load.client import each
from tests.bench.load.requests import User, sync
from tests.bench.stage import Stage

#: Different users, since a server may answer equal requests of one user with one answer.
_USERS = 4


class IdleSync(Figure):
    """Four users, each over a connection of their own, `timeout=0`."""

    name = "idle-sync"
    lines = (
        Line("idle-sync", "idle incremental /sync, user in 100 rooms", "/s", "more", "6,000/s", 6000 / 670),
    )
    limit = True

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._users: list[User] = []

    async def prepare(self) -> None:
        rooms = (await self._stage.owned_rooms()).room_ids[: self._stage.scale.idle_rooms]
        self._users = await each(range(_USERS), lambda _: self._stage.new_user())
        for room_id in rooms:
            await self._stage.join(self._users, room_id)

    async def measure(self) -> Reading:
        tokens = await each(self._users, self._stage.position)
        sources = [
            itertools.repeat(sync(user, since=token)) for user, token in zip(self._users, tokens, strict=True)
        ]
        return await rate_of(self._stage, self.name, sources)
