# SPDX-License-Identifier: Apache-2.0
"""How much the database grows by a message and by a state event."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.requests import User, messages, state_changes
from tests.bench.stage import Stage


class Disk(Figure):
    """A user alone in a room writes one event after the other; the size is read while the server is stopped.

    Alone, since rows that some servers write per member would make the figure one of the room's size. The
    rows that remember a client's transaction ids are in it, although they expire.
    """

    name = "disk"
    lines = (
        Line("disk-message", "bytes on disk per message", "B", "less", 950, 2830 / 950),
        Line("disk-state", "bytes on disk per state event", "B", "less", 1350, 4100 / 1350),
    )
    repeats = 1

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._place: tuple[User, str] | None = None

    async def prepare(self) -> None:
        user = await self._stage.new_user()
        self._place = user, await self._stage.room(user, "Measured")
        await self._write(itertools.islice(messages(*self._place), 50))

    async def measure(self) -> Reading:
        assert self._place is not None
        scale = self._stage.scale
        empty = await self._size()
        await self._write(itertools.islice(messages(*self._place), scale.disk_messages))
        with_messages = await self._size()
        await self._write(itertools.islice(state_changes(*self._place), scale.disk_states))
        with_states = await self._size()
        return Reading(
            {
                "disk-message": (with_messages - empty) / scale.disk_messages,
                "disk-state": (with_states - with_messages) / scale.disk_states,
            },
            {"whole database, MiB": with_states / 2**20},
        )

    async def _write(self, requests: Iterable[bytes]) -> None:
        for request in requests:
            await self._stage.client.get(request)

    async def _size(self) -> int:
        """Bytes in use, read with the server ended in order."""
        server = self._stage.server
        await server.quiet(10.0)
        server.end()
        size = server.place.database.used_bytes()
        await server.start()
        return size
