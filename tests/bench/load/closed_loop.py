# SPDX-License-Identifier: Apache-2.0
"""A closed loop: every connection asks again as soon as it has its answer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from time import perf_counter, process_time

import attrs

from tests.bench.load.client import RefusedError
from tests.bench.load.connection import Address, Answer, Connection, connections

#: A window stays open until it has seen so many answers, or for so many times its length.
_ENOUGH = 300
_LONGEST = 4


@attrs.frozen
class Tally:
    """What a window saw: its length, the latencies of its answers, the last answer of each connection."""

    seconds: float
    latencies: Sequence[float]
    last: Sequence[bytes]
    #: All answers, those of the warm-up and after the window's end too.
    answers: int
    #: The part of the window in which this process had the processor; near 1 it was the bottleneck.
    own_share: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds


class _Window:
    """From when to when answers count. It closes for all lanes at once."""

    def __init__(self, begin: float, seconds: float) -> None:
        self.begin = begin
        self.end = begin
        self.latencies: list[float] = []
        self.open = True
        self._earliest = begin + seconds
        self._latest = begin + seconds * _LONGEST

    def count(self, now: float, latency: float) -> None:
        """Count an answer that came at `now` if the window is open, and close it in time."""
        if self.open and now >= self.begin:
            self.latencies.append(latency)
            self.end = now
            if now >= self._earliest and (len(self.latencies) >= _ENOUGH or now >= self._latest):
                self.open = False


class _Lane:
    """One connection and what it asks for. A plain callback: no task and no future per request."""

    def __init__(self, connection: Connection, requests: Iterator[bytes], window: _Window) -> None:
        self.answers = 0
        self.last = b""
        self.refusal: Answer | None = None
        self.stopped = asyncio.Event()
        self._connection = connection
        self._requests = requests
        self._window = window
        self._asked_at = 0.0

    def ask(self, now: float) -> None:
        """Ask for the next, if there is one."""
        request = next(self._requests, None)
        if request is None:
            self.stopped.set()
            return
        self._asked_at = now
        self._connection.send(request, self._answered)

    def _answered(self, status: int, body: bytes) -> None:
        now = perf_counter()
        if status != 200:
            self.refusal = Answer(status, body)
            self._window.open = False
            self.stopped.set()
            return
        self.answers += 1
        self.last = body
        self._window.count(now, now - self._asked_at)
        if self._window.open:
            self.ask(now)
        else:
            self.stopped.set()


async def closed_loop(
    address: Address | Sequence[Address],
    sources: Sequence[Iterator[bytes]],
    seconds: float,
    *,
    warm_up: float = 0.0,
) -> Tally:
    """Ask from every source over a connection of its own for `warm_up + seconds`; the former are not counted.

    Several addresses take turns. The window stays open longer for a server so slow that hardly anything would
    be counted. A source that ends ends its lane; when all have ended the window ends early. Raises
    `RefusedError` for an answer that is not 200: a figure made of errors is none.
    """
    async with connections(address, len(sources)) as opened:
        begin, used = perf_counter(), process_time()
        window = _Window(begin + warm_up, seconds)
        lanes = [
            _Lane(connection, source, window) for connection, source in zip(opened, sources, strict=True)
        ]
        gc.collect()
        gc.disable()
        try:
            for lane in lanes:
                lane.ask(perf_counter())
            await asyncio.wait_for(_all_stopped(lanes), warm_up + seconds * _LONGEST + 60)
        finally:
            gc.enable()
        share = (process_time() - used) / (perf_counter() - begin)
    for lane in lanes:
        if lane.refusal is not None:
            raise RefusedError("in the window", lane.refusal)
    return Tally(
        seconds=max(window.end - window.begin, 1e-6),
        latencies=window.latencies,
        last=[lane.last for lane in lanes],
        answers=sum(lane.answers for lane in lanes),
        own_share=share,
    )


async def _all_stopped(lanes: Sequence[_Lane]) -> None:
    for lane in lanes:
        await lane.stopped.wait()
