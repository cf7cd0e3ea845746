# SPDX-License-Identifier: Apache-2.0
"""Connections to other servers: made, secured, and kept for the next request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, TypeAlias

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web import client
from zope.interface import implementer

from federation.discovery.target import Target
from federation.transport.addresses import AddressRules
from federation.transport.errors import ConnectionFailed
from federation.transport.names import Names
from federation.transport.reasons import reason_of
from federation.transport.tls import PeerTls
from storage.runtime.clock import DelayedCall

LARGEST_HEADERS = 64 * 1024
"""Bytes of an answer until its headers are complete, interim answers included."""

CONNECT_SECONDS = 10.0
"""How long one address has for the connection, and then for the handshake."""

IDLE_SECONDS = 50.0
"""How long a connection is kept without a request."""

MOST_IDLE = 500
MOST_IDLE_PER_TARGET = 3

Key: TypeAlias = tuple[str, int, str]


_Http11: Any = client.HTTP11ClientProtocol  # type: ignore[attr-defined]


@implementer(IHandshakeListener)
class PeerConnection(_Http11):  # type: ignore[misc]
    """One connection, for one request at a time.

    `secured` fires when the handshake is done and `check` has found the certificate good: before, nothing is
    sent. `idle` is called when it can take the next request, `lost` when it is gone.
    """

    def __init__(
        self,
        *,
        check: Callable[[SSL.Connection], None],
        idle: Callable[[PeerConnection], None],
        lost: Callable[[PeerConnection], None],
    ) -> None:
        super().__init__(idle)
        self._check = check
        self._lost = lost
        self._header_room: int | None = None
        self._has_heard = False
        self.secured: Deferred[None] = Deferred(lambda _secured: self.abort_now())

    @property
    def is_unheard(self) -> bool:
        """Whether nothing has come in since the last request."""
        return not self._has_heard

    @property
    def has_long_headers(self) -> bool:
        """Whether it was given up because the headers of an answer did not end."""
        return self._header_room is not None and self._header_room < 0

    def handshakeCompleted(self) -> None:  # noqa: N802
        """TLS stands; check whom it stands with."""
        try:
            self._check(self.transport.getHandle())
        except (VerificationError, CertificateError, SSL.Error):
            self._fail(Failure())  # type: ignore[no-untyped-call]
            self.abort_now()
        else:
            if not self.secured.called:
                self.secured.callback(None)

    def request(self, request: Any) -> Deferred[Any]:
        """Send a request; the answer's headers, see `HTTP11ClientProtocol`."""
        self._header_room = LARGEST_HEADERS
        self._has_heard = False
        answered: Deferred[Any] = super().request(request)
        return answered.addCallback(self._headers_ended)

    def _headers_ended(self, response: Any) -> Any:
        self._header_room = None
        return response

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take in some bytes; headers that do not end are given up."""
        self._has_heard = True
        super().dataReceived(data)
        if self._header_room is not None:
            self._header_room -= len(data)
            if self._header_room < 0:
                self.abort_now()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """The connection is gone."""
        super().connectionLost(reason)
        self._fail(reason)
        self._lost(self)

    def abort_now(self) -> None:
        """Drop the connection at once, whatever it is at."""
        if self.transport is not None:
            self.transport.abortConnection()

    def _fail(self, reason: Failure) -> None:
        if not self.secured.called:
            self.secured.errback(reason)


class Connector:
    """Makes new connections. Only addresses that `rules` permit are connected to, whoever names them."""

    def __init__(
        self,
        *,
        reactor: Any,
        names: Names,
        tls: PeerTls,
        rules: AddressRules,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self._reactor = reactor
        self._names = names
        self._tls = tls
        self._rules = rules
        self._seconds = connect_seconds

    async def connect(
        self, target: Target, idle: Callable[[PeerConnection], None], lost: Callable[[PeerConnection], None]
    ) -> PeerConnection:
        """A connection to the first address of the target that takes it, secured.

        Raises `ConnectionFailed`, which says what became of each address.
        """
        failures: list[str] = []
        for address in await self._addresses(target.host):
            if not self._rules.permit(address):
                failures.append(f"{address} is an address that is never connected to")
                continue
            try:
                return await self._connect(address, target, idle, lost)
            except (CancelledError, ConnectingCancelledError):
                raise CancelledError from None
            except Exception as error:  # of the operating system, twisted, OpenSSL, service_identity
                failures.append(f"{address} port {target.port}: {reason_of(error)}")
        raise ConnectionFailed("; ".join(failures))

    async def _addresses(self, host: str) -> Sequence[str]:
        try:
            return [str(ip_address(host))]
        except ValueError:
            return await self._names.addresses(host)

    async def _connect(
        self,
        address: str,
        target: Target,
        idle: Callable[[PeerConnection], None],
        lost: Callable[[PeerConnection], None],
    ) -> PeerConnection:
        name = target.tls_name

        def check(connection: SSL.Connection) -> None:
            self._tls.check_name(connection, name)

        kind: Any = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        tcp = kind(self._reactor, address, target.port, timeout=self._seconds)
        creator: Any = self._tls.creator(name)
        endpoint: Any = wrapClientTLS(creator, tcp)
        connection = PeerConnection(check=check, idle=idle, lost=lost)
        await endpoint.connect(_Given(connection))
        await connection.secured.addTimeout(self._seconds, self._reactor)
        return connection


class _Given(Factory):
    """Builds the one protocol that it is given."""

    noisy = False

    def __init__(self, connection: PeerConnection) -> None:
        self._connection = connection

    def buildProtocol(self, _address: Any) -> Any:  # noqa: N802
        return self._connection


class ConnectionPool:
    """Connections that wait for their next request, by where they lead and whom they were checked for."""

    def __init__(
        self,
        *,
        connector: Connector,
        reactor: Any,
        idle_seconds: float = IDLE_SECONDS,
        most_idle: int = MOST_IDLE,
        most_idle_per_target: int = MOST_IDLE_PER_TARGET,
    ) -> None:
        self._connector = connector
        self._reactor = reactor
        self._idle_seconds = idle_seconds
        self._most = most_idle
        self._most_per_target = most_idle_per_target
        self._idle: OrderedDict[PeerConnection, tuple[Key, DelayedCall]] = OrderedDict()
        self._by_key: dict[Key, list[PeerConnection]] = {}
        self._closed = False

    async def new(self, target: Target) -> PeerConnection:
        """A new connection. Raises `ConnectionFailed`."""
        key = _key_of(target)

        def keep(connection: PeerConnection) -> None:
            self._keep(key, connection)

        return await self._connector.connect(target, keep, self._forget)

    def waiting(self, target: Target) -> PeerConnection | None:
        """A connection that is open already, the one used last; None: there is none."""
        connections = self._by_key.get(_key_of(target))
        if not connections:
            return None
        connection = connections[-1]
        self._forget(connection)
        return connection

    def close(self) -> None:
        """Close what waits, and from now on what is done with its request."""
        self._closed = True
        for connection in list(self._idle):
            self._drop(connection)

    def _keep(self, key: Key, connection: PeerConnection) -> None:
        if self._closed:
            connection.abort_now()
            return
        of_target = self._by_key.setdefault(key, [])
        of_target.append(connection)
        timer = self._reactor.callLater(self._idle_seconds, self._drop, connection)
        self._idle[connection] = (key, timer)
        if len(of_target) > self._most_per_target:
            self._drop(of_target[0])
        if len(self._idle) > self._most:
            self._drop(next(iter(self._idle)))

    def _drop(self, connection: PeerConnection) -> None:
        self._forget(connection)
        connection.abort_now()

    def _forget(self, connection: PeerConnection) -> None:
        key, timer = self._idle.pop(connection, (None, None))
        if key is None or timer is None:
            return
        if timer.active():
            timer.cancel()
        of_target = self._by_key[key]
        of_target.remove(connection)
        if not of_target:
            del self._by_key[key]


def _key_of(target: Target) -> Key:
    return target.host, target.port, target.tls_name
