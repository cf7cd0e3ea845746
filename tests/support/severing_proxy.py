# SPDX-License-Identifier: Apache-2.0
"""A proxy before PostgreSQL that breaks the connection over which the write queue commits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from twisted.internet import reactor
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer

Moment = Literal["before", "begun", "after", "held"]
"""When the connection breaks: before the server gets the commit; when it has been at it for `BEGUN_SECONDS`;
when it has answered; or when the commit is on its way and arrives only after `release`."""

BEGUN_SECONDS = 0.3
"""A commit must take longer than this for the moment "begun"."""

_COMMIT = b"trellis_take_positions"


class _ToServer(ProxyClient):
    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.peer.severed:
            if self.peer.factory.moment_of_break == "after":
                self.peer.break_off()
        else:
            super().dataReceived(data)


class _ToServerFactory(ProxyClientFactory):
    protocol = _ToServer


class _FromClient(ProxyServer):
    clientProtocolFactory = _ToServerFactory  # noqa: N815
    severed = False

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        proxy = self.factory
        if proxy.moment is None or _COMMIT not in data:
            self.peer.transport.write(data)
            return
        self.severed = True
        proxy.moment_of_break, proxy.moment = proxy.moment, None
        proxy.sessions.append(self.peer.transport)
        if proxy.moment_of_break == "held":
            proxy.held = data
        elif proxy.moment_of_break != "before":
            self.peer.transport.write(data)
        if proxy.moment_of_break == "begun":
            reactor.callLater(BEGUN_SECONDS, self.break_off)
        elif proxy.moment_of_break != "after":
            self.break_off()

    def break_off(self) -> None:
        """Leave the client without an answer."""
        self.factory.stop_server()
        self.transport.unregisterProducer()  # else the other connection would be closed with this one
        self.peer.transport.unregisterProducer()
        self.transport.abortConnection()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        # The server must not learn that the client has gone.
        if not self.severed:
            super().connectionLost(reason)


class SeveringProxy(ProxyFactory):
    """Passes everything on; where `moment` is set, the connection of the next commit breaks at it."""

    protocol = _FromClient
    noisy = False

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__(arguments["host"], int(arguments["port"]))
        self.moment: Moment | None = None
        self.moment_of_break: Moment | None = None
        self.sessions: list[Any] = []
        self.held = b""
        self.stop_server: Callable[[], None] = lambda: None  # called just before the connection breaks
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.arguments = {**arguments, "host": "127.0.0.1", "port": self._port.getHost().port}

    def release(self) -> None:
        """Let the commit that was held reach the server, which takes it as if nothing had happened."""
        assert self.sessions[-1].connected
        self.sessions[-1].write(self.held)

    async def close(self) -> None:
        """Listen no more, and end what was left open."""
        for session in self.sessions:
            session.abortConnection()
        await self._port.stopListening()
