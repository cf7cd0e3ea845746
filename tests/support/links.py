# SPDX-License-Identifier: Apache-2.0
"""Links between processes, on the loopback interface."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol

from federation.processes.link import Links, LinkTimes, Operation
from federation.processes.link_counts import LinkCounts
from federation.processes.ownership import Peer

SECRET = bytes(range(32))
TIMES = LinkTimes(handshake=2.0, quiet=0.2, pong=0.2, idle=30.0, farewell=0.3)


@attrs.frozen
class Process:
    """One process's links, and as which peer the others know it."""

    links: Links
    peer: Peer
    counts: LinkCounts
    refused: list[Peer]
    """Those at whose address nobody listened."""


@contextlib.asynccontextmanager
async def linked(
    process: str,
    operations: Mapping[str, Operation] | None = None,
    *,
    secret: bytes = SECRET,
    times: LinkTimes = TIMES,
) -> AsyncIterator[Process]:
    """A process that listens."""
    counts = LinkCounts()
    refused: list[Peer] = []
    links = Links(
        process=process,
        secret=secret,
        operations={} if operations is None else operations,
        reactor=reactor,
        counts=counts,
        on_refused=refused.append,
        times=times,
    )
    address = await links.listen("127.0.0.1", 0)
    try:
        yield Process(links, Peer(process, address), counts, refused)
    finally:
        await links.stop()


async def pause(seconds: float) -> None:
    """Let the reactor work meanwhile."""
    passed: Deferred[None] = Deferred()
    reactor.callLater(seconds, passed.callback, None)
    await passed


class Stranger(Protocol):
    """A connection that sends what a test tells it to, and keeps what it gets."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.received += data

    def connectionLost(self, _reason: Any = None) -> None:  # noqa: N802
        self.lost.callback(None)

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        self.transport.write(len(frame).to_bytes(4, "big") + frame)


async def connect(address: str) -> Stranger:
    """A stranger's connection."""
    host, _, port = address.rpartition(":")
    return await HostnameEndpoint(reactor, host, int(port)).connect(Factory.forProtocol(Stranger))


@contextlib.asynccontextmanager
async def listening(protocol: type[Protocol]) -> AsyncIterator[str]:
    """Something else than a process, that listens; the address."""
    made: list[Any] = []

    class Remembering(protocol):  # type: ignore[misc, valid-type]
        def connectionMade(self) -> None:  # noqa: N802
            made.append(self)
            super().connectionMade()

    port = reactor.listenTCP(0, Factory.forProtocol(Remembering), interface="127.0.0.1")
    try:
        yield f"127.0.0.1:{port.getHost().port}"
    finally:
        for one in made:
            one.transport.abortConnection()
        await port.stopListening()
