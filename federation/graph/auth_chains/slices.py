# SPDX-License-Identifier: Apache-2.0
"""Work in slices: a generator that pauses now and then, so that the reactor can turn to others."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from twisted.internet.task import deferLater

from storage.runtime.clock import Clock

T = TypeVar("T")

Sliced: TypeAlias = Generator[None, None, T]
"""Returns its result; it yields after about a millisecond of work."""

STEPS = 1_000
"""So many small steps take about a millisecond."""


async def run_sliced(work: Sliced[T], clock: Clock) -> T:
    """Run `work` to its end, with a turn of the reactor between its slices."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await pause(clock)


async def pause(clock: Clock) -> None:
    """Let the reactor turn to others."""
    await deferLater(clock, 0)  # type: ignore[arg-type]
