# SPDX-License-Identifier: Apache-2.0
"""One connection of a client: twisted.web's HTTP/1.1 parser with bounds, deadlines and errors in JSON."""

from __future__ import annotations

import enum
import math
from typing import Any

from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from federation.http.request import SiteRequest
from federation.http.writing import bad_request

IDLE_SECONDS = 60.0
"""How long a connection may wait for its next request, or a body for its next part."""

HEADERS_SECONDS = 30.0
"""How long the request line and the headers may take together."""

STALL_SECONDS = 60.0
"""How long a client may take none of its answer."""

_receive: Any = LineReceiver.dataReceived  # without HTTPChannel's, which restarts a timer

_CLOSE_SECONDS = 15.0  # for the last bytes and the client's own close


class Phase(enum.Enum):
    """What a connection is about."""

    IDLE = enum.auto()
    HEADERS = enum.auto()
    BODY = enum.auto()
    SERVING = enum.auto()
    CLOSING = enum.auto()


_HTTPChannel: Any = HTTPChannel  # untyped for the most part


class Channel(_HTTPChannel):  # type: ignore[misc]
    """A connection that belongs to a `Site`.

    The site looks at the `deadline` of all its connections every few seconds, which costs less than a timer
    that every request stops and starts.
    """

    maxHeaders = 100  # noqa: N815
    totalHeadersSize = 16 * 1024  # noqa: N815
    MAX_LENGTH = 16 * 1024
    timeOut = None  # noqa: N815
    requestFactory = SiteRequest  # noqa: N815

    phase = Phase.IDLE
    deadline = math.inf
    """In the seconds of the site's clock."""

    site: Any
    peer: IAddress
    command = b""
    target = b""

    def connectionMade(self) -> None:  # noqa: N802
        """A client has connected."""
        super().connectionMade()
        if ITCPTransport.providedBy(self.transport):
            # Without it small answers over TLS wait 40 ms; twisted does it since 24.3 only.
            self.transport.setTcpNoDelay(True)
        self.peer = self.transport.getPeer()
        self._await(Phase.IDLE, IDLE_SECONDS)
        self.site.opened(self)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The connection is gone."""
        self.site.closed(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes of a request. The time for the headers runs from the first; a body may pause."""
        if self.phase is Phase.IDLE:
            self._await(Phase.HEADERS, HEADERS_SECONDS)
        elif self.phase is Phase.BODY:
            self._await(Phase.BODY, IDLE_SECONDS)
        _receive(self, data)

    def allHeadersReceived(self) -> None:  # noqa: N802
        """The headers are here; the body follows, unless its sender waits for our consent."""
        request = self.requests[-1]
        self.command, self.target = self._command, self._path
        persistent = self.checkPersistence(request, self._version)
        self.persistent = persistent and not self.site.stopping
        self._await(Phase.BODY, IDLE_SECONDS)
        request.gotLength(self.length)
        expect = request.requestHeaders.getRawHeaders(b"Expect")
        if expect and expect[0].lower() == b"100-continue" and self._version == b"HTTP/1.1":
            if not request.refused:
                self._send100Continue()
            elif not request.answered_early:
                request.answer_early()

    def allContentReceived(self) -> None:  # noqa: N802
        """The request is here as a whole."""
        self.phase, self.deadline = Phase.SERVING, math.inf
        super().allContentReceived()

    def requestDone(self, request: SiteRequest) -> None:  # noqa: N802
        """The answer is written."""
        if self.persistent:
            self._await(Phase.IDLE, IDLE_SECONDS)
        else:
            self._await(Phase.CLOSING, _CLOSE_SECONDS)
        super().requestDone(request)

    def pauseProducing(self) -> None:  # noqa: N802
        """The client takes less than it is sent."""
        if self.phase is Phase.SERVING:
            self.deadline = self.site.seconds() + STALL_SECONDS
        super().pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802
        """The client has taken what it was sent."""
        if self.phase is Phase.SERVING:
            self.deadline = math.inf
        super().resumeProducing()

    def let_go(self) -> None:
        """Close the connection after its answer, or the next one; the site is stopping."""
        # Before its headers are complete a request would be thrown away; they look at the site themselves.
        if self.phase in (Phase.BODY, Phase.SERVING):
            self.persistent = False

    def close(self) -> None:
        """Close an idle connection now, another one after its answer; the site is stopping."""
        self.let_go()
        if self.phase is Phase.IDLE:
            self.expire()

    def expire(self) -> None:
        """The deadline has passed."""
        if self.phase is Phase.IDLE:
            self._await(Phase.CLOSING, _CLOSE_SECONDS)
            self.loseConnection()
        else:
            self.transport.abortConnection()

    def lineLengthExceeded(self, _line: bytes) -> None:  # noqa: N802
        """The request line or a header is too long."""
        self._refuse(431, "M_TOO_LARGE", "The request line and the headers are too long")

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self.lineLengthExceeded(b"")
        else:
            self._refuse(400, "M_UNKNOWN", "The request is not HTTP")

    def _refuse(self, status: int, errcode: str, text: str) -> None:
        self.site.counts.add(None, b"", status, 0.0)
        self.transport.write(bad_request(status, errcode, text, self.site.software))
        self._await(Phase.CLOSING, _CLOSE_SECONDS)
        self.loseConnection()

    def _await(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self.deadline = self.site.seconds() + seconds
