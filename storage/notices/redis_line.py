# SPDX-License-Identifier: Apache-2.0
"""The two connections to Redis: one listens to the channel, which then can do nothing else, one publishes."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import txredisapi
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import Error as CryptoError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from storage.notices.reconnection import MediumAway

CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0

# What has not been answered for yet; more is dropped, so that a server that stands still costs no memory.
_LARGEST_BACKLOG = 16 * 1024 * 1024

_KEEPALIVES = (
    (socket.TCP_KEEPIDLE, 10),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 30_000),
)

P = TypeVar("P", bound="_Publisher | _Subscriber")


@attrs.frozen(kw_only=True)
class RedisTls:
    """How Redis proves who it is, and this process to it. Without authorities, those of the system count.

    All are files in PEM, which are read for each connection; `authorities_directory` holds such files alone.
    Without `private_key`, the file of the certificate has it.
    """

    certificate: Path | None = None
    private_key: Path | None = None
    authorities: Path | None = None
    authorities_directory: Path | None = None


@attrs.frozen(kw_only=True)
class RedisAddress:
    """Where Redis is: a UNIX socket where there is a `path`, else a host and port, with TLS or without."""

    host: str = "localhost"
    port: int = 6379
    path: Path | None = None
    password: str | None = attrs.field(default=None, repr=False)
    tls: RedisTls | None = None


def _trust(tls: RedisTls) -> Any:
    """Whom Redis' certificate may be signed by; None: those whom the system trusts."""
    files = [] if tls.authorities is None else [tls.authorities]
    if tls.authorities_directory is not None:
        files += sorted(path for path in tls.authorities_directory.iterdir() if path.is_file())
    if not files:
        return None
    found = [one for file in files for one in x509.load_pem_x509_certificates(file.read_bytes())]
    made: Any = Certificate
    trust: Any = trustRootFromCertificates
    return trust([made.loadPEM(one.public_bytes(Encoding.PEM)) for one in found])


def _own_certificate(tls: RedisTls) -> Any:
    if tls.certificate is None:
        return None
    files = [path for path in (tls.certificate, tls.private_key) if path is not None]
    made: Any = PrivateCertificate
    return made.loadPEM(b"\n".join(file.read_bytes() for file in files))


def _tls_options(host: str, tls: RedisTls) -> Any:
    """Raises `MediumAway` when a file cannot be used."""
    made: Any = optionsForClientTLS
    try:
        return made(host, trustRoot=_trust(tls), clientCertificate=_own_certificate(tls))
    except (OSError, ValueError, SSL.Error, CryptoError) as error:
        raise MediumAway(f"a file for TLS cannot be used: {error}") from error


def _endpoint(address: RedisAddress, reactor: Any) -> Any:
    if address.path is not None:
        local: Any = UNIXClientEndpoint
        return local(reactor, str(address.path), timeout=CONNECT_SECONDS)
    endpoint: Any = HostnameEndpoint(reactor, address.host, address.port, timeout=CONNECT_SECONDS)
    if address.tls is None:
        return endpoint
    return wrapClientTLS(_tls_options(address.host, address.tls), endpoint)


class _Connected:
    """What both connections have besides the protocol: they tell when they are gone, and why."""

    transport: Any

    def __init__(self) -> None:
        # As bytes, and numbers too.
        super().__init__(charset=None, convertNumbers=False)  # type: ignore[call-arg]
        self.gone: Deferred[str] = Deferred()
        self.reason = ""

    def connectionMade(self) -> None:  # noqa: N802
        """Have the kernel notice a peer that is silently gone."""
        carrier: socket.socket | None = getattr(self.transport, "socket", None)  # under TLS too
        if carrier is not None and carrier.family != socket.AF_UNIX:
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            for option, value in _KEEPALIVES:
                carrier.setsockopt(socket.IPPROTO_TCP, option, value)
        super().connectionMade()  # type: ignore[misc]

    def connectionLost(self, why: Any) -> None:  # noqa: N802
        """Keep the reason."""
        self.reason = " ".join(why.getErrorMessage().split())
        super().connectionLost(why)  # type: ignore[misc]
        self.gone.callback(self.reason)


class _Publisher(_Connected, txredisapi.RedisProtocol):  # type: ignore[misc]
    """The connection that publishes."""


class _Subscriber(_Connected, txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """The connection that listens."""

    def __init__(self, hear: Callable[[object], None]) -> None:
        super().__init__()
        self._hear = hear

    def messageReceived(self, _pattern: Any, _channel: Any, message: object) -> None:  # noqa: N802
        """Hand the message over."""
        self._hear(message)


class _Factory(Factory):
    """Makes one connection."""

    noisy = False

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def buildProtocol(self, _address: Any) -> Any:  # noqa: N802
        """The protocol of the connection."""
        protocol = self._make()
        protocol.factory = self
        return protocol


class RedisLine:
    """Both connections; when one breaks, both are done with."""

    def __init__(self, publisher: _Publisher, subscriber: _Subscriber, *, channel: str, reactor: Any) -> None:
        self.lost: Deferred[str] = Deferred()
        self._publisher = publisher
        self._subscriber = subscriber
        self._channel = channel
        self._reactor = reactor
        self._backlog = 0
        for connection in (publisher, subscriber):
            connection.gone.addCallback(self._was_lost)

    def publish(self, message: bytes) -> bool:
        """Send `message` to all that listen to the channel. False: too much is on its way already."""
        if self._backlog + len(message) > _LARGEST_BACKLOG:
            return False
        self._backlog += len(message)
        try:
            answer: Deferred[Any] = self._publisher.publish(self._channel, message)
        except txredisapi.RedisError:  # it is not connected any more
            return False
        answer.addTimeout(_ANSWER_SECONDS, self._reactor)
        answer.addErrback(self._refused).addBoth(self._answered, len(message))
        return True

    async def close(self) -> None:
        """Close both connections."""
        for connection in (self._publisher, self._subscriber):
            await _closed(connection)

    def _answered(self, _result: Any, length: int) -> None:
        self._backlog -= length

    def _refused(self, failure: Any) -> None:
        self._was_lost(f"a message was not published: {failure.getErrorMessage()}")

    def _was_lost(self, reason: str) -> str:
        if not self.lost.called:
            self.lost.callback(reason)
        return reason


async def open_line(
    address: RedisAddress, *, channel: str, hear: Callable[[object], None], reactor: Any
) -> RedisLine:
    """Connections that listen to `channel` and publish to it. Raises `MediumAway`."""
    endpoint = _endpoint(address, reactor)
    publisher = await _connected(endpoint, _Publisher, address, lambda one: one.ping())
    try:
        subscriber = await _connected(
            endpoint, lambda: _Subscriber(hear), address, lambda one: one.subscribe(channel)
        )
    except BaseException:
        await _closed(publisher)
        raise
    return RedisLine(publisher, subscriber, channel=channel, reactor=reactor)


async def _connected(
    endpoint: Any, make: Callable[[], P], address: RedisAddress, first: Callable[[P], Awaitable[object]]
) -> P:
    """A connection that is let in and has been answered its `first` command."""
    try:
        connection: P = await endpoint.connect(_Factory(make))
    except (CancelledError, ConnectingCancelledError) as error:
        raise CancelledError from error
    except Exception as error:  # the many that twisted has for what can go wrong here
        raise MediumAway(" ".join(str(error).split()) or type(error).__name__) from error
    try:
        if address.password is not None:
            await connection.auth(address.password)
        await first(connection)
    except txredisapi.RedisError as error:
        away = MediumAway(connection.reason or str(error))
        await _closed(connection)
        raise away from error
    except BaseException:
        await _closed(connection)
        raise
    return connection


async def _closed(connection: _Publisher | _Subscriber) -> None:
    """Close a connection and wait until it is gone."""
    if connection.gone.called:
        return
    waiting: Deferred[None] = Deferred()

    def gone(reason: str) -> str:
        waiting.callback(None)
        return reason

    connection.gone.addCallback(gone)
    connection.transport.abortConnection()
    await waiting
