# SPDX-License-Identifier: Apache-2.0
"""A listening socket that another process has opened, and that several processes accept from."""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from federation.http.connection_shares import ConnectionShares

logger = logging.getLogger(__name__)

_COURTESY_SECONDS = 0.005
"""How long a connection is left to processes that have fewer, before it is taken all the same."""

_AFTER_COURTESY = 8
"""How many are taken then: the others are busy, and those who wait should not wait for them one by one."""

_PAUSE_SECONDS = 1.0
"""For how long nothing is accepted after the system could give no more, which it would tell without end."""


@implementer(IReadDescriptor)
class PassedPort:
    """Accepts from the socket `descriptor` until `stopListening`; the socket itself goes on for the others.

    One connection is accepted for each time that the reactor finds some waiting: twisted's own port takes
    all there are, and a process would get a whole burst while the others sleep. With `shares` those that have
    fewer connections go first. Nothing is unlinked or shut down at the end.
    """

    def __init__(
        self, descriptor: int, factory: Any, *, reactor: Any, shares: ConnectionShares | None = None
    ) -> None:
        """Raises `OSError` if `descriptor` is no socket."""
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._socket.setblocking(False)
        self._factory = factory
        self._reactor = reactor
        self._shares = shares
        self._pause: Any = None
        self._open = True
        factory.doStart()
        reactor.addReader(self)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; a UNIX socket's path and 0."""
        name = self._socket.getsockname()
        return (name, 0) if isinstance(name, str) else (name[0], name[1])

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        """Accept nothing more."""
        if self._open:
            self._open = False
            if self._pause is not None:
                self._pause.cancel()
            self._reactor.removeReader(self)
            self._socket.close()
            self._factory.doStop()
        return succeed(None)

    # What the reactor asks for

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """Whom the log names."""
        return type(self).__name__

    def doRead(self) -> None:  # noqa: N802
        """A connection waits, unless another process was quicker."""
        if self._shares is None or self._shares.is_our_turn():
            self._accept(1)
        else:
            self._accept_after(_COURTESY_SECONDS)

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002, N802
        """The reactor ends, or the socket broke."""
        self.stopListening()

    def _accept(self, most: int) -> None:
        for _ in range(most):
            if not self._open:
                return
            try:
                connection, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno == errno.EINVAL:  # whoever opened the socket has shut it down for all
                    self.stopListening()
                    return
                logger.error("No connection can be accepted at present: %s", error.strerror or error)
                self._accept_after(_PAUSE_SECONDS)
                return
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            try:
                # It makes a descriptor of its own.
                self._reactor.adoptStreamConnection(connection.fileno(), connection.family, self._factory)
            except OSError as error:  # most of the time the client has gone already
                logger.debug("A connection was not taken: %s", error.strerror or error)

    def _accept_after(self, seconds: float) -> None:
        def resume() -> None:
            self._pause = None
            self._reactor.addReader(self)
            self._accept(_AFTER_COURTESY)

        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(seconds, resume)
