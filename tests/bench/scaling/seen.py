# SPDX-License-Identifier: Apache-2.0
"""From sending at one process until it has been read in `/sync` at others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from time import perf_counter

from tests.bench.load.client import RefusedError, each
from tests.bench.load.connection import Address, Connection, connections
from tests.bench.load.long_poll import LongPoll
from tests.bench.load.requests import User, message
from tests.bench.scaling.household import Household

_numbers = itertools.count()


async def seconds_until_seen(
    household: Household,
    room_id: str,
    *,
    sender: tuple[User, Address],
    readers: Sequence[User],
    at: Sequence[Address],
    rounds: int,
) -> list[float]:
    """Of each round, the seconds until the last of `readers`, who take turns to poll `at`, had the message.

    Each message is sent when all processes have come to rest.
    """
    tokens = await each(readers, household.stage.position)
    async with connections(sender[1], 1) as [sending], connections(at, len(readers)) as waiting:
        polls = [
            LongPoll(connection, reader, since)
            for connection, reader, since in zip(waiting, readers, tokens, strict=True)
        ]
        for poll in polls:
            poll.poll()
        times = []
        for _ in range(rounds + 1):
            await household.quiet()
            times.append(await _round(sending, sender[0], room_id, polls))
        for poll in polls:
            poll.stop()
    return times[1:]


async def _round(sending: Connection, sender: User, room_id: str, polls: Sequence[LongPoll]) -> float:
    number = next(_numbers)
    marker = f"the message number {number} of those looked for."
    seen = [poll.watch(marker.encode()) for poll in polls]
    begin = perf_counter()
    sent = sending.ask(message(sender, room_id, f"lookedfor{number}", marker))
    answer, times = await asyncio.wait_for(asyncio.gather(sent, asyncio.gather(*seen)), 60)
    if answer.status != 200:
        raise RefusedError("send", answer)
    return max(times) - begin
