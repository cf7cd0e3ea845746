# SPDX-License-Identifier: Apache-2.0
"""What is read while something happens: time, how long the reactor stood still, what others felt."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from homeserver.cli.process import collect_garbage_seldom
from tests.bench.load.percentiles import percentile

_PROBE = 0.001  # seconds
_MIB = 2**20
_PAGE = resource.getpagesize()


class Gauges:
    """Reads between `start` and `stop`.

    A probe runs every millisecond. What it is late is how long the reactor stood still, whoever took the
    processor; the processor time of the reactor's thread between two probes is what of it was its own doing.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stalls: list[float] = []
        self._own: list[float] = []
        self._collections: list[float] = [0.0]
        self._running = False

    def start(self) -> None:
        """Begin, with the collector set as a server sets it when it has started."""
        gc.collect()
        collect_garbage_seldom()
        gc.callbacks.append(self._collected)
        self._running = True
        self._begun = time.perf_counter(), time.process_time(), time.thread_time()
        self._last = time.perf_counter(), time.thread_time()
        self._call = self._reactor.callLater(_PROBE, self._probe)

    def stop(self) -> dict[str, float]:
        """End; what was read."""
        gc.callbacks.remove(self._collected)
        self._running = False
        self._call.cancel()
        self._note()
        begin, processor, thread = self._begun
        return {
            "seconds": time.perf_counter() - begin,
            "processor seconds": time.process_time() - processor,
            "reactor's processor seconds": time.thread_time() - thread,
            "longest stall, ms": max(self._stalls) * 1e3,
            "longest stall by own processor time, ms": max(self._own) * 1e3,
            "longest garbage collection, ms": max(self._collections) * 1e3,
            "p99 of stalls by own processor time, ms": percentile(self._own, 0.99) * 1e3,
        }

    def _probe(self) -> None:
        self._note()
        if self._running:
            self._call = self._reactor.callLater(_PROBE, self._probe)

    def _collected(self, phase: str, _information: object) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
        else:
            self._collections.append(time.perf_counter() - self._collecting)

    def _note(self) -> None:
        now, own = time.perf_counter(), time.thread_time()
        self._stalls.append(max(0.0, now - self._last[0] - _PROBE))
        self._own.append(own - self._last[1])
        self._last = now, own


class Repeated:
    """Does something again and again in the background, with pauses, and notes how long each time took."""

    def __init__(self, reactor: Any, do: Callable[[], Coroutine[Any, Any, object]], every: float) -> None:
        self._reactor = reactor
        self._do = do
        self._every = every
        self._running = True
        self._waiting: Deferred[None] | None = None
        self.latencies: list[float] = []
        self._done = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        while self._running:
            begin = time.perf_counter()
            await self._do()
            self.latencies.append(time.perf_counter() - begin)
            await pause(self._reactor, self._every)

    async def stop(self) -> dict[str, float]:
        """Let the last one end; how long they took. Raises what one of them raised."""
        self._running = False
        await self._done
        return {
            "local sends": float(len(self.latencies)),
            "local send p50, ms": percentile(self.latencies, 0.5) * 1e3,
            "local send p99, ms": percentile(self.latencies, 0.99) * 1e3,
            "local send longest, ms": max(self.latencies) * 1e3,
        }


def pause(reactor: Any, seconds: float) -> Deferred[None]:
    """Fires later."""
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Add the seconds that the body takes."""
    begin = time.perf_counter()
    yield
    into.append(time.perf_counter() - begin)


def resident_mib() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / _MIB


def spread(values: list[float], name: str) -> dict[str, float]:
    """p50, p99 and the longest of some seconds, in ms."""
    return {
        f"{name} p50, ms": percentile(values, 0.5) * 1e3,
        f"{name} p99, ms": percentile(values, 0.99) * 1e3,
        f"{name} longest, ms": max(values) * 1e3,
    }
