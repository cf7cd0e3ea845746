# SPDX-License-Identifier: Apache-2.0
"""The program `trellis` around a server small enough to steer: for tests of the command line alone.

Run as `python -m tests.support.small_program`. The server answers `/` at once, `/pid` with its process id,
`/slow` after a second and `/never` not at all. TRELLIS_TEST_FAULT makes the start fail (`database`, `bug`, or
`second`: only that of the second of several processes), hang (`hang`) or the stop hang (`stuck`, `thread`).
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from federation.http.passed_port import PassedPort
from homeserver.cli.child import Place
from homeserver.cli.program import run_program
from homeserver.config.config import Config
from storage.engine.errors import DatabaseUnavailable

# Long enough for what a test wants finished, short for what it wants given up.
FINISH_SECONDS = 2.0
FAULT = os.environ.get("TRELLIS_TEST_FAULT", "")


class Pages(Resource):
    """`/`, `/pid`, `/slow` and `/never`."""

    isLeaf = True  # noqa: N815

    def __init__(self) -> None:
        super().__init__()
        self.in_flight: set[Deferred[None]] = set()

    def render_GET(self, request: Any) -> Any:  # noqa: N802
        if request.path == b"/":
            return b"here\n"
        if request.path == b"/pid":
            return str(os.getpid()).encode()
        finished: Deferred[None] = request.notifyFinish()
        self.in_flight.add(finished)
        finished.addBoth(lambda _: self.in_flight.discard(finished))
        if request.path == b"/slow":
            reactor.callLater(1, lambda: (request.write(b"at last\n"), request.finish()))
        return NOT_DONE_YET


class SmallServer:
    """Listens on the first address of each listener, or on the sockets that its parent has opened."""

    def __init__(self, config: Config, _reactor: Any, place: Place | None = None) -> None:
        self._config = config
        self._place = place
        self._pages = Pages()
        self._ports: list[Any] = []

    @property
    def addresses(self) -> list[str]:
        return [
            f"http://{host}:{number}"
            for port in self._ports
            for host, number in [
                port.address if isinstance(port, PassedPort) else (port.getHost().host, port.getHost().port)
            ]
        ]

    @property
    def lost(self) -> Deferred[str]:
        return Deferred()

    def reload_certificates(self) -> None:
        print(f"{os.getpid()} was told to reload", flush=True)

    async def start(self) -> None:
        if FAULT == "database":
            raise DatabaseUnavailable("cannot connect to PostgreSQL: connection refused\nIs it running?")
        if FAULT == "bug":
            raise RuntimeError("the unexpected\nhappened")
        if FAULT == "hang":
            print("starting", flush=True)
            await Deferred()
        if self._place is not None:
            if FAULT == "second" and self._place.number == 2:
                raise DatabaseUnavailable("the second finds no database")
            for descriptor in (one for sockets in self._place.sockets.values() for one in sockets):
                self._ports.append(PassedPort(descriptor, Site(self._pages), reactor=reactor))
            return
        for listener in self._config.listeners.listeners:
            interface = listener.bind_addresses[0]
            self._ports.append(reactor.listenTCP(listener.port, Site(self._pages), interface=interface))

    async def stop(self) -> None:
        for port in self._ports:
            await port.stopListening()
        if FAULT == "thread":
            threading.Thread(target=threading.Event().wait).start()
        if FAULT == "stuck":
            await Deferred()
        while self._pages.in_flight:
            await deferLater(reactor, 0.05)


if __name__ == "__main__":
    sys.exit(
        run_program(
            sys.argv[1:],
            reactor=reactor,
            build_server=SmallServer,
            finish_seconds=FINISH_SECONDS,
        )
    )
