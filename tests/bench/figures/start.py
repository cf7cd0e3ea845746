# SPDX-License-Identifier: Apache-2.0
"""Start to first answer, with warm bytecode, over a database that exists."""

from __future__ import annotations

from tests.bench.figures.figure import Figure, Line, Reading


class Start(Figure):
    """Ends the server in order, starts it, and asks for `/_matrix/client/versions` until it answers."""

    name = "start"
    lines = (Line("start", "start to first answer, warm bytecode", "s", "less", 0.7, 0.9 / 0.7),)
    limit = True

    async def prepare(self) -> None:
        await self._stage.server.restart()

    async def measure(self) -> Reading:
        return Reading({"start": await self._stage.server.restart()})
