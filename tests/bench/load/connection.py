# SPDX-License-Identifier: Apache-2.0
"""One keep-alive HTTP/1.1 connection with one request in flight, and no more parsing than an answer needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import attrs

#: Called with the status (0: the connection broke) and the body, from within the reading of the socket.
Done = Callable[[int, bytes], None]

_HEAD_END = b"\r\n\r\n"
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_LENGTH = b"\r\ncontent-length:"


@attrs.frozen
class Address:
    """Where a server under test listens."""

    host: str
    port: int


@attrs.frozen
class Answer:
    """A status and a body; status 0 stands for a connection that broke."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One connection; `send` calls back, `ask` awaits."""

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._buffer = bytearray()
        self._body_at = 0
        self._ends_at = -1
        self._chunks: _Chunks | None = None

    def send(self, request: bytes, done: Done) -> None:
        """Write `request`, the whole bytes of an HTTP request, and call `done` when its answer is there."""
        if not self.open or self._transport is None:
            done(0, b"the connection is closed")
            return
        self._done = done
        self._transport.write(request)

    async def ask(self, request: bytes) -> Answer:
        """Like `send`, for those who can wait."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(status: int, body: bytes) -> None:
            if not future.done():
                future.set_result(Answer(status, body))

        self.send(request, done)
        return await future

    def close(self) -> None:
        """Close it; an answer that is still expected never comes."""
        self._done = None
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        done, self._done = self._done, None
        if done is not None:
            done(0, str(exc or "the server closed the connection").encode())

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if self._body_at == 0 and not self._read_head(buffer):
            return
        if self._chunks is not None:
            if self._chunks.read(buffer):
                self._finish(bytes(self._chunks.body))
        elif len(buffer) >= self._ends_at:
            self._finish(bytes(buffer[self._body_at : self._ends_at]))

    def _read_head(self, buffer: bytearray) -> bool:
        end = buffer.find(_HEAD_END)
        if end < 0:
            return False
        self._body_at = end + 4
        head = bytes(buffer[: end + 2]).lower()
        at = head.find(_LENGTH)
        if at >= 0:
            start = at + len(_LENGTH)
            self._ends_at = self._body_at + int(head[start : head.index(b"\r", start)])
        elif _CHUNKED in head:
            self._chunks = _Chunks(self._body_at)
        else:
            self._ends_at = self._body_at
        return True

    def _finish(self, body: bytes) -> None:
        status = int(self._buffer[9:12])
        self._buffer.clear()
        self._body_at, self._ends_at, self._chunks = 0, -1, None
        done, self._done = self._done, None
        if done is not None:
            done(status, body)


class _Chunks:
    """The reading of a chunked body, which goes on where it stood when more arrives."""

    def __init__(self, at: int) -> None:
        self.body = bytearray()
        self._at = at

    def read(self, buffer: bytearray) -> bool:
        """Take what is complete; True when the last chunk is."""
        while True:
            line_end = buffer.find(b"\r\n", self._at)
            if line_end < 0:
                return False
            size = int(bytes(buffer[self._at : line_end]).partition(b";")[0], 16)
            after = line_end + 2 + size + 2
            if len(buffer) < after:
                return False
            self.body += buffer[line_end + 2 : after - 2]
            self._at = after
            if size == 0:
                return True


async def connect(address: Address) -> Connection:
    """Open one connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, address.host, address.port)
    return connection


@contextlib.asynccontextmanager
async def connections(address: Address | Sequence[Address], count: int) -> AsyncIterator[list[Connection]]:
    """Open `count` connections, at most 100 at once, and close them in the end.

    Several addresses take turns.
    """
    addresses = [address] if isinstance(address, Address) else address
    opened: list[Connection] = []
    try:
        while len(opened) < count:
            numbers = range(len(opened), min(len(opened) + 100, count))
            turns = [addresses[number % len(addresses)] for number in numbers]
            opened += await asyncio.gather(*(connect(turn) for turn in turns))
        yield opened
    finally:
        for connection in opened:
            connection.close()
        await asyncio.sleep(0)  # the loop closes the sockets
