# SPDX-License-Identifier: Apache-2.0
"""Sockets that another process has opened: served like one's own, left to the others at the end."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from federation.http.admission import Admission
from federation.http.connection_shares import ConnectionShares
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Auth, Call, Endpoint, Json, Requester
from federation.http.listeners import Listeners
from federation.http.ports import Listener, ListenerError
from federation.http.service import Service
from federation.http.site import Site
from tests.support.certificates import write_certificate
from tests.support.http import ALICE
from tests.support.reactor import in_reactor


@attrs.define(eq=False)
class Process:
    """What a process has of the sockets: listeners of its own in the reactor's thread."""

    shares: ConnectionShares | None = None
    listeners: Listeners = attrs.field(init=False)
    stopped: bool = False

    def __attrs_post_init__(self) -> None:
        self.listeners = Listeners(reactor=reactor, shares=self.shares)

    def open(self, listening: socket.socket, **options: Any) -> None:
        """Serve on a copy of a listening socket."""
        in_reactor(self._open(Listener(port=0, descriptors=(os.dup(listening.fileno()),), **options)))

    async def _open(self, listener: Listener) -> None:
        async def authenticate(_token: str) -> Requester:
            return ALICE

        async def address(call: Call) -> Json:
            return Json({"address": call.request.client_address})

        endpoints = (Endpoint("GET", "/address", address, auth=Auth.NONE),)
        service = Service(dispatch=Dispatch(endpoints), admission=Admission(authenticate=authenticate))
        self.listeners.open(listener, Site(reactor=reactor, service=service, shares=self.shares))

    def drain(self, linger: float) -> None:
        """Let the clients go."""
        in_reactor(self.listeners.drain_softly(linger=linger, end_long_polls=lambda: None))

    def stop(self) -> None:
        """Stop it."""
        if not self.stopped:
            self.stopped = True
            in_reactor(self.listeners.stop(seconds=1, end_long_polls=lambda: None))


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """Two of them, which share."""
    with tempfile.TemporaryFile() as file:
        ConnectionShares.make_file(file.fileno(), 2)
        both = [Process(ConnectionShares(file.fileno(), processes=2, index=index)) for index in range(2)]
        yield both
        for process in both:
            process.stop()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as opened:
        yield opened


def get(connection: socket.socket) -> http.client.HTTPResponse:
    connection.settimeout(10)
    connection.sendall(b"GET /address HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    assert answer.status == 200
    assert b"address" in answer.read()
    return answer


def test_tcp(processes: list[Process], listening: socket.socket) -> None:
    name = listening.getsockname()
    processes[0].open(listening)
    assert processes[0].listeners.urls == [f"http://127.0.0.1:{name[1]}"]
    assert processes[0].listeners.addresses() == [name]
    with socket.create_connection(name) as connection:
        for _ in range(2):
            assert get(connection).headers["Connection"] != "close"


def test_a_unix_socket_stays_for_the_others(processes: list[Process]) -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        path = Path(directory, "main.sock")
        listening.bind(str(path))
        listening.listen()
        for process in processes:
            process.open(listening)
        assert processes[0].listeners.urls == [f"unix:{path}"]
        processes[0].stop()
        assert path.exists()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            get(connection)


def test_tls(processes: list[Process], listening: socket.socket, tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    write_certificate(certificate, key)
    processes[0].open(listening, certificate_path=certificate, private_key_path=key)
    assert processes[0].listeners.urls[0].startswith("https://")
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(listening.getsockname(), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        get(connection)


def test_no_socket_at_all() -> None:
    process = Process()
    with open(os.devnull, "rb") as file, pytest.raises(ListenerError, match="cannot be used"):
        process.open(file)  # type: ignore[arg-type]


@pytest.mark.parametrize("pause", [0.0, 0.004])
def test_connections_are_shared_evenly(
    processes: list[Process], listening: socket.socket, pause: float
) -> None:
    for process in processes:
        process.open(listening)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(listening.getsockname()))
            time.sleep(pause)
        counts = [process.listeners._sites[0].counts for process in processes]
        deadline = time.monotonic() + 10
        while sum(count.connections for count in counts) < 100:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert min(count.connections for count in counts) >= 30


def test_what_the_others_leave_is_taken_all_the_same(
    processes: list[Process], listening: socket.socket
) -> None:
    processes[0].open(listening)
    shares = processes[1].shares
    assert shares is not None
    shares.join()  # and it never accepts
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            get(stack.enter_context(socket.create_connection(listening.getsockname())))


def test_a_socket_that_its_owner_shuts_down(
    processes: list[Process], listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    processes[0].open(listening)
    with socket.create_connection(listening.getsockname()) as connection:
        get(connection)
        listening.shutdown(socket.SHUT_RDWR)
        in_reactor(deferred_turn())
        get(connection)  # what is open goes on
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(listening.getsockname())
    assert "No connection can be accepted" not in caplog.text
    (port,) = processes[0].listeners._ports
    assert port.port.fileno() == -1


async def deferred_turn() -> None:
    """Let the reactor look after its sockets."""
    await deferLater(reactor, 0.05)  # type: ignore[arg-type]


def test_a_process_that_drains_leaves_new_connections_to_the_others(
    processes: list[Process], listening: socket.socket
) -> None:
    processes[0].open(listening)
    with socket.create_connection(listening.getsockname()) as old:
        get(old)
        processes[1].open(listening)
        in_reactor(_begin(processes[0]))
        for _ in range(10):
            with socket.create_connection(listening.getsockname()) as new:
                assert get(new).headers["Connection"] != "close"
        # A request that was on its way is answered, and its client told to go.
        assert get(old).headers["Connection"] == "close"
        assert old.recv(1) == b""


async def _begin(process: Process) -> None:
    """Begin to drain, without waiting for the end."""
    Deferred.fromCoroutine(process.listeners.drain_softly(linger=5, end_long_polls=lambda: None))
