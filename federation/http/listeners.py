# SPDX-License-Identifier: Apache-2.0
"""The open listeners of a server: TCP, TLS and UNIX sockets. Closing loses no answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.protocols.tls import TLSMemoryBIOFactory

from federation.http.connection_shares import ConnectionShares
from federation.http.passed_port import PassedPort
from federation.http.ports import Listener, ListenerError, open_ports
from federation.http.site import Site
from federation.http.tls import CertificateError, ServerCertificate

logger = logging.getLogger(__name__)


@attrs.frozen
class _OpenPort:
    """One open port, ours alone or one that others accept from as well."""

    port: Any
    secure: bool

    @property
    def shared(self) -> bool:
        return isinstance(self.port, PassedPort)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; a UNIX socket's path and 0."""
        if isinstance(self.port, PassedPort):
            return self.port.address
        host = self.port.getHost()
        return (host.host, host.port) if hasattr(host, "port") else (host.name.decode(), 0)

    @property
    def url(self) -> str:
        host, port = self.address
        if not port:
            return f"unix:{host}"
        return f"{'https' if self.secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


class Listeners:
    """The open listeners of a server.

    `draining`: the server is about to end, and whoever asks whether it is well should be told so. `shares` is
    what processes that accept from the same sockets have in common.
    """

    def __init__(self, *, reactor: Any, shares: ConnectionShares | None = None) -> None:
        self.draining = False
        self._reactor = reactor
        self._shares = shares
        self._ports: list[_OpenPort] = []
        self._sites: list[Site] = []
        self._certificates: list[ServerCertificate] = []

    def open(self, listener: Listener, site: Site) -> None:
        """Begin to serve `site` at `listener`, or on the sockets that it passes on. Raises ListenerError."""
        self._sites.append(site)
        factory: Any = site
        certificate: Any = _certificate(listener)  # declares its interface in a way that mypy does not see
        if certificate is not None:
            self._certificates.append(certificate)
            factory = TLSMemoryBIOFactory(certificate, False, site)
        for port in self._ports_of(listener, factory):
            self._ports.append(_OpenPort(port, certificate is not None))
        if self._shares is not None:
            self._shares.join()

    def addresses(self) -> list[tuple[str, int]]:
        """The addresses and ports that are open, UNIX sockets as their path and 0."""
        return [port.address for port in self._ports]

    @property
    def urls(self) -> list[str]:
        """What is open, for people: `http://127.0.0.1:8008`, `unix:/run/trellis/main.sock`."""
        return [port.url for port in self._ports]

    def reload_certificates(self) -> None:
        """Read all certificates again, for new connections. One that cannot be used is only logged."""
        for certificate in self._certificates:
            try:
                certificate.reload()
            except CertificateError as error:
                logger.error("The certificate stays as it was: %s", error)

    async def drain_softly(self, *, linger: float, end_long_polls: Callable[[], None]) -> None:
        """Let the clients go to other processes; returns when they have, after `linger` seconds at the most.

        From now on every answer ends its connection, and a connection that is idle may still bring the
        request that was on its way. Sockets that other processes accept from are left to them at once; our
        own accept until `stop`, which must follow.
        """
        self.draining = True
        await self._close([port for port in self._ports if port.shared])
        for site in self._sites:
            site.let_go()
        end_long_polls()
        await self._emptied_or_over(linger)

    async def stop(self, *, seconds: float, end_long_polls: Callable[[], None]) -> None:
        """Stop accepting and finish what is in flight, which may take `seconds`; then cut what is left.

        `end_long_polls` makes requests that only wait answer at once.
        """
        self.draining = True
        await self._close(self._ports)
        drained = [site.drain() for site in self._sites]
        end_long_polls()
        timeout = self._reactor.callLater(seconds, self._abort)
        await DeferredList(drained)
        if timeout.active():
            timeout.cancel()

    async def _emptied_or_over(self, seconds: float) -> None:
        """Return when no connection is left, or after `seconds`."""
        over: Deferred[None] = Deferred()
        timeout = self._reactor.callLater(seconds, over.callback, None)

        def end(_results: object) -> None:
            if timeout.active():
                timeout.cancel()
                over.callback(None)

        DeferredList([site.emptied() for site in self._sites]).addCallback(end)
        await over

    def _ports_of(self, listener: Listener, factory: Any) -> list[Any]:
        if not listener.descriptors:
            return open_ports(listener, factory, reactor=self._reactor)
        try:
            return [
                PassedPort(descriptor, factory, reactor=self._reactor, shares=self._shares)
                for descriptor in listener.descriptors
            ]
        except OSError as error:
            raise ListenerError(f"A listening socket that was passed on cannot be used: {error}") from None

    async def _close(self, ports: list[_OpenPort]) -> None:
        if self._shares is not None:
            self._shares.leave()
        closed = [maybeDeferred(port.port.stopListening) for port in ports]
        self._ports = [port for port in self._ports if port not in ports]
        for success, failure in await DeferredList(closed, consumeErrors=True):
            if not success:  # somebody has removed a UNIX socket
                logger.warning("A listener did not close properly: %s", failure.getErrorMessage())

    def _abort(self) -> None:
        cut = sum(site.abort() for site in self._sites)
        logger.warning("Cut %d connections whose requests did not finish in time", cut)


def _certificate(listener: Listener) -> ServerCertificate | None:
    if listener.certificate_path is None and listener.private_key_path is None:
        return None
    if listener.certificate_path is None or listener.private_key_path is None:
        raise ListenerError(
            f"The listener on port {listener.port} needs both a certificate and its private key"
        )
    try:
        return ServerCertificate(certificate=listener.certificate_path, private_key=listener.private_key_path)
    except CertificateError as error:
        raise ListenerError(f"The listener on port {listener.port} cannot speak TLS: {error}") from None
