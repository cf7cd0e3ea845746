# SPDX-License-Identifier: Apache-2.0
"""Sends into a room of 10,000 local members, all of whose push rules want to know."""

from __future__ import annotations

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.figures.throughput import measured_loop
from tests.bench.load.requests import User, messages
from tests.bench.stage import Stage

MIB = 2**20


class LargeRoom(Figure):
    """Ten members send, each message after message; nobody syncs."""

    name = "large-room"
    lines = (
        Line("large-room-sends", "sends into a room of 10,000 local members", "/s", "more"),
        Line("large-room-p99", "sends into a room of 10,000 local members, p99", "ms", "less"),
        Line("large-room-memory", "memory that a room of 10,000 takes when hot", "MiB", "less"),
    )
    heavy = True
    repeats = 1

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._members: list[User] = []
        self._room_id = ""
        self._small_room_id = ""

    async def prepare(self) -> None:
        self._members = await self._stage.people(self._stage.scale.crowd)
        self._room_id = await self._stage.room(self._members[0], "Ten thousand", self._members[1:])
        self._small_room_id = await self._stage.room(self._members[0], "Ten", self._members[1:10])

    async def measure(self) -> Reading:
        server = self._stage.server
        await server.restart()
        await self._send_a_few(self._small_room_id)
        cold = server.process.resident_bytes()
        await self._send_a_few(self._room_id)
        hot = server.process.resident_bytes()
        sources = [messages(user, self._room_id) for user in self._members[:10]]
        tally, details = await measured_loop(self._stage, sources, 3 * self._stage.scale.window)
        values = {
            "large-room-sends": tally.rate,
            "large-room-p99": details["p99, ms"],
            "large-room-memory": (hot - cold) / MIB,
        }
        return Reading(values, details)

    async def _send_a_few(self, room_id: str) -> None:
        """Make a room hot without filling memory with its events."""
        for user in self._members[:10]:
            await self._stage.client.get(next(messages(user, room_id)))
        await self._stage.server.quiet(20.0)
