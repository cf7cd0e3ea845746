# SPDX-License-Identifier: Apache-2.0
"""What the stage is set with: calls one by one, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec

from tests.bench.load.connection import Address, Answer, Connection, connect

T = TypeVar("T")
U = TypeVar("U")


class RefusedError(Exception):
    """A server did not answer 200 where the figure needs it."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"{what}: {answer.status} {answer.body[:300].decode(errors='replace')}")
        self.answer = answer


class Client:
    """Asks over at most `width` connections and opens what it needs."""

    def __init__(self, address: Address, width: int = 8) -> None:
        self._address = address
        self._free: list[Connection] = []
        self._slots = asyncio.Semaphore(width)

    async def ask(self, request: bytes, timeout: float = 60.0) -> Answer:
        """The answer to `request`, whatever it is."""
        async with self._slots:
            connection = self._take() or await connect(self._address)
            answer = await asyncio.wait_for(connection.ask(request), timeout)
            if connection.open:
                self._free.append(connection)
            return answer

    async def get(self, request: bytes, timeout: float = 60.0) -> Any:
        """The decoded body of an answer that must be 200."""
        return msgspec.json.decode((await self.get_raw(request, timeout)).body)

    async def get_raw(self, request: bytes, timeout: float = 60.0) -> Answer:
        """An answer that must be 200."""
        answer = await self.ask(request, timeout)
        if answer.status != 200:
            raise RefusedError(request.partition(b" HTTP")[0].decode(), answer)
        return answer

    def close(self) -> None:
        """Close what is open."""
        while self._free:
            self._free.pop().close()

    def _take(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                return connection
        return None


async def each(items: Iterable[T], call: Callable[[T], Awaitable[U]], width: int = 8) -> list[U]:
    """`call` for each item, `width` at a time, the results in the order of the items."""
    waiting = list(enumerate(items))[::-1]
    results: dict[int, U] = {}

    async def lane() -> None:
        while waiting:
            index, item = waiting.pop()
            results[index] = await call(item)

    lanes = [asyncio.ensure_future(lane()) for _ in range(min(width, len(waiting)))]
    try:
        await asyncio.gather(*lanes)
    finally:
        for task in lanes:
            task.cancel()
    return [results[index] for index in range(len(results))]
