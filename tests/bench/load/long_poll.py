# SPDX-License-Identifier: Apache-2.0
"""Clients that hang on `/sync` and say when something they look for has come."""

from __future__ import annotations

import asyncio
from time import perf_counter

import msgspec

from tests.bench.load.connection import Connection
from tests.bench.load.requests import User, sync


class Position(msgspec.Struct):
    """The only member of a sync answer that a client of ours decodes."""

    next_batch: str


_decoder = msgspec.json.Decoder(Position)


def next_batch(body: bytes) -> str:
    """The token in a sync answer."""
    return _decoder.decode(body).next_batch


class LongPoll:
    """Polls for ever; `watch` looks out for a text in the answers."""

    def __init__(self, connection: Connection, user: User, since: str, timeout_ms: int = 30_000) -> None:
        self.connection = connection
        self.user = user
        self.since = since
        self.answers = 0
        self.broken: str | None = None
        self._timeout_ms = timeout_ms
        self._watched: dict[bytes, asyncio.Future[float]] = {}
        self._stopped = False

    def poll(self) -> None:
        """Ask, and go on asking."""
        if not self._stopped:
            request = sync(self.user, since=self.since, timeout_ms=self._timeout_ms)
            self.connection.send(request, self._answered)

    def watch(self, marker: bytes) -> asyncio.Future[float]:
        """The time (`perf_counter`) at which `marker` was read; ConnectionError if the poll broke."""
        seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if self.broken is not None:
            seen.set_exception(ConnectionError(self.broken))
        else:
            self._watched[marker] = seen
        return seen

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True

    def _answered(self, status: int, body: bytes) -> None:
        now = perf_counter()
        if self._stopped:
            return
        if status != 200:
            self._break(f"{status} {body[:200]!r}")
            return
        self.answers += 1
        for marker in [marker for marker in self._watched if marker in body]:
            _settle(self._watched.pop(marker), now)
        self.since = next_batch(body)
        self.poll()

    def _break(self, why: str) -> None:
        self.broken = why
        while self._watched:
            _, seen = self._watched.popitem()
            if not seen.done():
                seen.set_exception(ConnectionError(why))


def _settle(seen: asyncio.Future[float], now: float) -> None:
    if not seen.done():
        seen.set_result(now)
