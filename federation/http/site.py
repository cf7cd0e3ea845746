# SPDX-License-Identifier: Apache-2.0
"""The factory of connections for one or more listening ports, and what its connections share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.threads import deferToThreadPool
from twisted.web.http import HTTPFactory

from federation.http import access_log
from federation.http.channel import Channel
from federation.http.connection_shares import ConnectionShares
from federation.http.request import SiteRequest
from federation.http.request_counts import RequestCounts
from federation.http.service import Service

_SWEEP_SECONDS = 5.0


_HTTPFactory: Any = HTTPFactory  # its types do not allow for another channel


class Site(_HTTPFactory):  # type: ignore[misc]
    """Serves a `Service` over HTTP/1.1.

    `x_forwarded` takes the client's address from `X-Forwarded-For`; only for ports that clients cannot reach
    but through a proxy. `software` is the answers' `Server` header. `shares` is told of each connection.
    """

    noisy = False
    protocol = Channel

    def __init__(
        self,
        *,
        reactor: Any,
        service: Service,
        x_forwarded: bool = False,
        software: str = "Trellis",
        counts: RequestCounts | None = None,
        shares: ConnectionShares | None = None,
    ) -> None:
        super().__init__(timeout=None, reactor=reactor)
        self.service = service
        self.x_forwarded = x_forwarded
        self.software = software.encode("ascii")
        self.counts = counts or RequestCounts()
        self._shares = shares
        self.seconds: Callable[[], float] = reactor.seconds
        self.stopping = False
        self._channels: set[Channel] = set()
        self._sweep_call: Any = None
        self._wait_for_the_last: list[Deferred[None]] = []

    def buildProtocol(self, _addr: IAddress | None) -> Channel:  # noqa: N802
        """A new connection."""
        channel = Channel()
        channel.site = channel.factory = self
        channel.callLater = self.reactor.callLater
        return channel

    def startFactory(self) -> None:  # noqa: N802
        """A port begins to listen."""
        self._sweep()

    def stopFactory(self) -> None:  # noqa: N802
        """No port listens any more."""
        if self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None

    # What connections and requests ask for

    def opened(self, channel: Channel) -> None:
        """A client has connected."""
        self._channels.add(channel)
        self.counts.connections += 1
        if self._shares is not None:
            self._shares.opened()

    def closed(self, channel: Channel) -> None:
        """A connection is gone."""
        self._channels.discard(channel)
        self.counts.connections -= 1
        if self._shares is not None:
            self._shares.closed()
        if self._wait_for_the_last and not self._channels:
            waiting, self._wait_for_the_last = self._wait_for_the_last, []
            for emptied in waiting:
                emptied.callback(None)

    def log(self, request: SiteRequest) -> None:
        """Count an answered request, and note it in the access log."""
        seconds = time.perf_counter() - request.began
        self.counts.add(request.endpoint, request.method, request.code, seconds)
        if access_log.logger.isEnabledFor(logging.INFO):
            access_log.log_request(
                method=request.method,
                path=request.path,
                status=request.code,
                seconds=seconds,
                length=request.sentLength,
                requester=request.requester.user_id if request.requester is not None else None,
                client_address=request.client_address,
                identifier=request.identifier,
            )

    def turn(self) -> Deferred[None]:
        """Fires when the reactor has looked after everybody else."""
        turn: Deferred[None] = Deferred()
        self.reactor.callLater(0, turn.callback, None)
        return turn

    def in_thread(self, work: Callable[[bytes], bytes], body: bytes) -> Deferred[bytes]:
        """Run `work` beside the reactor."""
        reactor: Any = self.reactor
        return deferToThreadPool(reactor, reactor.getThreadPool(), work, body)

    # The end

    def let_go(self) -> None:
        """Close each connection after its next answer, also those that are idle until then."""
        self.stopping = True
        for channel in self._channels:
            channel.let_go()

    def drain(self) -> Deferred[None]:
        """Close idle connections, the others after their answers; fires when none is left."""
        self.stopping = True
        for channel in list(self._channels):
            channel.close()
        return self.emptied()

    def emptied(self) -> Deferred[None]:
        """Fires when no connection is left."""
        emptied: Deferred[None] = Deferred()
        if self._channels:
            self._wait_for_the_last.append(emptied)
        else:
            emptied.callback(None)
        return emptied

    def abort(self) -> int:
        """Cut all connections; returns how many there were."""
        channels = list(self._channels)
        for channel in channels:
            channel.transport.abortConnection()
        return len(channels)

    def _sweep(self) -> None:
        """End the connections whose deadline has passed."""
        now = self.seconds()
        for channel in [channel for channel in self._channels if channel.deadline < now]:
            channel.expire()
        self._sweep_call = self.reactor.callLater(_SWEEP_SECONDS, self._sweep)
