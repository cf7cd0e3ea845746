# SPDX-License-Identifier: Apache-2.0
"""A request and its answer on the way between two processes, and how the one that owns it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Literal

import msgspec
from twisted.internet.defer import CancelledError
from twisted.web.http_headers import Headers

from federation.http.access_log import request_id
from federation.http.endpoint import (
    Answer,
    AnswerHeaders,
    Content,
    Json,
    JsonStream,
    Page,
    RawJson,
    Redirect,
    Requester,
    Upload,
)
from federation.http.errors import error_answer
from federation.http.service import ReceivedRequest, Service
from federation.http.writing import encode_json
from federation.processes.link import Operation
from federation.processes.link_protocol import LARGEST_BODY

_HEADERS = (b"Authorization", b"Content-Type", b"User-Agent")
"""Those that decide about the answer. How it is written (compression, say) is the first process's matter."""

_LARGEST_ANSWER = LARGEST_BODY - 256 * 1024
"""Bytes of a body; the rest is for headers."""


class _AskedFor(msgspec.Struct, array_like=True, frozen=True):
    """A request, as far as the process that owns it must know it."""

    method: bytes
    uri: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    client_address: str
    content: bytes
    hops: int
    identifier: str


class _Answered(msgspec.Struct, array_like=True, frozen=True):
    """An answer; `kind` says how it is written. For a redirect, `content` is where to."""

    kind: Literal["json", "page", "redirect", "content"]
    status: int
    headers: AnswerHeaders
    content: bytes
    content_type: str = ""
    requester: tuple[str, int] | None = None
    """Whose token it was, by id and number."""


_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(_AskedFor).decode
_decode_answer = msgspec.msgpack.Decoder(_Answered).decode


# The process that received the request


def packed_request(request: ReceivedRequest) -> bytes:
    """What the owner must know of a request."""
    given = request.requestHeaders.getRawHeaders
    headers = tuple((name, value) for name in _HEADERS for value in given(name, ()))
    return _encode(
        _AskedFor(
            method=request.method,
            uri=request.uri,
            headers=headers,
            client_address=request.client_address,
            content=request.body(),
            hops=request.hops + 1,
            identifier=request.identifier,
        )
    )


def unpacked_answer(packed: bytes) -> tuple[Answer, Requester | None]:
    """The owner's answer, and who made the request (for the log: nothing but id and number is known)."""
    answered = _decode_answer(packed)
    who = answered.requester
    return _answer(answered), None if who is None else Requester(user_id=who[0], user=who[1])


def _answer(answered: _Answered) -> Answer:
    status, headers = answered.status, answered.headers
    if answered.kind == "json":
        return RawJson(answered.content, status, headers)
    if answered.kind == "page":
        return Page(answered.content.decode(), status, headers)
    if answered.kind == "redirect":
        return Redirect(answered.content.decode(), status, headers)
    return Content(answered.content_type, answered.content, status=status, headers=headers)


# The process that owns what it is about


class ForwardedRequest:
    """A request that another process received, as the handlers of this one see it."""

    def __init__(self, packed: bytes) -> None:
        """Raises msgspec's DecodeError."""
        asked = _decode_request(packed)
        self.method = asked.method
        self.uri = asked.uri
        self.path, _, self.query = asked.uri.partition(b"?")
        self.requestHeaders = Headers()
        for name, value in asked.headers:
            self.requestHeaders.addRawHeader(name, value)
        self.client_address = asked.client_address
        self.hops = asked.hops
        self.identifier = asked.identifier
        self.requester: Requester | None = None
        self._content = asked.content

    def header(self, name: str) -> str | None:
        """The last value of a request header."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"))
        return values[-1].decode("utf-8", "replace") if values else None

    def body(self) -> bytes:
        """The body as it came."""
        return self._content

    def upload(self) -> Upload:
        """The body as a file."""
        return Upload(BytesIO(self._content), len(self._content))


def serve(service: Service) -> Operation:
    """The operation that answers the requests which other processes hand over."""

    async def answer(packed: bytes) -> bytes:
        request = ForwardedRequest(packed)
        request_id.set(request.identifier)
        try:
            match = service.dispatch.match(request.method, request.path)
            return await _packed_answer(await service.answer(match, request, request.query), request)
        except CancelledError:
            raise
        except Exception as error:
            return await _packed_answer(error_answer(error), request)

    return answer


async def _packed_answer(answer: Answer, request: ForwardedRequest) -> bytes:
    requester = request.requester
    who = None if requester is None else (requester.user_id, requester.user)
    kind: Literal["json", "page", "redirect", "content"] = "json"
    content_type = ""
    if isinstance(answer, RawJson):
        content = answer.content
    elif isinstance(answer, Json):
        content = encode_json(answer.value)
    elif isinstance(answer, JsonStream):
        content = await _gathered(answer.parts, None)
    elif isinstance(answer, Page):
        kind, content = "page", answer.html.encode()
    elif isinstance(answer, Redirect):
        kind, content = "redirect", answer.location.encode()
    else:
        kind, content_type = "content", answer.content_type
        given = answer.content
        content = given if isinstance(given, bytes) else await _gathered(given, answer.length)
    if len(content) > _LARGEST_ANSWER:
        raise ValueError(f"an answer of {len(content)} bytes is too large for a link")
    return _encode(_Answered(kind, answer.status, answer.headers, content, content_type, who))


async def _gathered(parts: AsyncIterator[bytes], length: int | None) -> bytes:
    """All parts. Raises ValueError if they are too large, or not of the promised length."""
    gathered: list[bytes] = []
    size = 0
    try:
        async for part in parts:
            gathered.append(part)
            size += len(part)
            if size > _LARGEST_ANSWER:
                break
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()
    if length is not None and size != length:
        raise ValueError(f"the answer should have {length} bytes and has {size}")
    return b"".join(gathered)
