# SPDX-License-Identifier: Apache-2.0
"""Listening ports: TCP, TLS and UNIX sockets. Errors say what to do; closing loses no answer."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError

from federation.http.site import Site
from federation.http.tls import CertificateError, ServerCertificate

logger = logging.getLogger(__name__)

_BACKLOG = 4096  # many clients reconnect at once after a restart; the kernel has its own limit below
_LONGEST_SOCKET_PATH = 103  # bytes; what every system allows
_ANY_IPV4 = "0.0.0.0"
_ANY_IPV6 = "::"
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class ListenerError(Exception):
    """A listener cannot be opened; the text says which, why, and what to do."""


@attrs.frozen(kw_only=True)
class Listener:
    """One place to listen at: a TCP port on some addresses, or a UNIX socket.

    With `certificate_path` and `private_key_path` (PEM) it speaks TLS. `x_forwarded`: a proxy stands before
    it. `resources` are the names of what is served there, for whoever puts the site together.
    """

    port: int | None = None
    bind_addresses: tuple[str, ...] = ("127.0.0.1",)
    path: Path | None = None
    mode: int = 0o666
    certificate_path: Path | None = None
    private_key_path: Path | None = None
    x_forwarded: bool = False
    resources: frozenset[str] = frozenset()


class Listeners:
    """The open listeners of a server."""

    def __init__(self, *, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[Any] = []
        self._sites: list[Site] = []
        self._certificates: list[ServerCertificate] = []

    def open(self, listener: Listener, site: Site) -> None:
        """Begin to serve `site` at `listener`. Raises ListenerError."""
        self._sites.append(site)
        if listener.path is not None:
            self._ports.append(self._open_unix(listener.path.absolute(), listener.mode, site))
            return
        if listener.port is None:
            raise ListenerError("A listener needs a port or the path of a UNIX socket")
        certificate = _certificate(listener)
        if certificate is not None:
            self._certificates.append(certificate)
        self._open_addresses(listener.port, listener.bind_addresses, site, certificate)

    def addresses(self) -> list[tuple[str, int]]:
        """The addresses and ports that are open, UNIX sockets as their path and 0."""
        hosts = [port.getHost() for port in self._ports]
        return [
            (host.host, host.port) if hasattr(host, "port") else (host.name.decode(), 0) for host in hosts
        ]

    @property
    def urls(self) -> list[str]:
        """What is open, for people: `http://127.0.0.1:8008`, `unix:/run/trellis/main.sock`."""
        return [self._url(port) for port in self._ports]

    @staticmethod
    def _url(port: Any) -> str:
        host = port.getHost()
        if not hasattr(host, "port"):
            return f"unix:{host.name.decode()}"
        scheme = "https" if getattr(port, "_tls", False) else "http"
        address = f"[{host.host}]" if ":" in host.host else host.host
        return f"{scheme}://{address}:{host.port}"

    def reload_certificates(self) -> None:
        """Read all certificates again, for new connections. One that cannot be used is only logged."""
        for certificate in self._certificates:
            try:
                certificate.reload()
            except CertificateError as error:
                logger.error("The certificate stays as it was: %s", error)

    async def stop(self, *, seconds: float, end_long_polls: Callable[[], None]) -> None:
        """Stop accepting and finish what is in flight, which may take `seconds`; then cut what is left.

        `end_long_polls` makes requests that only wait answer at once.
        """
        closed = [maybeDeferred(port.stopListening) for port in self._ports]
        for success, failure in await DeferredList(closed, consumeErrors=True):
            if not success:  # somebody has removed a UNIX socket
                logger.warning("A listener did not close properly: %s", failure.getErrorMessage())
        self._ports.clear()
        drained = [site.drain() for site in self._sites]
        end_long_polls()
        timeout = self._reactor.callLater(seconds, self._abort)
        await DeferredList(drained)
        if timeout.active():
            timeout.cancel()

    def _abort(self) -> None:
        cut = sum(site.abort() for site in self._sites)
        logger.warning("Cut %d connections whose requests did not finish in time", cut)

    def _open_addresses(
        self, port: int, addresses: tuple[str, ...], site: Site, certificate: ServerCertificate | None
    ) -> None:
        opened: set[str] = set()
        # "::" first: where the system lets it serve IPv4 as well, "0.0.0.0" is then in use by ourselves.
        for address in sorted(addresses, key=lambda address: address != _ANY_IPV6):
            try:
                listening = self._listen(port, address, site, certificate)
            except CannotListenError as error:
                number = getattr(error.socketError, "errno", None)
                if address == _ANY_IPV4 and number == errno.EADDRINUSE and _ANY_IPV6 in opened:
                    continue
                if address == _ANY_IPV6 and number in _NO_IPV6 and len(addresses) > 1:
                    logger.warning("This machine has no IPv6, port %d serves IPv4 alone", port)
                    continue
                raise ListenerError(_explain(port, address, number, error.socketError)) from None
            opened.add(address)
            port = listening.getHost().port  # one free port for all addresses, where any was asked for
            self._ports.append(listening)

    def _listen(self, port: int, address: str, site: Site, certificate: ServerCertificate | None) -> Any:
        if certificate is None:
            return self._reactor.listenTCP(port, site, _BACKLOG, address)
        return self._reactor.listenSSL(port, site, certificate, _BACKLOG, address)

    def _open_unix(self, path: Path, mode: int, site: Site) -> Any:
        _check_socket_path(path)
        _remove_stale_socket(path)
        try:
            return self._reactor.listenUNIX(str(path), site, _BACKLOG, mode)
        except CannotListenError as error:
            raise ListenerError(
                f"The UNIX socket {path} cannot be opened: {_strerror(error.socketError)}"
            ) from None


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


def _check_socket_path(path: Path) -> None:
    """Raises ListenerError for a path where no socket can be made."""
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ListenerError(f"The path of the UNIX socket {path} is too long; choose a shorter one")
    if not path.parent.is_dir():
        raise ListenerError(f"The UNIX socket {path} cannot be opened: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ListenerError(f"The UNIX socket {path} cannot be opened: {path.parent} is not writable")


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket of a server that is gone. Raises ListenerError if one still listens there."""
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return  # nothing there, or nothing that can be seen: opening it will tell
    if not is_socket:
        raise ListenerError(f"{path} exists and is no UNIX socket; choose another path, or remove it")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ListenerError(f"The UNIX socket {path} cannot be examined: {_strerror(error)}") from None
    raise ListenerError(f"Another process listens on the UNIX socket {path}; stop it, or choose another path")


def _explain(port: int, address: str, number: int | None, error: object) -> str:
    advice = {
        errno.EADDRINUSE: "another program uses it; stop that, or choose another port under `listeners`",
        errno.EACCES: "it is not allowed; ports below 1024 need special rights, take another or a proxy",
        errno.EADDRNOTAVAIL: "this machine has no such address; mend `bind_addresses`",
    }.get(number or 0, _strerror(error))
    return f"Cannot listen on {address} port {port}: {advice}"


def _strerror(error: object) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
