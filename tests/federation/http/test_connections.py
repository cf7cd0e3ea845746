# SPDX-License-Identifier: Apache-2.0
"""Connections as raw sockets see them: keep-alive, bounds, deadlines, clients that go or do not read."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from federation.http.admission import Admission
from federation.http.channel import HEADERS_SECONDS, IDLE_SECONDS, STALL_SECONDS, Channel
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Auth, Call, Content, Endpoint, Json, JsonObject, JsonStream
from federation.http.service import Service
from federation.http.site import Site
from tests.support.http import ALICE, Server, serve
from tests.support.reactor import in_reactor

KIB = 1024
GET = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"
HEADERS = b"Host: a\r\nAuthorization: Bearer alice\r\n"


class Witness:
    """Endpoints that note what becomes of their requests."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.left = threading.Event()
        self.outcome = ""
        self.parts = 0
        self.release: Deferred[None] = Deferred()

    async def small(self, call: Call) -> Json:
        """Answers at once."""
        return Json({"path": call.request.path.decode()})

    async def nodelay(self, call: Call) -> Json:
        """Answers whether Nagle's algorithm is off."""
        transport = call.request.transport  # type: ignore[attr-defined]
        return Json({"nodelay": bool(transport.getTcpNoDelay())})

    async def wait(self, _call: Call) -> Json:
        """Answers when it is released."""
        self.entered.set()
        try:
            await self.release
        except CancelledError:
            self.outcome = "cancelled"
            raise
        else:
            self.outcome = "done"
        finally:
            self.left.set()
        return Json({})

    async def large(self, _call: Call) -> Json:
        """Answers 8 MiB."""
        return Json({"text": "x" * (8 * KIB * KIB)})

    async def stream(self, _call: Call) -> JsonStream:
        """Answers for a long time."""
        return JsonStream(self._numbered())

    async def bytes(self, _call: Call) -> Content:
        """Answers for a long time, without compression."""
        return Content("application/octet-stream", self._numbered())

    async def endless(self, _call: Call) -> Content:
        """Answers without end."""
        return Content("application/octet-stream", self._endless())

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * KIB
        finally:
            self.outcome = "closed"

    async def _numbered(self) -> AsyncIterator[bytes]:
        try:
            for self.parts in range(1000):
                yield b"%08d" % self.parts * KIB
        finally:
            self.outcome = "closed"
            self.left.set()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The table."""
        return (
            Endpoint("GET", "/small", self.small, auth=Auth.NONE),
            Endpoint("GET", "/nodelay", self.nodelay, auth=Auth.NONE),
            Endpoint("GET", "/wait", self.wait),
            Endpoint("PUT", "/wait", self.wait, body=JsonObject),
            Endpoint("GET", "/large", self.large),
            Endpoint("GET", "/stream", self.stream),
            Endpoint("GET", "/bytes", self.bytes),
            Endpoint("GET", "/endless", self.endless),
            Endpoint("POST", "/object", self.small, auth=Auth.NONE, body=JsonObject, max_body=1000),
        )


@attrs.frozen
class Wire:
    """A raw connection."""

    socket: socket.socket

    def send(self, data: bytes) -> None:
        """Send; a server that has closed already is no error."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := self.socket.recv(65536):
                received += data
        return received

    def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body of one answer that has a length, and nothing of the next."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, f"closed after {head!r}"
            head += byte
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found is not None, head
        body = bytearray()
        while len(body) < int(found[1]):
            part = self.socket.recv(min(65536, int(found[1]) - len(body)))
            assert part, f"closed after {len(body)} bytes"
            body += part
        return int(head.split(b" ")[1]), head, bytes(body)

    def is_closed(self) -> bool:
        """Whether the server has closed without sending more."""
        return self.rest() == b""


@contextlib.contextmanager
def connected(server: Server, buffer: int | None = None) -> Iterator[Wire]:
    with socket.socket() as connection:
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        yield Wire(connection)


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
def server(witness: Witness) -> Iterator[Server]:
    with serve(witness.endpoints()) as server:
        yield server


def test_a_connection_is_kept(server: Server) -> None:
    with connected(server) as wire:
        for _ in range(3):
            wire.send(GET)
            status, head, body = wire.answer()
            assert (status, body) == (200, b'{"path":"/small"}')
            assert b"Connection: close" not in head


def test_requests_in_a_pipeline_are_answered_in_order(server: Server) -> None:
    count = 500
    with connected(server) as wire:
        wire.send(b"".join(b"GET /small/%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(count - 1)))
        wire.send(b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = wire.rest()
    assert received.count(b"HTTP/1.1 404 Not Found") == count - 1
    assert received.endswith(b'{"path":"/small"}')


def test_a_pipeline_behind_a_request_that_waits(server: Server, witness: Witness) -> None:
    with connected(server) as wire:
        wire.send(b"PUT /wait HTTP/1.1\r\n%bContent-Length: 2\r\n\r\n{}" % HEADERS + GET)
        assert witness.entered.wait(10)
        in_reactor(release(witness))
        assert wire.answer()[2] == b"{}"
        assert wire.answer()[2] == b'{"path":"/small"}'


async def release(witness: Witness) -> None:
    witness.release.callback(None)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /small HTTP/1.0\r\n\r\n",
        b"GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_connection_is_closed_where_the_client_wants_it(server: Server, head: bytes) -> None:
    with connected(server) as wire:
        wire.send(head)
        status, head, _ = wire.answer()
        assert status == 200
        assert b"Connection: close" in head
        assert wire.is_closed()


def test_a_stream_for_an_old_client_ends_with_the_connection(server: Server) -> None:
    with connected(server) as wire:
        wire.send(b"GET /bytes HTTP/1.0\r\n%b\r\n" % HEADERS)
        head, _, body = wire.rest().partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert body == b"".join(b"%08d" % n * KIB for n in range(1000))


def test_nothing_waits_for_more_to_send(server: Server) -> None:
    assert server.client(None).get("/nodelay").json == {"nodelay": True}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\r\n" + GET, 200),
        (b"GET http://a/small HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /small HTTP/1.1\r\n" + b"A: b\r\n" * 99 + b"\r\n", 200),
        (b"GET /small?" + b"x" * 15000 + b" HTTP/1.1\r\n\r\n", 200),
        (b"POST /object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200),
        (
            b"POST /object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1;x=y\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n",
            200,
        ),
        (b"POST /object HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 200),
        (b"POST /object HTTP/1.1\r\n\r\n", 200),
        (b"POST /object HTTP/1.1\r\nContent-Length: 1001\r\n\r\n" + b" " * 1001, 413),
        (
            b"POST /object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3e8\r\n" + b" " * 1000 + b"\r\n1\r\n \r\n0\r\n\r\n",
            413,
        ),
    ],
)
def test_odd_requests(server: Server, sent: bytes, status: int) -> None:
    with connected(server) as wire:
        wire.send(sent)
        assert wire.answer()[0] == status
        wire.send(GET)
        assert wire.answer()[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\r\n\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /small\r\n\r\n", 400),
        (b"GET /small HTTP/2.0\r\n\r\n", 400),
        (b"GET  /small HTTP/1.1\r\n\r\n", 400),
        (b"GE\x00T /small HTTP/1.1\r\n\r\n", 400),
        (b"GET /sm\xffall HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /small HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /small HTTP/1.1\r\nA b: c\r\n\r\n", 400),
        (b"GET /small HTTP/1.1\r\nA: b\x00\r\n\r\n", 400),
        (b"POST /object HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /object HTTP/1.1\r\nContent-Length: +2\r\n\r\n{}", 400),
        (b"POST /object HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\n{}", 400),
        (b"POST /object HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (b"POST /object HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /object HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST /object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST /object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n", 400),
        (b"POST /object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 2000 + b"\r\n", 400),
        (b"GET /small HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET /small HTTP/1.1\r\n" + b"A: " + b"b" * 8000 + b"\r\nB: " + b"b" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"x" * 20000, 431),
        (b"GET /small HTTP/1.1\r\n A: " + b"b" * 20000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_http_is_refused_in_json_and_closed(server: Server, sent: bytes, status: int) -> None:
    with connected(server) as wire:
        wire.send(sent)
        found, head, body = wire.answer()
        assert found == status
        assert b"Connection: close" in head
        assert b"Access-Control-Allow-Origin: *" in head
        assert b'"errcode":"M_' in body
        assert wire.is_closed()


def test_a_body_that_is_far_too_large_is_refused_before_it_comes(server: Server) -> None:
    with connected(server) as wire:
        wire.send(b"POST /object HTTP/1.1\r\nContent-Length: 10000000000000000000000\r\n\r\n")
        status, head, _ = wire.answer()
        assert status == 413
        assert b"Connection: close" in head
        wire.send(b" " * KIB * KIB)  # still taken, and thrown away


def test_a_chunked_body_without_end_is_cut(server: Server) -> None:
    with connected(server) as wire:
        wire.send(b"POST /object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        part = b"100000\r\n" + b" " * KIB * KIB + b"\r\n"
        for _ in range(70):
            wire.send(part)
        assert b"M_TOO_LARGE" in wire.rest()


@pytest.mark.parametrize(
    ("request_line", "length", "first"),
    [
        (b"POST /object", b"2", b"HTTP/1.1 100 Continue"),
        (b"POST /object", b"1001", b"HTTP/1.1 413 "),
        (b"POST /nothing", b"2", b"HTTP/1.1 404 Not Found"),
        (b"PUT /object", b"2", b"HTTP/1.1 405 Method Not Allowed"),
    ],
)
def test_a_client_that_waits_for_our_consent(
    server: Server, request_line: bytes, length: bytes, first: bytes
) -> None:
    with connected(server) as wire:
        wire.send(
            request_line + b" HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: " + length + b"\r\n\r\n"
        )
        received = wire.socket.recv(65536)
        assert received.startswith(first)
        if received.startswith(b"HTTP/1.1 100"):
            wire.send(b"{}")
            assert wire.answer()[0] == 200


@pytest.mark.parametrize(
    ("method", "outcome"), [(b"GET", "cancelled"), (b"HEAD", "cancelled"), (b"PUT", "done")]
)
def test_a_client_that_goes(
    server: Server, witness: Witness, method: bytes, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        with connected(server) as wire:
            wire.send(b"%b /wait HTTP/1.1\r\n%bContent-Length: 2\r\n\r\n{}" % (method, HEADERS))
            assert witness.entered.wait(10)
        if method == b"PUT":
            assert not witness.left.wait(0.1)
            in_reactor(release(witness))
        assert witness.left.wait(10)
        in_reactor(next_turn())
    assert witness.outcome == outcome
    lines = [record.getMessage() for record in caplog.records if record.name == "trellis.access"]
    assert [line.split(" ")[2] for line in lines] == ["499"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def next_turn() -> None:
    turn: Deferred[None] = Deferred()
    reactor.callLater(0.05, turn.callback, None)
    await turn


@pytest.mark.parametrize("path", [b"/stream", b"/bytes"])
def test_a_stream_waits_for_its_reader_and_ends_with_it(
    server: Server, witness: Witness, path: bytes
) -> None:
    with connected(server, buffer=4 * KIB) as wire:
        wire.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, HEADERS))
        assert wire.socket.recv(100)
        assert not witness.left.wait(0.5)
        sent_unread = witness.parts
        assert 0 < sent_unread < 999
        assert not witness.left.wait(0.2)
        assert witness.parts == sent_unread
        for _ in range(100):
            wire.socket.recv(65536)
    assert witness.left.wait(10)
    assert witness.outcome == "closed"
    assert witness.parts < 999


def test_a_large_answer_to_a_slow_reader(server: Server) -> None:
    with connected(server, buffer=4 * KIB) as wire:
        wire.send(b"GET /large HTTP/1.1\r\n%b\r\n" % HEADERS + GET)
        status, _, body = wire.answer()
        assert (status, len(body)) == (200, 8 * KIB * KIB + len('{"text":""}'))
        assert wire.answer()[2] == b'{"path":"/small"}'


class Still(Clock):
    """A clock that stands still, with a thread pool nobody needs."""

    def getThreadPool(self) -> Any:  # noqa: N802
        raise AssertionError


@attrs.frozen
class InMemory:
    """A connection in memory, on a clock of its own."""

    clock: Still
    channel: Channel
    transport: StringTransportWithDisconnection

    def receive(self, data: bytes) -> None:
        """The client sends `data`."""
        self.channel.dataReceived(data)

    def pass_time(self, seconds: float) -> None:
        """Time goes on, in small steps."""
        for _ in range(int(seconds)):
            self.clock.advance(1)

    @property
    def open(self) -> bool:
        """Whether the server has not closed it."""
        return bool(self.transport.connected) and not self.transport.disconnecting


@pytest.fixture
def in_memory(witness: Witness) -> Iterator[InMemory]:
    async def nobody(_token: str) -> Any:
        return ALICE

    clock = Still()
    admission = Admission(authenticate=nobody)
    service = Service(dispatch=Dispatch(witness.endpoints()), admission=admission)
    site = Site(reactor=clock, service=service)
    site.startFactory()
    channel = site.buildProtocol(None)
    transport = StringTransportWithDisconnection()
    transport.protocol = channel
    transport.abortConnection = transport.loseConnection
    channel.makeConnection(transport)
    yield InMemory(clock, channel, transport)
    site.stopFactory()
    assert not clock.getDelayedCalls()


async def test_an_idle_connection_is_closed(in_memory: InMemory) -> None:
    in_memory.receive(GET)
    assert in_memory.transport.value().startswith(b"HTTP/1.1 200 OK")
    in_memory.pass_time(IDLE_SECONDS - 1)
    assert in_memory.open
    in_memory.receive(GET)
    in_memory.pass_time(IDLE_SECONDS - 1)
    assert in_memory.open
    in_memory.pass_time(7)
    assert not in_memory.open


async def test_headers_that_drip_are_cut(in_memory: InMemory) -> None:
    for _ in range(int(HEADERS_SECONDS) + 6):
        if in_memory.open:
            in_memory.receive(b"G")
        in_memory.pass_time(1)
    assert not in_memory.open


async def test_a_body_may_take_long_but_not_stop(in_memory: InMemory) -> None:
    in_memory.receive(b"POST /object HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
    for _ in range(5):
        in_memory.receive(b" ")
        in_memory.pass_time(IDLE_SECONDS - 1)
    assert in_memory.open
    in_memory.pass_time(7)
    assert not in_memory.open


async def test_a_long_poll_may_take_long(in_memory: InMemory, witness: Witness) -> None:
    in_memory.receive(b"GET /wait HTTP/1.1\r\n%b\r\n" % HEADERS)
    in_memory.pass_time(900)
    assert in_memory.open
    witness.release.callback(None)
    assert in_memory.transport.value().endswith(b"{}")


async def test_a_client_that_takes_nothing_is_cut(in_memory: InMemory, witness: Witness) -> None:
    in_memory.receive(b"GET /endless HTTP/1.1\r\n%b\r\n" % HEADERS)
    in_memory.channel.pauseProducing()
    in_memory.pass_time(STALL_SECONDS - 1)
    in_memory.channel.resumeProducing()
    in_memory.channel.pauseProducing()
    in_memory.pass_time(STALL_SECONDS - 1)
    assert in_memory.open
    in_memory.pass_time(7)
    assert not in_memory.open
    assert witness.outcome == "closed"


# Whatever is sent, the answer is no 5xx and the server goes on.

WORDS = [
    *(
        b"GET ",
        b"POST ",
        b"/small",
        b"/object",
        b"/",
        b"?",
        b"%",
        b"%FF",
        b"%2F",
        b"&",
        b"=",
        b"access_token=",
    ),
    *(b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b":", b"Host: a", b"Content-Length: "),
    *(b"Content-Length: 2", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close"),
    *(b"Authorization: Bearer ", b"Accept-Encoding: gzip", b"Upgrade: h2c", b"{}", b"{", b"0", b"\x00"),
    *(b"\xff\xff", b"x" * 9000),
]
FRAGMENTS = st.binary(max_size=20) | st.sampled_from(WORDS)
PIECES = (
    *(b"POST", b" ", b"/object", b"?", b"a=b", b" ", b"HTTP/1.1", b"\r\n"),
    *(b"Host", b": ", b"a", b"\r\n", b"Accept-Encoding", b": ", b"gzip", b"\r\n"),
    *(b"Content-Length", b": ", b"2", b"\r\n", b"\r\n", b"{}"),
)
TARGETS = st.lists(
    st.sampled_from([b"/", b"small", b"object", b"%", b"%2F", b"%FF", b"%00", b"?", b"a=b", b"&", b"\x7f"]),
    max_size=6,
).map(b"".join)
TOKENS = st.text("abcXYZ-_09", min_size=1, max_size=8).map(str.encode) | st.sampled_from(
    [b"Authorization", b"Cookie", b"Accept-Encoding", b"X-Forwarded-For", b"Expect", b"Content-Type"]
)
VALUES = st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n\0")) | st.sampled_from(
    [b"Bearer \xff", b"Bearer", b"gzip;q=x", b"*;q=", b"100-continue", b"a=b; c", b";;=", b",,", b"X" * 3000]
)


@pytest.fixture(scope="module")
def lasting_server() -> Iterator[Server]:
    with serve(Witness().endpoints()) as server:
        yield server


def exchange(server: Server, sent: bytes) -> bytes:
    with connected(server) as wire:
        wire.send(sent)
        with contextlib.suppress(OSError):
            wire.socket.shutdown(socket.SHUT_WR)
        return wire.rest()


@given(
    st.lists(
        st.tuples(st.integers(0, len(PIECES)), st.sampled_from(["insert", "replace", "drop"]), FRAGMENTS),
        max_size=3,
    )
)
@settings(max_examples=250, deadline=None)
def test_any_damage_to_a_request(lasting_server: Server, damages: list[tuple[int, str, bytes]]) -> None:
    pieces = list(PIECES)
    for place, kind, fragment in damages:
        pieces[place : place + (kind != "insert")] = [] if kind == "drop" else [fragment]
    received = exchange(lasting_server, b"".join(pieces) + GET)
    assert not re.search(rb"HTTP/1.1 5", received)
    assert received == b"" or received.startswith(b"HTTP/1.1 ")


@given(st.lists(FRAGMENTS, max_size=10).map(b"".join))
@settings(max_examples=100, deadline=None)
def test_any_bytes(lasting_server: Server, sent: bytes) -> None:
    received = exchange(lasting_server, sent)
    assert not re.search(rb"HTTP/1.1 5", received)
    assert received == b"" or received.startswith(b"HTTP/1.1 ")


@given(
    TARGETS,
    st.lists(st.tuples(TOKENS, VALUES), max_size=4),
    st.binary(max_size=50) | st.sampled_from([b"{}", b"[]", b'{"a":' * 150, b'"\\ud800"', b"{" * 900]),
)
@settings(max_examples=150, deadline=None)
def test_any_target_headers_and_body(
    lasting_server: Server, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    for line in (b"GET /small" + target, b"POST /object?" + target, b"PUT /" + target):
        head = b"%b HTTP/1.1\r\n%bConnection: close\r\nContent-Length: %d\r\n\r\n" % (line, lines, len(body))
        received = exchange(lasting_server, head + body)
        assert re.match(rb"HTTP/1.1 [124]", received)
        assert not re.search(rb"HTTP/1.1 5", received)
    assert lasting_server.client().get("/small").status == 200
