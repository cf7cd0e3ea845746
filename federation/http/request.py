# SPDX-License-Identifier: Apache-2.0
"""One request on a connection: its body as it arrives, the handler's run, its answer.

It is twisted.web's request without what costs time and is not needed here: no form is parsed from a body, no
tree of resources is walked, and a handler that does not have to wait is answered in one go.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import tempfile
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from io import BytesIO
from typing import Any, BinaryIO, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers

from federation.errors import MatrixError, MissingToken, TooLarge, Unavailable, Unrecognized
from federation.http import compression
from federation.http.access_log import next_request_id, request_id
from federation.http.admission import access_token
from federation.http.dispatch import Match
from federation.http.endpoint import DEFAULT_MAX_BODY, Answer, Auth, Endpoint, Requester, Upload
from federation.http.errors import error_answer
from federation.http.request_counts import RequestCounts
from federation.http.service import Service
from federation.http.writing import ClientGoneError, write_answer, write_preflight

logger = logging.getLogger(__name__)

_IN_MEMORY = 64 * 1024
"""Bytes of an upload that are kept in memory before it goes to a file."""

_OVERSHOOT = 256 * 1024
"""Bytes beyond the limit from which on the answer does not wait for the rest of the body."""

_LINGER = 64 * 1024 * 1024
"""Bytes beyond the limit that are read and thrown away: most clients first send all, then read."""

_CLIENT_GONE = 499


class SiteOfRequest(Protocol):
    """What a request needs of the site that it came through."""

    service: Service
    software: bytes
    x_forwarded: bool
    counts: RequestCounts

    def log(self, request: Any) -> None:
        """Count an answered request, and note it in the access log."""

    def turn(self) -> Deferred[None]:
        """Fires when the reactor has looked after everybody else."""

    def in_thread(self, work: Callable[[bytes], bytes], body: bytes) -> Deferred[bytes]:
        """Run `work` beside the reactor."""


_Request: Any = http.Request  # untyped for the most part


class SiteRequest(_Request):  # type: ignore[misc]
    """A request to a `Site`. What handlers may use of it is `endpoint.Request`."""

    requester: Requester | None = None
    gone = False
    identifier = "-"
    hops = 0

    def __init__(self, channel: Any, *_queued: object) -> None:
        # http.Request would ask the socket for both addresses, and make what hardly any request has.
        self.channel = channel
        self.transport = channel.transport
        self.site: SiteOfRequest = channel.site
        self.software = self.site.software
        self.notifications: list[Deferred[None]] = []
        self.requestHeaders = Headers()
        self.responseHeaders = Headers()
        self.cookies: list[bytes] = []
        self.queued = False
        self.content: BytesIO | None = None
        self.code = 0
        self._peer: IAddress = channel.peer
        self._match: Match | None = None
        self._refusal: MatrixError | None = None
        self._query = b""
        self._limit = 0
        self._length = 0
        self._parts: list[bytes] = []
        self._file: BinaryIO | None = None
        self.answered_early = False
        self._running: Deferred[None] | None = None
        self.began = 0.0

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint that was asked for, if there is one."""
        return None if self._match is None else self._match.route.endpoint

    # What the handlers use

    @property
    def client_address(self) -> str:
        """The client's IP address; empty on a UNIX socket without `X-Forwarded-For`.

        Proxies append to the header, so the last address is the one that the nearest proxy vouches for.
        """
        if self.site.x_forwarded:
            values = self.requestHeaders.getRawHeaders(b"X-Forwarded-For")
            if values and (forwarded := _ip_address(values[-1].rpartition(b",")[2])):
                return forwarded
        return getattr(self._peer, "host", None) or ""

    def header(self, name: str) -> str | None:
        """The last value of a request header."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"))
        return values[-1].decode("utf-8", "replace") if values else None

    def body(self) -> bytes:
        """The body as it came."""
        if self._file is not None:
            self._file.seek(0)
            return self._file.read()
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def upload(self) -> Upload:
        """The body as a file that stands at its beginning."""
        if self._file is None:
            self._file = BytesIO(self.body())
        self._file.seek(0)
        return Upload(self._file, self._length)

    # The request as it arrives; called by the channel

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """The headers are here: find the endpoint, and with it how long the body may be."""
        self.began = time.perf_counter()
        self.method, uri = self.channel.command, self.channel.target
        self.uri = uri
        self.path, _, self._query = uri.partition(b"?")
        self._limit = DEFAULT_MAX_BODY
        if self.method == b"OPTIONS":
            return
        try:
            self._match = self.site.service.dispatch.match(self.method, self.path)
            endpoint = self._match.route.endpoint
            self._limit = endpoint.max_body
            # A stranger's large body need not be kept to find out that they have no token.
            needs_token = endpoint.body is Upload and endpoint.auth is Auth.REQUIRED
            if needs_token and access_token(self, self._query) is None:
                raise MissingToken
        except MatrixError as error:
            self._refusal = error
        if length is not None and length > self._limit:
            self._refuse_body()
            if length > self._limit + _OVERSHOOT:
                self.answer_early()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """A part of the body; what is too much is thrown away."""
        self._length += len(data)
        if self._length > self._limit or self._refusal is not None:
            self._discard()
        else:
            self._store(data)

    def requestReceived(self, _command: bytes, _path: bytes, version: bytes) -> None:  # noqa: N802
        """The request is here as a whole."""
        self.clientproto = version
        if self.answered_early:
            self._finish()
        elif self.method == b"OPTIONS":
            write_preflight(self)
            self._finish()
        else:
            self._run()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The client has gone: reads stop at once, writes go on to their end."""
        self.gone = True
        running, self._running = self._running, None
        super().connectionLost(reason)
        self._close_file()
        if running is not None and self.method in (b"GET", b"HEAD"):
            running.cancel()

    # The answer; called by `write_answer`

    def accepts_gzip(self) -> bool:
        """Whether the client takes gzip."""
        values = self.requestHeaders.getRawHeaders(b"Accept-Encoding")
        return values is not None and compression.accepts_gzip(values)

    def takes_chunks(self) -> bool:
        """Whether the client knows chunked bodies."""
        return self.clientproto == b"HTTP/1.1"

    def stays_open(self) -> bool:
        """Whether the connection is kept for the next request."""
        return bool(self.channel.persistent)

    def close_after(self) -> None:
        """Close the connection after this answer."""
        self.channel.persistent = False

    def begin(self, status: int) -> None:
        """Note that an answer of this status begins."""
        self.code = status
        self.startedWriting = 1

    def send(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        self.sentLength += len(data)
        self.transport.write(data)

    def turn(self) -> Deferred[None]:
        """Fires when the reactor has looked after everybody else."""
        return self.site.turn()

    def in_thread(self, work: Callable[[bytes], bytes], body: bytes) -> Deferred[bytes]:
        """Run `work` beside the reactor."""
        return self.site.in_thread(work, body)

    # The rest of twisted.web's interface that would need what this class does not keep

    @property
    def client(self) -> IAddress:
        """The peer of the connection."""
        return self._peer

    @property
    def host(self) -> IAddress:
        """Our end of the connection."""
        return cast(IAddress, self.transport.getHost())

    @property
    def received_cookies(self) -> dict[bytes, bytes]:
        """The cookies that the client sent."""
        pairs = b";".join(self.requestHeaders.getRawHeaders(b"Cookie", ())).split(b";")
        return {
            name.strip(): value for name, found, value in (pair.partition(b"=") for pair in pairs) if found
        }

    def unregisterProducer(self) -> None:  # noqa: N802
        """Leave the producer alone again, unless the connection took it along."""
        self.producer = None
        if self.channel is not None:
            self.channel.unregisterProducer()

    # How it runs

    def _run(self) -> None:
        """Start the handler. One that does not wait costs no Deferred."""
        context = copy_context()
        self.identifier = next_request_id(self.method)
        context.run(request_id.set, self.identifier)
        coroutine = self._respond()
        try:
            awaited = context.run(coroutine.send, None)
        except StopIteration:
            return
        continued: Any = _continued(awaited, coroutine)
        self._running = context.run(Deferred.fromCoroutine, continued)
        self._running.addErrback(_log_failure)

    async def _respond(self) -> None:
        counts = self.site.counts
        counts.in_flight += 1
        try:
            await write_answer(self, await self._answer())
        except ClientGoneError:
            self.gone = True
        except Exception as error:
            await self._failed(error)
        finally:
            counts.in_flight -= 1
        self._finish()

    async def _answer(self) -> Answer:
        if self._refusal is not None or self._match is None:
            return error_answer(self._refusal or Unrecognized("There is no such endpoint"))
        try:
            return await self.site.service.answer(self._match, self, self._query)
        except CancelledError:
            if self.gone:
                raise ClientGoneError from None
            return error_answer(Unavailable("The server is stopping"))
        except Exception as error:
            return error_answer(error)

    async def _failed(self, error: Exception) -> None:
        """An answer could not be written: say so if its head is not out yet, cut the connection if it is."""
        if self.gone:
            return
        if not self.startedWriting:
            await write_answer(self, error_answer(error))
            return
        logger.error("An answer broke off", exc_info=error)
        self.gone = True
        self.transport.abortConnection()

    def _finish(self) -> None:
        self._running = None
        self._close_file()
        if not self.gone:
            self.finish()
            return
        if not self.startedWriting:
            self.code = _CLIENT_GONE
        self.site.log(self)

    # Bodies that are too large, and large ones

    @property
    def refused(self) -> bool:
        """Whether the request will be answered with an error without looking at its body."""
        return self._refusal is not None

    def answer_early(self) -> None:
        """Answer before the body has arrived, and end the connection: what follows is no request."""
        assert self._refusal is not None
        self.answered_early = True
        self.close_after()
        try:
            write_answer(self, error_answer(self._refusal)).send(None)
        except StopIteration:
            return
        raise AssertionError("an error is written without waiting")

    def _refuse_body(self) -> None:
        if self._refusal is None:
            self._refusal = TooLarge(f"The body is larger than {self._limit} bytes")

    def _discard(self) -> None:
        self._parts.clear()
        self._close_file()
        if self._length > self._limit:
            self._refuse_body()
        if self._length > self._limit + _OVERSHOOT and not self.answered_early:
            self.answer_early()
        if self._length > self._limit + _LINGER:
            self.transport.loseConnection()

    def _store(self, data: bytes) -> None:
        """Keep a part of the body, an upload's in a file from `_IN_MEMORY` bytes on."""
        if self._file is None:
            self._parts.append(data)
            if self._length <= _IN_MEMORY or self._match is None:
                return
            if self._match.route.endpoint.body is not Upload:
                return
        try:
            if self._file is None:
                self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
                data = b"".join(self._parts)
                self._parts.clear()
            self._file.write(data)
        except OSError as error:
            logger.error("An upload cannot be stored: %s", error)
            self._refusal = Unavailable("The upload cannot be stored at present")
            self._discard()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _continued(awaited: Any, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """The rest of a coroutine whose first step waits for `awaited`."""
    while True:
        try:
            result = yield awaited
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step: Callable[[], Any] = functools.partial(coroutine.throw, error)
        else:
            step = functools.partial(coroutine.send, result)
        try:
            awaited = step()
        except StopIteration:
            return


def _log_failure(failure: Failure) -> None:
    logger.error("A request broke off\n%s", failure.getTraceback())


def _ip_address(text: bytes) -> str | None:
    """An address as proxies write it: with a port, or in brackets, at times."""
    host = text.strip().decode("ascii", "replace")
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
