# SPDX-License-Identifier: Apache-2.0
"""Work in slices: a generator that pauses now and then, so that the reactor can turn to others."""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from typing import TypeAlias, TypeVar

from twisted.internet.task import deferLater

from storage.runtime.clock import Clock

T = TypeVar("T")

Sliced: TypeAlias = Generator[None, None, T]
"""Returns its result; it yields after about a millisecond of work."""

STEPS = 1_000
"""So many small steps take about a millisecond."""

_SLICE = 0.001
"""Seconds of work after which the reactor gets its turn."""


async def run_sliced(work: Sliced[T], clock: Clock) -> T:
    """Run `work` to its end, with a turn of the reactor between its slices, unless they are short."""
    begun = perf_counter()
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        if perf_counter() - begun >= _SLICE:
            await pause(clock)
            begun = perf_counter()


async def pause(clock: Clock) -> None:
    """Let the reactor turn to others."""
    await deferLater(clock, 0)  # type: ignore[arg-type]
