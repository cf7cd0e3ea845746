# SPDX-License-Identifier: Apache-2.0
"""Listening ports: where they open, what they say when they cannot, and how they stop."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from federation.http.admission import Admission
from federation.http.channel import Phase
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Auth, Call, Endpoint, Json, JsonObject, Requester
from federation.http.listeners import Listeners
from federation.http.ports import Listener, ListenerError
from federation.http.service import Service
from federation.http.site import Site
from federation.http.tls import CertificateError, ServerCertificate
from tests.support.certificates import write_certificate
from tests.support.http import ALICE, Client
from tests.support.reactor import in_reactor

TEXT = "x" * 70_000
STEPS = 20  # of a slow request, each a tick of the reactor


class Endpoints:
    """Endpoints that take their time."""

    def __init__(self) -> None:
        self.polling: list[Deferred[None]] = []
        self.entered = threading.Event()

    async def address(self, call: Call) -> Json:
        """Answers at once, more than one packet."""
        return Json({"address": call.request.client_address, "text": TEXT})

    async def poll(self, _call: Call) -> Json:
        """Waits until polls are ended."""
        wait: Deferred[None] = Deferred()
        self.polling.append(wait)
        self.entered.set()
        await wait
        return Json({"polled": True})

    async def slow(self, _call: Call) -> Json:
        """Takes a while."""
        self.entered.set()
        for _ in range(STEPS):
            step: Deferred[None] = Deferred()
            reactor.callLater(0.01, step.callback, None)
            await step
        return Json({"slow": True})

    async def hang(self, _call: Call) -> Json:
        """Never answers."""
        self.entered.set()
        await Deferred()
        raise AssertionError

    def end_polls(self) -> None:
        """What the server calls when it stops."""
        polling, self.polling = self.polling, []
        for wait in polling:
            wait.callback(None)

    def table(self) -> tuple[Endpoint, ...]:
        """The endpoints."""
        return (
            Endpoint("GET", "/address", self.address, auth=Auth.NONE),
            Endpoint("GET", "/poll", self.poll, auth=Auth.NONE),
            Endpoint("PUT", "/slow", self.slow, auth=Auth.NONE, body=JsonObject),
            Endpoint("PUT", "/hang", self.hang, auth=Auth.NONE, body=JsonObject),
        )


class Opened:
    """Listeners in the reactor's thread."""

    def __init__(self) -> None:
        self.endpoints = Endpoints()
        self.listeners = Listeners(reactor=reactor)
        self.stopped = False

    def open(self, listener: Listener) -> list[tuple[str, int]]:
        """Open one more; returns the addresses of all."""

        async def authenticate(_token: str) -> Requester:
            return ALICE

        async def open_it() -> list[tuple[str, int]]:
            self.listeners.open(listener, site)
            return self.listeners.addresses()

        service = Service(
            dispatch=Dispatch(self.endpoints.table()), admission=Admission(authenticate=authenticate)
        )
        site = Site(reactor=reactor, service=service, x_forwarded=listener.x_forwarded)
        return in_reactor(open_it())

    def stop(self, seconds: float = 5.0) -> float:
        """Stop; returns how long it took."""
        self.stopped = True
        began = time.monotonic()
        in_reactor(self.listeners.stop(seconds=seconds, end_long_polls=self.endpoints.end_polls))
        return time.monotonic() - began

    def in_background(self, method: str, path: str, port: int) -> Callable[[], Any]:
        """Begin a request; returns what waits for its answer."""
        results: list[Any] = []

        def ask() -> None:
            try:
                results.append(Client("127.0.0.1", port).request(method, path))
            except (OSError, http.client.HTTPException) as error:
                results.append(error)

        thread = threading.Thread(target=ask)
        self.endpoints.entered.clear()
        thread.start()
        assert self.endpoints.entered.wait(10)

        def result() -> Any:
            thread.join(20)
            return results[0]

        return result


@pytest.fixture
def opened(short_path: Path) -> Iterator[Opened]:
    opened = Opened()
    yield opened
    if not opened.stopped:
        opened.stop(0.5)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A path for a socket; long ones are refused by the system."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory, "main.sock")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def get_unix(path: Path, headers: str = "") -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(f"GET /address HTTP/1.1\r\nConnection: close\r\n{headers}\r\n".encode())
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def test_tcp(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    assert host == "127.0.0.1"
    assert Client(host, port).get("/address").json["address"] == "127.0.0.1"


def test_several_addresses_share_a_port(opened: Opened) -> None:
    addresses = opened.open(Listener(port=0, bind_addresses=("127.0.0.1", "127.0.0.2")))
    assert [host for host, _ in addresses] == ["127.0.0.1", "127.0.0.2"]
    assert len({port for _, port in addresses}) == 1


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0, bind_addresses=("::1",)))
    assert Client(host, port).get("/address").json["address"] == "::1"


def test_all_addresses_of_both_families(opened: Opened) -> None:
    addresses = opened.open(Listener(port=0, bind_addresses=("0.0.0.0", "::")))
    assert Client("127.0.0.1", addresses[0][1]).get("/address").status == 200
    if has_ipv6():
        assert Client("::1", addresses[0][1]).get("/address").status == 200


def test_unix_socket(opened: Opened, short_path: Path) -> None:
    assert opened.open(Listener(path=short_path, mode=0o620)) == [(str(short_path), 0)]
    assert stat.S_IMODE(short_path.stat().st_mode) == 0o620
    assert b'{"address":""' in get_unix(short_path)
    opened.stop()
    assert not short_path.exists()


def test_a_proxy_on_a_unix_socket(opened: Opened, short_path: Path) -> None:
    opened.open(Listener(path=short_path, x_forwarded=True))
    assert b'{"address":"192.0.2.1"' in get_unix(short_path, "X-Forwarded-For: 192.0.2.1\r\n")


def test_a_stale_unix_socket_is_replaced(opened: Opened, short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(short_path))
    opened.open(Listener(path=short_path))
    assert b"200 OK" in get_unix(short_path)


def test_a_unix_socket_in_use(opened: Opened, short_path: Path) -> None:
    opened.open(Listener(path=short_path))
    with pytest.raises(ListenerError, match=r"Another process listens on the UNIX socket .*/main\.sock"):
        opened.open(Listener(path=short_path))
    assert b"200 OK" in get_unix(short_path)


def test_a_file_is_not_replaced_by_a_unix_socket(opened: Opened, short_path: Path) -> None:
    short_path.write_text("precious")
    with pytest.raises(ListenerError, match="is no UNIX socket"):
        opened.open(Listener(path=short_path))
    assert short_path.read_text() == "precious"


def test_a_unix_socket_in_no_directory(opened: Opened, short_path: Path) -> None:
    with pytest.raises(ListenerError, match="there is no directory"):
        opened.open(Listener(path=short_path.parent / "nowhere" / "main.sock"))


def test_a_unix_socket_with_too_long_a_name(opened: Opened, short_path: Path) -> None:
    with pytest.raises(ListenerError, match="too long"):
        opened.open(Listener(path=short_path.parent / ("x" * 200)))


def test_a_unix_socket_that_somebody_has_removed(
    opened: Opened, short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened.open(Listener(path=short_path))
    (port,) = opened.listeners._ports
    short_path.unlink()
    with caplog.at_level(logging.WARNING):
        opened.stop()
    assert "did not close properly" in caplog.text
    port.port.socket.close()  # twisted forgets it


def test_a_port_in_use(opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenerError, match=f"127.0.0.1 port {port}: another program uses it"):
            opened.open(Listener(port=port))


def test_an_address_of_another_machine(opened: Opened) -> None:
    with pytest.raises(ListenerError, match="this machine has no such address"):
        opened.open(Listener(port=0, bind_addresses=("192.0.2.1",)))


@pytest.mark.parametrize("listener", [Listener(), Listener(port=0, certificate_path=Path("a"))])
def test_half_a_listener(opened: Opened, listener: Listener) -> None:
    with pytest.raises(ListenerError, match="needs"):
        opened.open(listener)


# TLS


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    write_certificate(certificate, key)
    return certificate, key


def tls_listener(pair: tuple[Path, Path]) -> Listener:
    return Listener(port=0, certificate_path=pair[0], private_key_path=pair[1])


@contextlib.contextmanager
def tls_connection(port: int, certificate: Path, **options: Any) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(certificate))
    for name, value in options.items():
        setattr(context, name, value)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        yield connection


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls(opened: Opened, pair: tuple[Path, Path], version: ssl.TLSVersion) -> None:
    ((_, port),) = opened.open(tls_listener(pair))
    with tls_connection(port, pair[0], maximum_version=version) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        for _ in range(2):
            connection.sendall(b"GET /address HTTP/1.1\r\n\r\n")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200
            assert TEXT.encode() in answer.read()


def test_old_tls_is_refused(opened: Opened, pair: tuple[Path, Path]) -> None:
    ((_, port),) = opened.open(tls_listener(pair))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as raw, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(raw)


def test_a_renewed_certificate(
    opened: Opened, pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    ((_, port),) = opened.open(tls_listener(pair))

    async def reload() -> None:
        opened.listeners.reload_certificates()

    first = pair[0].read_bytes()
    write_certificate(*pair)
    in_reactor(reload())
    with tls_connection(port, pair[0]):
        pass
    pair[1].write_text("damaged")
    with caplog.at_level(logging.ERROR):
        in_reactor(reload())
    assert "stays as it was" in caplog.text
    with tls_connection(port, pair[0]):
        pass
    assert pair[0].read_bytes() != first


def test_a_listener_without_certificate_file(opened: Opened, pair: tuple[Path, Path]) -> None:
    pair[0].unlink()
    with pytest.raises(ListenerError, match=r"cannot speak TLS: .*tls\.crt cannot be read: No such file"):
        opened.open(tls_listener(pair))


@pytest.mark.parametrize(
    ("which", "content", "says"),
    [
        (0, "", "holds no certificate"),
        (0, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate"),
        (1, "", "holds no private key"),
        (1, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no private key"),
    ],
)
def test_damaged_files(pair: tuple[Path, Path], which: int, content: str, says: str) -> None:
    pair[which].write_text(content)
    with pytest.raises(CertificateError, match=says):
        ServerCertificate(certificate=pair[0], private_key=pair[1])


def test_the_key_of_another_certificate(pair: tuple[Path, Path], tmp_path: Path) -> None:
    write_certificate(tmp_path / "other.crt", pair[1])
    with pytest.raises(CertificateError, match="is not the key of"):
        ServerCertificate(certificate=pair[0], private_key=pair[1])


# The stop


def test_nothing_is_accepted_after_the_stop(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    opened.stop()
    with pytest.raises(ConnectionRefusedError):
        Client(host, port).get("/address")


def test_what_is_in_flight_is_finished(opened: Opened) -> None:
    ((_, port),) = opened.open(Listener(port=0))
    slow = opened.in_background("PUT", "/slow", port)
    took = opened.stop()
    answer = slow()
    assert answer.json == {"slow": True}
    assert answer.headers["connection"] == "close"
    assert took < 4


def test_long_polls_end_at_once(opened: Opened) -> None:
    ((_, port),) = opened.open(Listener(port=0))
    polls = [opened.in_background("GET", "/poll", port) for _ in range(3)]
    assert opened.stop() < 4
    assert [poll().json for poll in polls] == [{"polled": True}] * 3


def test_idle_connections_are_closed(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("GET", "/address")
        connection.getresponse().read()
        assert opened.stop() < 4
        assert connection.sock.recv(1) == b""


# Draining: others go on


def draining(opened: Opened, linger: float) -> Callable[[], float]:
    """Begin to drain; returns what waits for its end and says how long it took."""
    began = time.monotonic()
    thread = threading.Thread(
        target=lambda: in_reactor(
            opened.listeners.drain_softly(linger=linger, end_long_polls=opened.endpoints.end_polls)
        )
    )
    thread.start()
    while not opened.listeners.draining:
        time.sleep(0.005)

    def wait() -> float:
        thread.join(20)
        return time.monotonic() - began

    return wait


def test_an_idle_connection_brings_one_more_request(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("GET", "/address")
        assert connection.getresponse().read()
        wait = draining(opened, 10)
        time.sleep(0.2)
        connection.request("GET", "/address")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Connection"] == "close"
        assert answer.read()
        assert wait() < 5  # nobody is left


def test_connections_that_stay_idle_are_closed_by_the_stop(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("GET", "/address")
        connection.getresponse().read()
        assert 0.4 <= draining(opened, 0.4)() < 3
        connection.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)
        assert opened.stop() < 4
        assert connection.sock.recv(1) == b""


def test_long_polls_end_and_a_socket_of_ones_own_accepts_while_the_server_drains(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    poll = opened.in_background("GET", "/poll", port)
    with socket.create_connection((host, port)):  # keeps the drain going
        wait = draining(opened, 0.5)
        answer = poll()
        assert answer.json == {"polled": True}
        assert answer.headers["connection"] == "close"
        late = Client(host, port).get("/address")
        assert late.status == 200
        assert late.headers["connection"] == "close"
        assert wait() < 3


def test_what_hangs_is_cut(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    ((_, port),) = opened.open(Listener(port=0))
    hanging = opened.in_background("PUT", "/hang", port)
    with caplog.at_level(logging.WARNING):
        assert 0.3 <= opened.stop(0.3) < 3
    assert isinstance(hanging(), (OSError, http.client.HTTPException))
    assert "Cut 1 connections" in caplog.text


def test_a_request_that_is_still_being_sent(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(b"PUT /slow HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stopping = threading.Thread(target=opened.stop)
        stopping.start()
        wait_until_refused(host, port)
        connection.sendall(b"{}")
        received = b""
        while data := connection.recv(65536):
            received += data
        stopping.join(10)
    assert received.endswith(b'{"slow":true}')


def test_a_request_whose_first_line_is_still_being_sent(opened: Opened) -> None:
    ((host, port),) = opened.open(Listener(port=0))
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(b"GET /addr")
        site = opened.listeners._sites[0]
        while not any(channel.phase is Phase.HEADERS for channel in site._channels):
            time.sleep(0.01)
        stopping = threading.Thread(target=opened.stop)
        stopping.start()
        wait_until_refused(host, port)
        connection.sendall(b"ess HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        stopping.join(10)


def wait_until_refused(host: str, port: int) -> None:
    """Return when the port is closed."""
    for _ in range(500):
        try:
            socket.create_connection((host, port), 10).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # it waited to be accepted when the port was closed
        time.sleep(0.01)
    raise AssertionError("the port stays open")
