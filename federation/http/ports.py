# SPDX-License-Identifier: Apache-2.0
"""Opening ports: TCP and UNIX sockets. Errors say what to do."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.error import CannotListenError

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
    it. `resources` are the names of what is served there, for whoever puts the site together. `descriptors`
    are sockets that listen there already, opened by another process, which others may accept from as well.
    """

    port: int | None = None
    bind_addresses: tuple[str, ...] = ("127.0.0.1",)
    path: Path | None = None
    mode: int = 0o666
    certificate_path: Path | None = None
    private_key_path: Path | None = None
    x_forwarded: bool = False
    resources: frozenset[str] = frozenset()
    descriptors: tuple[int, ...] = ()


def open_ports(listener: Listener, factory: Any, *, reactor: Any) -> list[Any]:
    """Listen where `listener` says; twisted's ports, one for each address.

    Raises ListenerError; nothing is left open then.
    """
    if listener.path is not None:
        return [_open_unix(listener.path.absolute(), listener.mode, factory, reactor)]
    if listener.port is None:
        raise ListenerError("A listener needs a port or the path of a UNIX socket")
    opened: list[Any] = []
    try:
        _open_addresses(listener.port, listener.bind_addresses, factory, reactor, opened)
    except ListenerError:
        for port in opened:
            port.stopListening()
        raise
    return opened


def _open_addresses(
    port: int, addresses: tuple[str, ...], factory: Any, reactor: Any, opened: list[Any]
) -> None:
    """Add to `opened` a port of each address."""
    found: set[str] = set()
    # "::" first: where the system lets it serve IPv4 as well, "0.0.0.0" is then in use by ourselves.
    for address in sorted(addresses, key=lambda address: address != _ANY_IPV6):
        try:
            listening = reactor.listenTCP(port, factory, _BACKLOG, address)
        except CannotListenError as error:
            number = getattr(error.socketError, "errno", None)
            if address == _ANY_IPV4 and number == errno.EADDRINUSE and _ANY_IPV6 in found:
                continue
            if address == _ANY_IPV6 and number in _NO_IPV6 and len(addresses) > 1:
                logger.warning("This machine has no IPv6, port %d serves IPv4 alone", port)
                continue
            raise ListenerError(_explain(port, address, number, error.socketError)) from None
        found.add(address)
        port = listening.getHost().port  # one free port for all addresses, where any was asked for
        opened.append(listening)


def _open_unix(path: Path, mode: int, factory: Any, reactor: Any) -> Any:
    _check_socket_path(path)
    _remove_stale_socket(path)
    try:
        return reactor.listenUNIX(str(path), factory, _BACKLOG, mode)
    except CannotListenError as error:
        raise ListenerError(
            f"The UNIX socket {path} cannot be opened: {_strerror(error.socketError)}"
        ) from None


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
