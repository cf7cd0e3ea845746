# SPDX-License-Identifier: Apache-2.0
"""How the processes of one homeserver ask each other, over one TCP connection for each pair and direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError as ConnectionRefused
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall

from federation.processes.link_answering import AnsweringConnection, AnsweringGround, Operation
from federation.processes.link_asking import AskingConnection
from federation.processes.link_complaints import Complaints
from federation.processes.link_counts import LinkCounts
from federation.processes.link_handshake import AnsweringHandshake, AskingHandshake
from federation.processes.link_protocol import (
    MOST_IN_FLIGHT,
    LinkTimes,
    PeerFailed,
    PeerUnreachable,
)
from federation.processes.ownership import Peer

__all__ = ["LinkTimes", "Links", "Operation", "PeerFailed", "PeerUnreachable"]

_BACKLOG = 128
_BETWEEN_ATTEMPTS = 0.02  # seconds, where a name has several addresses


class Links:
    """The connections of one process to all others.

    `secret` is what only the processes of this homeserver know, 32 bytes. `operations` is looked into at each
    question, so what answers them may be built later than this. `on_refused` is told of a process at whose
    address nobody listens.
    """

    def __init__(
        self,
        *,
        process: str,
        secret: bytes,
        operations: Mapping[str, Operation],
        reactor: Any,
        counts: LinkCounts | None = None,
        on_refused: Callable[[Peer], None] = lambda _peer: None,
        times: LinkTimes = LinkTimes(),  # noqa: B008
    ) -> None:
        self._process = process
        self._secret = secret
        self._reactor = reactor
        self._counts = counts or LinkCounts()
        self._on_refused = on_refused
        self._times = times
        self._complaints = Complaints(clock=reactor)
        self._answering = AnsweringGround(operations, times, reactor, self._counts, self._complaints)
        self._ready: dict[Peer, AskingConnection] = {}
        self._opening: dict[Peer, _Opening] = {}
        self._asking: set[AskingConnection] = set()
        self._port: Any = None
        self._stopped = False

    async def listen(self, host: str, port: int) -> str:
        """Answer the others at this address; returns it as "host:port". Raises CannotListenError."""
        factory: Any = Factory()
        factory.noisy = False
        factory.protocol = self._answering_connection
        self._port = self._reactor.listenTCP(port, factory, _BACKLOG, host)
        bound = self._port.getHost()
        return f"[{bound.host}]:{bound.port}" if ":" in bound.host else f"{bound.host}:{bound.port}"

    async def ask(self, peer: Peer, operation: str, body: bytes, *, cancellable: bool = False) -> bytes:
        """What `peer` answers. Raises PeerUnreachable, and PeerFailed where it could not answer.

        Cancelling ends the waiting; with `cancellable` the other process leaves off as well.
        """
        connection = self._ready.get(peer)
        if connection is None:
            connection = await self._connection(peer)
        return await connection.ask(operation, body, cancellable=cancellable)

    def give_up(self, peer: Peer) -> None:
        """Wait for nothing more of a process that is known to be dead: whoever waits is told so at once."""
        opening = self._opening.get(peer)
        if opening is not None and opening.connecting is not None:
            opening.connecting.cancel()
        for connection in [one for one in self._asking if one.peer == peer]:
            connection.give_up()

    async def stop(self) -> None:
        """Begin with nothing more, answer what is owed, close all. Cancelled, it closes all at once."""
        port, self._port = self._port, None
        try:
            if port is not None:
                await port.stopListening()
            await self._finish_answers()
        finally:
            self._stopped = True
            for opening in list(self._opening.values()):
                if opening.connecting is not None:
                    opening.connecting.cancel()
            lost = [connection.when_lost() for connection in self._asking]
            for asking in list(self._asking):
                asking.abort()
            for answering in list(self._answering.connections):
                answering.abort()
        for one in lost:
            await one

    async def _finish_answers(self) -> None:
        """Let the others close their connections, when they have what is owed to them."""
        connections = list(self._answering.connections)
        gone = [connection.when_gone() for connection in connections]
        for connection in connections:
            connection.say_farewell()
        closing = LoopingCall(self._close_settled)
        closing.clock = self._reactor
        closing.start(self._times.farewell, now=False)
        try:
            for one in gone:
                await one
        finally:
            closing.stop()

    def _close_settled(self) -> None:
        """Close the connections on which nothing is owed; their other sides had the time to do so."""
        for connection in list(self._answering.connections):
            if not connection.owes:
                connection.abort()

    def _answering_connection(self) -> AnsweringConnection:
        handshake = AnsweringHandshake(process=self._process, secret=self._secret)
        return AnsweringConnection(ground=self._answering, handshake=handshake)

    def _asking_connection(self, peer: Peer) -> AskingConnection:
        connection = AskingConnection(
            peer=peer,
            handshake=AskingHandshake(process=self._process, peer=peer.process, secret=self._secret),
            times=self._times,
            clock=self._reactor,
            counts=self._counts,
            complaints=self._complaints,
            on_end=lambda: self._forget(peer, connection),
        )
        self._asking.add(connection)
        connection.when_lost().addCallback(lambda _: self._asking.discard(connection))
        return connection

    def _forget(self, peer: Peer, connection: AskingConnection) -> None:
        """Nothing more can be asked on the connection."""
        if self._ready.get(peer) is connection:
            del self._ready[peer]

    # A connection is opened by whoever asks first; those who ask meanwhile wait for it too.

    async def _connection(self, peer: Peer) -> AskingConnection:
        """A connection that one can ask on. Raises PeerUnreachable."""
        if self._stopped:
            raise PeerUnreachable("This process stops", handed_over=False)
        opening = self._opening.get(peer)
        if opening is not None:
            return await opening.wait()
        opening = self._opening[peer] = _Opening()
        connection = Deferred.fromCoroutine(opening.wait())
        opening.connecting = Deferred.fromCoroutine(self._open(peer, opening))
        return await connection

    async def _open(self, peer: Peer, opening: _Opening) -> None:
        connecting = Deferred.fromCoroutine(self._connect(peer))
        connecting.addTimeout(self._times.handshake, self._reactor)
        connection, text = None, ""
        try:
            connection = await connecting
        except PeerUnreachable as error:
            text = str(error)
        except Exception as error:
            reason = str(error) or "it took too long"
            text = f"The process {peer.process} at {peer.address} cannot be reached: {reason}"
            if isinstance(error, ConnectionRefused):
                self._on_refused(peer)
        del self._opening[peer]
        if connection is not None:
            self._ready[peer] = connection
        elif not self._stopped:
            self._complaints.warn(text)
        opening.end(connection, text)

    async def _connect(self, peer: Peer) -> AskingConnection:
        """A connection after its handshake. Raises PeerUnreachable, and what twisted raises."""
        host, _, port = peer.address.rpartition(":")
        endpoint: Any = HostnameEndpoint(
            self._reactor, host.strip("[]"), int(port), attemptDelay=_BETWEEN_ATTEMPTS
        )
        factory: Any = Factory()
        factory.noisy = False
        factory.protocol = lambda: self._asking_connection(peer)
        connection: AskingConnection = await endpoint.connect(factory)
        await connection.ready
        return connection


class _Opening:
    """Those who wait for a connection that is being opened."""

    def __init__(self) -> None:
        self.connecting: Deferred[None] | None = None
        self._waiting: list[Deferred[AskingConnection]] = []

    async def wait(self) -> AskingConnection:
        """The connection. Raises PeerUnreachable."""
        if len(self._waiting) >= MOST_IN_FLIGHT:
            raise PeerUnreachable("Too many wait for the connection", handed_over=False)
        waiting: Deferred[AskingConnection] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return await waiting

    def end(self, connection: AskingConnection | None, text: str) -> None:
        """Here it is; or it is not, and why."""
        waiting, self._waiting = self._waiting, []
        for one in list(waiting):
            if one.called:  # whoever came before it has cancelled it
                continue
            if connection is not None:
                one.callback(connection)
            else:
                one.errback(PeerUnreachable(text, handed_over=False))
