# SPDX-License-Identifier: Apache-2.0
"""The load generator reads and counts rightly. Run by name: `pytest tests/bench/test_load.py`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from tests.bench.load.client import Client, RefusedError, each
from tests.bench.load.closed_loop import closed_loop
from tests.bench.load.connection import Address, Answer, connections
from tests.bench.load.percentiles import percentile
from tests.bench.load.requests import request

T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_ASK = request("GET", "/x")


def pieces_of(pieces: Sequence[bytes], pause: float = 0.0) -> Serve:
    """A server that answers every request with these pieces, written one by one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)

    return serve


def with_server(serve: Serve, use: Callable[[Address], Awaitable[T]]) -> T:
    """What `use` returns while `serve` listens."""
    serving: list[asyncio.Future[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.ensure_future(accept(reader, writer)))

    async def go() -> T:
        async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
            result = await use(Address(*server.sockets[0].getsockname()))
            await asyncio.wait_for(asyncio.gather(*serving), 5)
            return result

    return asyncio.run(go())


async def ask_twice(address: Address) -> list[Answer]:
    async with connections(address, 1) as (connection,):
        return [await connection.ask(_ASK), await connection.ask(_ASK)]


@pytest.mark.parametrize(
    ("wire", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 404 Not Found\r\nX: 1\r\ncontent-length:0\r\n\r\n", 404, b""),
        (b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", 204, b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\nC;x=y\r\n wide\r\nworld\r\n0\r\n\r\n",
            200,
            b"hello wide\r\nworld",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_an_answer_is_read_however_it_is_cut(wire: bytes, status: int, body: bytes, size: int) -> None:
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    answers = with_server(pieces_of(pieces), ask_twice)
    assert answers == [Answer(status, body)] * 2


def test_a_connection_that_breaks_is_status_0() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    answers = with_server(serve, ask_twice)
    assert [answer.status for answer in answers] == [0, 0]


def test_a_closed_loop_counts_what_its_sources_hold() -> None:
    async def use(address: Address) -> None:
        tally = await closed_loop(address, [iter([_ASK] * 30), iter([_ASK] * 12)], 30.0)
        assert tally.answers == len(tally.latencies) == 42
        assert list(tally.last) == [b"ok", b"ok"]
        assert min(tally.latencies) >= 0.001
        assert tally.seconds >= 30 * 0.001

    with_server(pieces_of([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[:-1], b"k"], 0.001), use)


def test_a_closed_loop_ends_with_its_window_and_does_not_count_the_warm_up() -> None:
    async def use(address: Address) -> None:
        tally = await closed_loop(address, [itertools.repeat(_ASK)], 0.3, warm_up=0.3)
        assert tally.answers > len(tally.latencies) > 0
        assert 0.3 <= tally.seconds <= 5.0
        assert tally.rate == pytest.approx(len(tally.latencies) / tally.seconds)

    with_server(pieces_of([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], 0.001), use)


def test_an_error_is_no_figure() -> None:
    async def use(address: Address) -> None:
        client = Client(address)
        with pytest.raises(RefusedError, match="429"):
            await closed_loop(address, [itertools.repeat(_ASK)], 1.0)
        with pytest.raises(RefusedError, match="GET /x: 429 later"):
            await client.get(_ASK)
        client.close()
        await asyncio.sleep(0)

    with_server(pieces_of([b"HTTP/1.1 429 Too Many\r\nContent-Length: 5\r\n\r\nlater"]), use)


def test_each_keeps_the_order_and_the_width() -> None:
    running, most = 0, 0

    async def call(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002 if number % 2 else 0.001)
        running -= 1
        return number * 2

    assert asyncio.run(each(range(20), call, 3)) == [number * 2 for number in range(20)]
    assert most == 3


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3, 1, 2], 0.5, 2), ([1], 0.99, 1), (range(100), 0.99, 99), (range(1, 11), 0.5, 6), ([5, 5], 1.0, 5)],
)
def test_percentiles(values: Sequence[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was answered"):
        percentile([], 0.5)
