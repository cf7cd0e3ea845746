# SPDX-License-Identifier: Apache-2.0
"""One request and its whole answer, within bounds of time and bytes."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from federation.discovery.target import Target
from federation.transport.connections import LARGEST_HEADERS, ConnectionPool, PeerConnection
from federation.transport.errors import AnswerTooLarge, NoAnswer
from federation.transport.reasons import reason_of

HEADER_SECONDS = 30.0
"""How long an answer may let wait for the end of its headers, where the caller allows as much."""

LARGEST_REFUSAL = 64 * 1024
"""Bytes that are read of an answer that is no success; of a longer one, none count."""

_make_agent: Any = Agent.usingEndpointFactory
_IDEMPOTENT = (b"GET", b"PUT")


@attrs.frozen
class Asking:
    """A request: `uri` is the path with its query, in ASCII; `largest` how many bytes of body are read."""

    method: bytes
    uri: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = None
    largest: int = 64 * 1024


@attrs.frozen
class Answered:
    """An answer: its body whole, or empty where a refusal's was too long."""

    status: int
    headers: Headers
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class Exchange:
    """Sends requests over the connections of `pool`."""

    def __init__(self, *, pool: ConnectionPool, reactor: Any, header_seconds: float = HEADER_SECONDS) -> None:
        self._pool = pool
        self._reactor = reactor
        self._header_seconds = header_seconds

    async def ask(self, target: Target, asking: Asking) -> Answered:
        """The answer of `target`, of any status. The whole has no bound of time; cancelling ends it.

        A request that may be repeated goes over a connection that waits, and once more over a new one if that
        turns out to be dead; another one always gets a new one.
        Raises `ConnectionFailed`, `NoAnswer`, `AnswerTooLarge`.
        """
        if asking.method in _IDEMPOTENT:
            waiting = self._pool.waiting(target)
            if waiting is not None:
                try:
                    return await self._over(waiting, target, asking)
                except NoAnswer as error:
                    if not error.unheard:
                        raise
        return await self._over(await self._pool.new(target), target, asking)

    async def _over(self, connection: PeerConnection, target: Target, asking: Asking) -> Answered:
        given: Any = _GivenConnection(connection)
        agent = _make_agent(self._reactor, given, pool=given)
        headers = Headers()
        headers.addRawHeader(b"Host", target.host_header)
        for name, value in asking.headers:
            headers.addRawHeader(name, value)
        producer = None if asking.body is None else _Bytes(asking.body)
        url = b"https://" + target.host_header + asking.uri
        limit = self._reactor.callLater(self._header_seconds, connection.abort_now)
        try:
            response: Any = await agent.request(asking.method, url, headers, producer)
        except (ResponseFailed, RequestTransmissionFailed) as error:
            if _is_cancelled(error):
                raise CancelledError from None
            if not limit.active():
                raise NoAnswer("no answer comes in time") from None
            if connection.has_long_headers:
                raise AnswerTooLarge(f"the headers are longer than {LARGEST_HEADERS} bytes") from None
            raise NoAnswer(reason_of(error), unheard=connection.is_unheard) from None
        finally:
            if limit.active():
                limit.cancel()
        return await self._body_of(response, connection, asking.largest)

    async def _body_of(self, response: Any, connection: PeerConnection, largest: int) -> Answered:
        is_success = 200 <= response.code < 300
        body = _Body(connection, largest if is_success else LARGEST_REFUSAL)
        response.deliverBody(body)
        try:
            content = await body.whole
        except AnswerTooLarge:
            if is_success:
                raise
            content = b""
        return Answered(response.code, response.headers, content)


def _is_cancelled(error: Any) -> bool:
    """Whether twisted says by `error` that nobody waits for the answer any longer."""
    return any(isinstance(reason.value, CancelledError) for reason in error.reasons)


@implementer(IAgentEndpointFactory)
class _GivenConnection:
    """To an agent, a pool that has the one connection that its request is to go over."""

    persistent = True

    def __init__(self, connection: PeerConnection) -> None:
        self._connection = connection

    def endpointForURI(self, _uri: Any) -> None:  # noqa: N802
        return None

    def getConnection(self, _key: Any, _endpoint: Any) -> Deferred[PeerConnection]:  # noqa: N802
        return succeed(self._connection)


@implementer(IBodyProducer)
class _Bytes:
    """A body that is in memory whole."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:  # noqa: N802
        consumer.write(self._body)
        return succeed(None)

    def stopProducing(self) -> None:  # noqa: N802
        """All is written at once, so there is nothing to stop."""

    def pauseProducing(self) -> None:  # noqa: N802
        """All is written at once, so there is nothing to pause."""

    def resumeProducing(self) -> None:  # noqa: N802
        """All is written at once, so there is nothing to resume."""


class _Body(Protocol):
    """Gathers a body of at most `largest` bytes; `whole` fires with it. A longer one ends the connection."""

    def __init__(self, connection: PeerConnection, largest: int) -> None:
        self._connection = connection
        self._largest = largest
        self._size = 0
        self._pieces: list[bytes] = []
        self.whole: Deferred[bytes] = Deferred(lambda _whole: connection.abort_now())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.whole.called:
            return
        self._size += len(data)
        if self._size > self._largest:
            self._pieces.clear()
            self.whole.errback(AnswerTooLarge(f"the answer is longer than {self._largest} bytes"))
            self._connection.abort_now()
        else:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        if self.whole.called:
            return
        # Without a length the end of the connection is that of the body.
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(NoAnswer("the answer breaks off"))
