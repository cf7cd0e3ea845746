# SPDX-License-Identifier: Apache-2.0
"""Requests that another process answers: two or three services in one reactor, and TCP between them."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from federation.errors import Forbidden, LimitExceeded, NotFound, UnknownToken
from federation.http.access_log import request_id
from federation.http.admission import Admission
from federation.http.dispatch import Dispatch
from federation.http.endpoint import (
    Answer,
    Auth,
    Call,
    Content,
    Endpoint,
    Json,
    JsonObject,
    JsonStream,
    NoQuery,
    Page,
    RawBody,
    RawJson,
    Redirect,
    Request,
    Requester,
)
from federation.http.forwarded import serve
from federation.http.forwarding import OPERATION, Forwarding
from federation.http.forwarding_counts import ForwardingCounts
from federation.http.service import Service
from federation.http.site import Site
from federation.processes.link import Links
from federation.processes.ownership import Peer
from tests.support.http import TOKENS, Client
from tests.support.links import SECRET, TIMES, pause
from tests.support.reactor import in_reactor

ROOM = "!r:test"
NOWHERE = Peer("nowhere", "127.0.0.1:1")


async def parts(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        await pause(0)
        yield text


LARGE = {"text": "to be compressed " * 200}

ANSWERS: Mapping[str, Callable[[], Answer]] = {
    "json": lambda: Json({"ü": [1, None]}, status=201, headers=(("X-One", "1"), ("X-One", "2"))),
    "raw": lambda: RawJson(b'{ "as":"it is" }'),
    "large": lambda: Json(LARGE),
    "stream": lambda: JsonStream(parts(b'{"a":', b"", b"1}")),
    "page": lambda: Page("<p>ü</p>", status=403),
    "redirect": lambda: Redirect("https://elsewhere.test/?a=ü", headers=(("X-One", "1"),)),
    "content": lambda: Content("image/png", b"\x89PNG\0\xff", headers=(("Cache-Control", "public"),)),
    "parts": lambda: Content("text/csv", parts(b"a,", b"b"), length=3, status=206),
    "short parts": lambda: Content("text/csv", parts(b"a,", b"b"), length=4),
}

ERRORS: Mapping[str, Exception] = {
    "forbidden": Forbidden("You may not"),
    "not found": NotFound("Nothing is here"),
    "limit": LimitExceeded(retry_after_ms=1500),
    "unforeseen": ValueError("secret"),
}


@attrs.define
class Seen:
    """A request as the handler of a process saw it."""

    process: str
    request: Request
    path: Mapping[str, str]
    user: str
    identifier: str


class Process:
    """One process of a homeserver, with the endpoints of these tests."""

    def __init__(self, name: str, seen: list[Seen], owners: dict[str, Peer | None]) -> None:
        self.name = name
        self.seen = seen
        self.owners = owners
        self.looks = 0
        self.waited_for_latest = 0
        self.running: list[Deferred[None]] = []
        self.cancelled = 0
        self.counts = ForwardingCounts()
        operations: dict[str, Any] = {}
        self.links = Links(process=name, secret=SECRET, operations=operations, reactor=reactor, times=TIMES)
        forwarding = Forwarding(
            ownership=self,
            links=self.links,
            look=self.look,
            clock=reactor,
            resolve=self.resolve,
            counts=self.counts,
            patience=0.6,
        )
        service = Service(
            dispatch=Dispatch(self.endpoints()),
            admission=Admission(authenticate=authenticate),
            forwarding=forwarding,
            latest=self.latest,
        )
        operations[OPERATION] = serve(service)
        self.site = Site(reactor=reactor, service=service)
        self.port: Any = None
        self.address = ""

    async def start(self) -> None:
        self.address = await self.links.listen("127.0.0.1", 0)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")

    async def stop(self) -> None:
        for running in self.running:
            if not running.called:
                running.callback(None)
        await self.port.stopListening()
        drained = self.site.drain()
        self.site.abort()
        await drained
        await self.links.stop()

    @property
    def peer(self) -> Peer:
        return Peer(self.name, self.address)

    def client(self, token: str | None = "alice") -> Client:
        return Client("127.0.0.1", self.port.getHost().port, token)

    # What it is made of

    def owner_of(self, name: str) -> Peer | None:
        peer = self.owners.get(name)
        return None if peer is None or peer.process == self.name else peer

    def look(self) -> None:
        self.looks += 1

    async def latest(self) -> None:
        self.waited_for_latest += 1

    async def resolve(self, alias: str) -> str:
        await pause(0)
        if alias != "#known:test":
            raise NotFound(f"The room alias {alias} is not known")
        return ROOM

    def endpoints(self) -> Iterator[Endpoint]:
        room = "/rooms/{roomId}"
        yield Endpoint("PUT", f"{room}/raw/{{key}}", self.raw, body=RawBody, owner="roomId", latest=False)
        yield Endpoint("PUT", f"{room}/put", self.put, body=JsonObject, owner="roomId")
        yield Endpoint("POST", f"{room}/answer/{{kind}}", self.answer, owner="roomId")
        yield Endpoint("GET", f"{room}/answer/{{kind}}", self.answer, owner="roomId")
        yield Endpoint("PUT", f"{room}/error/{{kind}}", self.error, owner="roomId")
        yield Endpoint("POST", f"{room}/slow", self.slow, owner="roomId")
        yield Endpoint("POST", f"{room}/again", self.slow, owner="roomId", repeatable=True)
        yield Endpoint("PUT", f"{room}/slow", self.slow, owner="roomId")
        yield Endpoint("GET", f"{room}/slow", self.slow, owner="roomId")
        yield Endpoint("PUT", f"{room}/nobody's", self.put, body=JsonObject, auth=Auth.NONE)
        yield Endpoint("POST", "/join/{roomIdOrAlias}", self.put, body=JsonObject, owner="roomIdOrAlias")

    def note(self, call: Call[Any, Any]) -> None:
        user = "" if call.requester is None else call.requester.user_id
        self.seen.append(Seen(self.name, call.request, call.path, user, request_id.get()))

    async def raw(self, call: Call[NoQuery, RawBody]) -> Answer:
        self.note(call)
        assert call.body.content == call.request.body()
        return Content("application/octet-stream", call.body.content)

    async def put(self, call: Call[NoQuery, JsonObject]) -> Answer:
        self.note(call)
        return Json({"by": self.name})

    async def answer(self, call: Call) -> Answer:
        return ANSWERS[call.path["kind"]]()

    async def error(self, call: Call) -> Answer:
        raise ERRORS[call.path["kind"]]

    async def slow(self, call: Call) -> Answer:
        self.note(call)
        running: Deferred[None] = Deferred()
        self.running.append(running)
        try:
            await running
        except CancelledError:
            self.cancelled += 1
            raise
        return Json({"by": self.name})


async def authenticate(token: str) -> Requester:
    if token not in TOKENS:
        raise UnknownToken
    return TOKENS[token]


@attrs.frozen
class Homeserver:
    """Three processes that agree on who owns what, where a test does not let them differ."""

    a: Process
    b: Process
    c: Process
    seen: list[Seen]

    @property
    def ran(self) -> list[str]:
        return [seen.process for seen in self.seen]

    def own(self, name: str, owner: Process | Peer | None) -> None:
        """Have all of them take `owner` for the owner of `name`."""
        peer = owner.peer if isinstance(owner, Process) else owner
        for process in (self.a, self.b, self.c):
            process.owners[name] = peer


@pytest.fixture
def server() -> Iterator[Homeserver]:
    seen: list[Seen] = []

    async def start() -> Homeserver:
        processes = [Process(name, seen, {}) for name in "abc"]
        for process in processes:
            await process.start()
        return Homeserver(*processes, seen)

    async def stop() -> None:
        for process in (started.a, started.b, started.c):
            await process.stop()

    started = in_reactor(start())
    started.own(ROOM, started.b)
    try:
        yield started
    finally:
        in_reactor(stop())


def path(*segments: str) -> str:
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")


class Asking:
    """A request on a connection of its own, whose answer is read later."""

    def __init__(self, process: Process, method: str, target: str) -> None:
        client = process.client()
        self._connection = http.client.HTTPConnection(client.host, client.port, timeout=10)
        self._connection.request(method, target, b"{}", {"Authorization": "Bearer alice"})

    def answer(self) -> tuple[int, bytes, Mapping[str, str]]:
        with contextlib.closing(self._connection):
            answer = self._connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())

    def leave(self) -> None:
        sock = self._connection.sock
        assert sock is not None
        sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()


async def cut(process: Process) -> None:
    """Cut the connections on which it answers."""
    for connection in list(process.links._answering.connections):
        connection.transport.abortConnection()


async def finish(process: Process) -> None:
    """Let the slow handlers of a process end."""
    for running in process.running:
        if not running.called:
            running.callback(None)


# What arrives, and what comes back


@pytest.mark.parametrize("key", ["plain", "ü/💬", "a%2Fb?c#d", " ", "+", "~x", "'\"\\", "..", "é́"])
@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 3, "ü\r\n".encode() * 60_000])
def test_the_owner_sees_the_request_byte_for_byte(server: Homeserver, key: str, body: bytes) -> None:
    target = path("rooms", ROOM, "raw", key) + "?x=%20%C3%BC&y=+&x"
    answer = server.a.client().put(target, body=body, headers={"User-Agent": "Ü/1".encode("latin-1")})
    assert answer.content == body
    (seen,) = server.seen
    assert seen.process == "b"
    assert seen.path == {"roomId": ROOM, "key": key}
    request = seen.request
    assert (request.method, request.uri) == (b"PUT", target.encode())
    assert request.path == target.partition("?")[0].encode()
    assert request.body() == body
    assert request.client_address == "127.0.0.1"
    assert request.requestHeaders.getRawHeaders(b"User-Agent") == [b"\xdc/1"]
    assert seen.user == "@alice:test"


@pytest.mark.parametrize("kind", [kind for kind in ANSWERS if kind != "short parts"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_an_answer_is_the_same_from_any_process(server: Homeserver, method: str, kind: str) -> None:
    target = path("rooms", ROOM, "answer", kind)
    direct, forwarded = (process.client().request(method, target) for process in (server.b, server.a))
    assert forwarded.status == direct.status
    assert forwarded.content == direct.content
    # What came in parts is here as a whole: its length is known.
    framing = {"date", "content-length", "transfer-encoding"}
    assert {name: text for name, text in forwarded.headers.items() if name not in framing} == {
        name: text for name, text in direct.headers.items() if name not in framing
    }


def test_the_first_process_compresses_for_its_client(server: Homeserver) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.a.client().port, timeout=10)
    with contextlib.closing(connection):
        headers = {"Authorization": "Bearer alice", "Accept-Encoding": "gzip"}
        connection.request("GET", path("rooms", ROOM, "answer", "large"), headers=headers)
        answer = connection.getresponse()
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert b"to be compressed" in gzip.decompress(answer.read())


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_pass_unchanged(server: Homeserver, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    target = path("rooms", ROOM, "error", kind)
    direct, forwarded = (process.client().put(target) for process in (server.b, server.a))
    expected = {"forbidden": 403, "not found": 404, "limit": 429, "unforeseen": 500}[kind]
    assert forwarded.status == direct.status == expected
    assert forwarded.json == direct.json
    assert "secret" not in str(forwarded.json)
    assert forwarded.headers.get("retry-after") == direct.headers.get("retry-after")
    assert (forwarded.headers.get("retry-after") is not None) == (kind == "limit")


@pytest.mark.parametrize(("token", "errcode"), [(None, "M_MISSING_TOKEN"), ("eve", "M_UNKNOWN_TOKEN")])
def test_the_owner_admits(server: Homeserver, token: str | None, errcode: str) -> None:
    answer = server.a.client(token).put(path("rooms", ROOM, "put"), {})
    assert (answer.status, answer.errcode) == (401, errcode)
    assert server.ran == []


def test_a_body_of_the_wrong_shape_is_refused_by_the_owner(server: Homeserver) -> None:
    answer = server.a.client().put(path("rooms", ROOM, "put"), [1])
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON")


def test_an_answer_of_another_length_than_promised_is_none(
    server: Homeserver, caplog: pytest.LogCaptureFixture
) -> None:
    answer = server.a.client().get(path("rooms", ROOM, "answer", "short parts"))
    assert answer.status == 500
    assert "should have 4 bytes and has 3" in caplog.text


def test_one_id_in_the_logs_of_both_one_line(server: Homeserver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trellis.access")
    server.a.client().put(path("rooms", ROOM, "put"), {})
    server.b.client("bob").put(path("rooms", ROOM, "put"), {})
    lines = [record.getMessage() for record in caplog.records if record.name == "trellis.access"]
    assert len(lines) == 2
    for line, seen, user in zip(lines, server.seen, ("@alice:test", "@bob:test"), strict=True):
        assert line.endswith(f" {user} 127.0.0.1 {seen.identifier}")
        assert seen.identifier.startswith("PUT-")


# Whose it is


def test_what_is_ours_or_nobodys_is_answered_here(server: Homeserver) -> None:
    assert server.b.client().put(path("rooms", ROOM, "put"), {}).json == {"by": "b"}
    assert server.a.client().put(path("rooms", "!other:test", "put"), {}).json == {"by": "a"}
    assert server.a.client(None).put(path("rooms", ROOM, "nobody's"), {}).json == {"by": "a"}
    assert server.a.counts.answered.count == 0


def test_who_answers_waits_for_the_latest_where_the_endpoint_reads(server: Homeserver) -> None:
    server.a.client().put(path("rooms", ROOM, "put"), {})
    assert (server.a.waited_for_latest, server.b.waited_for_latest) == (0, 1)
    server.a.client().put(path("rooms", ROOM, "raw", "x"), {})
    assert (server.a.waited_for_latest, server.b.waited_for_latest) == (0, 1)


def test_an_alias_stands_for_its_room(server: Homeserver) -> None:
    assert server.a.client().post(path("join", "#known:test"), {}).json == {"by": "b"}
    assert server.a.client().post(path("join", ROOM), {}).json == {"by": "b"}
    assert server.a.client().post(path("join", "#unknown:test"), {}).json == {"by": "a"}


def test_processes_that_do_not_agree_hand_a_request_on_twice_at_most(server: Homeserver) -> None:
    server.a.owners[ROOM] = server.b.peer
    server.b.owners[ROOM] = server.c.peer
    server.c.owners[ROOM] = server.a.peer
    answer = server.a.client().put(path("rooms", ROOM, "put"), {})
    assert answer.json == {"by": "c"}
    assert server.ran == ["c"]
    assert server.seen[0].user == "@alice:test"


# Owners that cannot be reached


def test_who_becomes_the_owner_meanwhile_answers(server: Homeserver) -> None:
    server.own(ROOM, NOWHERE)
    asking = Asking(server.a, "POST", path("rooms", ROOM, "answer", "json"))
    until(lambda: server.a.looks > 0)
    server.own(ROOM, None)
    assert asking.answer()[0] == 201
    assert server.a.counts.retried > 0
    assert server.a.counts.in_flight == 0


def test_another_owner_meanwhile_is_asked(server: Homeserver) -> None:
    server.own(ROOM, NOWHERE)
    asking = Asking(server.a, "PUT", path("rooms", ROOM, "put"))
    until(lambda: server.a.looks > 0)
    server.own(ROOM, server.c)
    assert asking.answer()[:2] == (200, b'{"by":"c"}')
    assert server.ran == ["c"]


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_owner_that_stays_away_is_given_up(server: Homeserver, method: str) -> None:
    server.own(ROOM, NOWHERE)
    began = time.monotonic()
    asking = Asking(server.a, method, path("rooms", ROOM, "slow"))
    status, body, headers = asking.answer()
    assert status == 503
    assert b"cannot be reached at present" in body
    assert headers["Retry-After"] == "5"
    assert 0.2 < time.monotonic() - began < 3
    assert server.ran == []
    assert server.a.counts.given_up == 1


def test_what_may_not_run_twice_is_not_tried_again(server: Homeserver) -> None:
    asking = Asking(server.a, "POST", path("rooms", ROOM, "slow"))
    until(lambda: server.ran == ["b"])
    began = time.monotonic()
    server.own(ROOM, server.c)
    in_reactor(cut(server.b))
    status, body, headers = asking.answer()
    assert status == 503
    assert b"not known whether it was done" in body
    assert "Retry-After" in headers
    assert time.monotonic() - began < 0.5
    assert server.ran == ["b"]
    assert server.a.looks == 1


@pytest.mark.parametrize(("method", "what"), [("POST", "again"), ("PUT", "slow"), ("GET", "slow")])
def test_what_may_run_twice_is_tried_again(server: Homeserver, method: str, what: str) -> None:
    asking = Asking(server.a, method, path("rooms", ROOM, what))
    until(lambda: server.ran == ["b"])
    server.own(ROOM, server.c)
    in_reactor(cut(server.b))
    until(lambda: server.ran == ["b", "c"])
    in_reactor(finish(server.c))
    assert asking.answer()[:2] == (200, b'{"by":"c"}')
    assert server.a.counts.retried == 1
    until(lambda: server.b.cancelled == 1)


def test_an_owner_that_stops_answers_what_it_has_begun_with(server: Homeserver) -> None:
    asking = Asking(server.a, "POST", path("rooms", ROOM, "slow"))
    until(lambda: server.ran == ["b"])
    stopped: list[Deferred[None]] = []

    async def stop() -> None:
        stopped.append(Deferred.fromCoroutine(server.b.links.stop()))

    in_reactor(stop())
    server.own(ROOM, server.c)
    assert server.a.client().put(path("rooms", ROOM, "put"), {}).json == {"by": "c"}
    in_reactor(finish(server.b))
    assert asking.answer()[:2] == (200, b'{"by":"b"}')


# Clients that go


def test_a_read_ends_with_its_client(server: Homeserver) -> None:
    asking = Asking(server.a, "GET", path("rooms", ROOM, "slow"))
    until(lambda: server.ran == ["b"])
    asking.leave()
    until(lambda: server.b.cancelled == 1)
    assert server.a.counts.in_flight == 0


def test_a_write_goes_on_without_its_client(server: Homeserver) -> None:
    asking = Asking(server.a, "PUT", path("rooms", ROOM, "slow"))
    until(lambda: server.ran == ["b"])
    asking.leave()
    until(lambda: not server.a.site._channels)
    assert (server.b.cancelled, server.a.counts.in_flight) == (0, 1)
    in_reactor(finish(server.b))
    until(lambda: server.a.counts.answered.count == 1)


def test_the_figures_are_gathered(server: Homeserver) -> None:
    server.a.client().put(path("rooms", ROOM, "put"), {})
    names = {metric.name: metric.samples[0].value for metric in server.a.counts.collect()}
    assert names["trellis_forwarded_requests"] == 1
    assert names["trellis_forwarding_in_flight"] == 0
