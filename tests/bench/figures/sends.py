# SPDX-License-Identifier: Apache-2.0
"""How many messages are accepted per second while nobody syncs."""

from __future__ import annotations

import msgspec

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.figures.throughput import measured_loop
from tests.bench.load.requests import User, messages, request, room_path
from tests.bench.stage import Stage


class _Sends(Figure):
    """Every sender sends into a room of its own choice, one message after the other."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._senders: list[tuple[User, str]] = []

    async def measure(self) -> Reading:
        sources = [messages(user, room_id) for user, room_id in self._senders]
        tally, details = await measured_loop(self._stage, sources, self._stage.scale.window)
        for (user, room_id), last in list(zip(self._senders, tally.last, strict=True))[:5]:
            await self._check_kept(user, room_id, last)
        return Reading({self.name: tally.rate}, details)

    async def _check_kept(self, user: User, room_id: str, answer: bytes) -> None:
        """What was accepted must be there."""
        if self._stage.server.name != "bare":
            event_id = msgspec.json.decode(answer)["event_id"]
            await self._stage.client.get(request("GET", room_path(room_id, "event", event_id), user.token))


class SendsInManyRooms(_Sends):
    """50 users in 50 rooms of two: each sends into a room that the next one has joined."""

    name = "sends"
    lines = (Line("sends", "sends, 50 users in 50 rooms", "/s", "more", wanted=25),)
    limit = True

    async def prepare(self) -> None:
        users = await self._stage.people(self._stage.scale.senders)
        for index, user in enumerate(users):
            other = users[(index + 1) % len(users)]
            self._senders.append((user, await self._stage.room(user, f"Two {index}", [other])))


class SendsInOneRoom(_Sends):
    """The same 50 users in one room."""

    name = "sends-one-room"
    lines = (
        Line(
            "sends-one-room",
            "sends, 50 users in one room",
            "/s",
            "more",
            wanted=25,
        ),
    )
    limit = True

    async def prepare(self) -> None:
        users = await self._stage.people(self._stage.scale.senders)
        room_id = await self._stage.room(users[0], "All", users[1:])
        self._senders = [(user, room_id) for user in users]
