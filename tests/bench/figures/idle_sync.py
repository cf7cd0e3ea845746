# SPDX-License-Identifier: Apache-2.0
"""Incremental `/sync` with nothing new, by users who are in 100 rooms."""

from __future__ import annotations

import itertools

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.figures.throughput import rate_of
from tests.bench.load.client import each
from tests.bench.load.long_poll import next_batch
from tests.bench.load.requests import User, message, sync
from tests.bench.stage import OwnedRooms, Stage

#: Different users, since a server may answer equal requests of one user with one answer.
_USERS = 4
_markers = itertools.count()


class IdleSync(Figure):
    """Four users, each over a connection of their own, `timeout=0`."""

    name = "idle-sync"
    lines = (Line("idle-sync", "idle incremental /sync, user in 100 rooms", "/s", "more", 6000, 6000 / 670),)
    limit = True

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._users: list[User] = []
        self._rooms: OwnedRooms | None = None

    async def prepare(self) -> None:
        self._rooms = await self._stage.owned_rooms()
        self._users = await each(range(_USERS), lambda _: self._stage.new_user())
        for room_id in self._rooms.room_ids[: self._stage.scale.idle_rooms]:
            await self._stage.join(self._users, room_id)

    async def measure(self) -> Reading:
        tokens = await each(self._users, self._idle_position)
        sources = [
            itertools.repeat(sync(user, since=token)) for user, token in zip(self._users, tokens, strict=True)
        ]
        reading = await rate_of(self._stage, self.name, sources)
        if self._stage.server.name != "bare":
            await self._check_heard(tokens)
        return reading

    async def _idle_position(self, user: User) -> str:
        """A token after which there really is nothing: it stays the same when asked again.

        Otherwise a server may keep the first answer, which has news, and give the same one again and again.
        """
        token = await self._stage.position(user)
        for _ in range(10):
            after = next_batch((await self._stage.client.get_raw(sync(user, since=token))).body)
            if after == token or self._stage.server.name == "bare":
                break
            token = after
        return token

    async def _check_heard(self, tokens: list[str]) -> None:
        """The very requests that had idle answers must tell of the next message."""
        assert self._rooms is not None
        marker = f"the message {next(_markers)} that ends the idleness."
        sent = message(self._rooms.owner, self._rooms.room_ids[0], marker.replace(" ", "-"), marker)
        await self._stage.client.get(sent)
        for user, token in zip(self._users, tokens, strict=True):
            answer = await self._stage.client.get_raw(sync(user, since=token, timeout_ms=5_000))
            if marker.encode() not in answer.body:
                raise ValueError(f"/sync since {token} does not tell of a message sent after it")
