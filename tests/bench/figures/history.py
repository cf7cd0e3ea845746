# SPDX-License-Identifier: Apache-2.0
"""Pages of `/messages`: a client that scrolls to the beginning of a room."""

from __future__ import annotations

from time import perf_counter

import msgspec

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.client import each
from tests.bench.load.requests import User, history_page, message
from tests.bench.stage import Stage


class _Page(msgspec.Struct):
    chunk: list[msgspec.Raw]
    end: str | None = None


_decoder = msgspec.json.Decoder(_Page)


class _History(Figure):
    """One user, one connection, pages of 100, from the newest to the oldest event."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._place: tuple[User, str] | None = None

    async def prepare(self) -> None:
        users = await self._stage.people(10)
        room_id = await self._stage.room(users[0], "Long", users[1:])

        async def send(number: int) -> None:
            await self._stage.client.get(message(users[number % 10], room_id, f"history{number}"))

        await each(range(self._stage.scale.history), send)
        self._place = users[0], room_id

    async def _scroll(self) -> tuple[int, float]:
        """Read the room to its beginning: how many events, and the seconds that the answers took."""
        assert self._place is not None
        user, room_id = self._place
        before: str | None = None
        events, seconds = 0, 0.0
        for _ in range(1_000):
            asked = history_page(user, room_id, before=before, limit=100)
            begin = perf_counter()
            answer = await self._stage.client.get_raw(asked)
            seconds += perf_counter() - begin
            page = _decoder.decode(answer.body)
            events += len(page.chunk)
            if page.end is None or not page.chunk:
                break
            before = page.end
        if events < self._stage.scale.history:
            raise ValueError(f"/messages gave {events} of more than {self._stage.scale.history} events")
        return events, seconds


class HistoryWarm(_History):
    """The room has just been read once."""

    name = "messages-warm"
    lines = (Line("messages-warm", "/messages, pages of 100, warm", "events/s", "more", 40000, 40),)

    async def measure(self) -> Reading:
        await self._scroll()
        events, seconds = 0, 0.0
        while seconds < self._stage.scale.window:
            more, took = await self._scroll()
            events, seconds = events + more, seconds + took
        return Reading({self.name: events / seconds})


class HistoryCold(_History):
    """The server has just been started."""

    name = "messages-cold"
    lines = (Line("messages-cold", "/messages, pages of 100, after a start", "events/s", "more", 10000, 10),)

    async def measure(self) -> Reading:
        await self._stage.server.restart()
        await self._stage.server.quiet()
        events, seconds = await self._scroll()
        return Reading({self.name: events / seconds})
