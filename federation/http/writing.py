# SPDX-License-Identifier: Apache-2.0
"""Answers onto the wire: heads, compression, back-pressure."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from federation.http.compression import SMALLEST, compress, stream_compressor
from federation.http.endpoint import (
    Answer,
    AnswerHeaders,
    Json,
    JsonStream,
    Page,
    RawJson,
    Redirect,
)

SLICE = 64 * 1024
"""Bytes that are compressed or handed to the transport at once."""

_LONGEST_TURN = 0.004  # seconds that a stream may work before others get their turn
_JSON = "application/json"
_encode = msgspec.json.Encoder().encode

# spec: client-server-api, "Web Browser Clients"
_CORS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization\r\n"
)
_PAGE_HEADERS: AnswerHeaders = (
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
)
_WITHOUT_BODY = (204, 304)
_NO_LINE_BREAKS = {ord(character): " " for character in "\r\n\0"}


class ClientGoneError(Exception):
    """The client closed the connection before it had its answer."""


class Sink(Protocol):
    """What answers are written to: a request whose client waits for it."""

    software: bytes
    method: bytes
    gone: bool

    def accepts_gzip(self) -> bool:
        """Whether the client takes gzip."""

    def takes_chunks(self) -> bool:
        """Whether the client knows chunked bodies; without, a stream ends with the connection."""

    def stays_open(self) -> bool:
        """Whether the connection is kept for the next request."""

    def close_after(self) -> None:
        """Close the connection after this answer."""

    def send(self, data: bytes) -> None:
        """Hand bytes to the transport."""

    def begin(self, status: int) -> None:
        """Note that an answer of this status begins."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        """Tell `producer` when to pause."""

    def unregisterProducer(self) -> None:  # noqa: N802
        """Leave the producer alone again."""

    def turn(self) -> Deferred[None]:
        """Fires when the reactor has looked after everybody else."""

    def in_thread(self, work: Callable[[bytes], bytes], body: bytes) -> Deferred[bytes]:
        """Run `work` beside the reactor."""


@attrs.frozen
class _Body:
    """An answer whose body is known."""

    status: int
    content_type: str
    content: bytes
    headers: AnswerHeaders


def encode_json(value: Any) -> bytes:
    """JSON as answers hold it."""
    return _encode(value)


async def write_answer(sink: Sink, answer: Answer) -> None:
    """Write `answer` and return when the transport has room again. Raises ClientGoneError."""
    if isinstance(answer, Json):
        body = _Body(answer.status, _JSON, _encode(answer.value), answer.headers)
    elif isinstance(answer, RawJson):
        body = _Body(answer.status, _JSON, answer.content, answer.headers)
    elif isinstance(answer, JsonStream):
        return await _write_parts(sink, answer.status, _JSON, answer.parts, None, answer.headers)
    elif isinstance(answer, Page):
        headers = (*_PAGE_HEADERS, *answer.headers)
        body = _Body(answer.status, "text/html; charset=utf-8", answer.html.encode(), headers)
    elif isinstance(answer, Redirect):
        body = _Body(answer.status, "", b"", (("Location", answer.location), *answer.headers))
    elif isinstance(answer.content, bytes):
        return await _write_known(sink, answer.status, answer.content_type, answer.content, answer.headers)
    else:
        return await _write_parts(
            sink, answer.status, answer.content_type, answer.content, answer.length, answer.headers
        )
    await _write_body(sink, body)
    return None


def write_preflight(sink: Sink) -> None:
    """The answer to `OPTIONS`, wherever it is sent. spec: client-server-api, "Web Browser Clients" """
    sink.begin(HTTPStatus.OK)
    sink.send(_head(sink, 200, "", (("Access-Control-Max-Age", "86400"),), 0))


def bad_request(status: int, errcode: str, text: str, software: bytes) -> bytes:
    """A whole answer to what cannot be parsed as HTTP; the connection is closed after it."""
    body = _encode({"errcode": errcode, "error": text})
    return b"%bDate: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        _fixed_head(status, _JSON, software),
        _date_at(int(time.time())),
        len(body),
        body,
    )


async def _write_body(sink: Sink, body: _Body) -> None:
    """Write a body that is worth compressing."""
    content, headers = body.content, body.headers
    if len(content) >= SMALLEST:
        headers = (*headers, ("Vary", "Accept-Encoding"))
        if sink.accepts_gzip():
            compressed = await _compressed(sink, content)
            if len(compressed) < len(content):
                content = compressed
                headers = (*headers, ("Content-Encoding", "gzip"))
    await _write_known(sink, body.status, body.content_type, content, headers)


async def _compressed(sink: Sink, content: bytes) -> bytes:
    if len(content) <= SLICE:
        return compress(content)
    return await sink.in_thread(compress, content)


async def _write_known(
    sink: Sink, status: int, content_type: str, content: bytes, headers: AnswerHeaders
) -> None:
    if sink.gone:
        raise ClientGoneError
    head = _head(sink, status, content_type, headers, len(content))
    sink.begin(status)
    if sink.method == b"HEAD":
        sink.send(head)
    elif len(content) <= SLICE:
        sink.send(head + content)
    else:
        sink.send(head)
        await _in_slices(sink, content)


async def _in_slices(sink: Sink, content: bytes) -> None:
    with Flow(sink) as flow:
        for start in range(0, len(content), SLICE):
            sink.send(content[start : start + SLICE])
            await flow.room()


async def _write_parts(
    sink: Sink,
    status: int,
    content_type: str,
    parts: AsyncIterator[bytes],
    length: int | None,
    headers: AnswerHeaders,
) -> None:
    """Write a body that comes in parts: chunked, unless its length is known or the client is an old one."""
    try:
        if sink.gone:
            raise ClientGoneError
        source = parts
        if content_type == _JSON and sink.accepts_gzip():
            source = _compress_parts(parts)
            headers = (*headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        chunked = length is None and sink.takes_chunks()
        if chunked:
            headers = (*headers, ("Transfer-Encoding", "chunked"))
        elif length is None:
            sink.close_after()
        # The head waits for the first part: an error in that one can still be answered.
        first = b"" if sink.method == b"HEAD" else await _first(source)
        head = _head(sink, status, content_type, headers, length)
        sink.begin(status)
        sink.send(head)
        if sink.method != b"HEAD":
            await _send_parts(sink, _counted(first, source, length), chunked)
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()


async def _first(parts: AsyncIterator[bytes]) -> bytes:
    # Not `anext` with a default: what that returns cannot be resumed after a Deferred (CPython 3.11 to 3.14).
    async for part in parts:
        return part
    return b""


async def _send_parts(sink: Sink, parts: AsyncIterator[bytes], chunked: bool) -> None:
    turn_began = time.monotonic()
    with Flow(sink) as flow:
        async for part in parts:
            if part:
                sink.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await flow.room()
            now = time.monotonic()
            if now - turn_began > _LONGEST_TURN:
                await sink.turn()
                turn_began = time.monotonic()
        if chunked:
            sink.send(b"0\r\n\r\n")
        await flow.room()


async def _counted(first: bytes, rest: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
    """All parts; raises ValueError if they are not of the promised length together."""
    total = len(first)
    yield first
    async for part in rest:
        total += len(part)
        if length is not None and total > length:
            break
        yield part
    if length is not None and total != length:
        raise ValueError(f"the answer should have {length} bytes and has {total}")


async def _compress_parts(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The parts in gzip format; what zlib keeps back goes out with a later one."""
    compressor = stream_compressor()
    async for part in parts:
        for start in range(0, len(part), SLICE):
            if compressed := compressor.compress(part[start : start + SLICE]):
                yield compressed
    yield compressor.flush()


@implementer(IPushProducer)
class Flow:
    """The back-pressure of one answer: `room` waits while the transport has more than it can send."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._paused: Deferred[None] | None = None

    def __enter__(self) -> Flow:
        if self._sink.gone:
            raise ClientGoneError
        self._sink.registerProducer(self, True)
        return self

    def __exit__(self, *_error: object) -> None:
        self._sink.unregisterProducer()

    async def room(self) -> None:
        """Return when the transport takes more. Raises ClientGoneError."""
        if self._paused is not None:
            await self._paused
        if self._sink.gone:
            raise ClientGoneError

    def pauseProducing(self) -> None:  # noqa: N802
        """The transport has more than it can send."""
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:  # noqa: N802
        """The transport has sent what it had."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is gone."""
        self._sink.gone = True
        self.resumeProducing()


def _head(sink: Sink, status: int, content_type: str, headers: AnswerHeaders, length: int | None) -> bytes:
    """Status line and headers, with the empty line after them."""
    head = b"%bDate: %b\r\n" % (_fixed_head(status, content_type, sink.software), _date_at(int(time.time())))
    if headers:
        head += b"".join(map(_header, headers))
    if content_type and not any(name == "Cache-Control" for name, _ in headers):
        head += b"Cache-Control: no-store\r\n"
    if not sink.stays_open():
        head += b"Connection: close\r\n"
    if length is not None and status not in _WITHOUT_BODY:
        return b"%bContent-Length: %d\r\n\r\n" % (head, length)
    return head + b"\r\n"


@functools.lru_cache(maxsize=256)
def _fixed_head(status: int, content_type: str, software: bytes) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    head = b"HTTP/1.1 %d %b\r\nServer: %b\r\n" % (status, phrase.encode(), software)
    return head + _CORS + (_header(("Content-Type", content_type)) if content_type else b"")


def _header(header: tuple[str, str]) -> bytes:
    name, value = header
    return f"{name}: {value.translate(_NO_LINE_BREAKS)}\r\n".encode()


@functools.lru_cache(maxsize=2)
def _date_at(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
