# SPDX-License-Identifier: Apache-2.0
"""Requests are counted by endpoint, method and status, whatever strangers send."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.defer import Deferred

from federation.errors import Forbidden
from federation.http.endpoint import Call, Endpoint, Json
from federation.http.request_counts import RequestCounts
from tests.support.http import Server, serve
from tests.support.reactor import in_reactor

ROOM = "/rooms/{roomId}/send"


class Api:
    """Endpoints, one of which waits until the test lets it go on."""

    def __init__(self) -> None:
        self._gates: list[Deferred[None]] = []

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("PUT", ROOM, self.send),
            Endpoint("GET", "/wait", self.wait),
            Endpoint("GET", "/broken", self.broken),
        )

    async def send(self, call: Call) -> Json:
        if call.path["roomId"] == "!closed":
            raise Forbidden("no")
        return Json({})

    async def wait(self, _call: Call) -> Json:
        gate: Deferred[None] = Deferred()
        self._gates.append(gate)
        await gate
        return Json({})

    async def broken(self, _call: Call) -> Json:
        return Json(object())

    async def open(self) -> None:
        for gate in self._gates:
            gate.callback(None)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def server(api: Api) -> Iterator[Server]:
    with serve(api.endpoints()) as server:
        yield server


def counts(server: Server) -> RequestCounts:
    found: RequestCounts = server.site.counts
    return found


def answered(server: Server) -> dict[tuple[str, str, int], int]:
    return {key: tally.count for key, tally in counts(server).answered.items()}


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_are_counted_by_endpoint_and_status(server: Server) -> None:
    client = server.client()
    for room in ("!a", "!b", "!closed"):
        client.put(f"/rooms/{room}/send", {})
    client.logged_in(None).put("/rooms/!a/send", {})
    assert answered(server) == {(ROOM, "PUT", 200): 2, (ROOM, "PUT", 403): 1, (ROOM, "PUT", 401): 1}
    tally = counts(server).answered[ROOM, "PUT", 200]
    assert 0 < tally.seconds < 10
    assert counts(server).in_flight == 0


def test_strangers_cannot_make_more_of_them(server: Server) -> None:
    client = server.client(None)
    for i in range(5):
        assert client.get(f"/nothing/{i}").status == 404
        assert client.request(f"METHOD{i}", f"/x{i}").status == 404
        assert client.request("OPTIONS", f"/x{i}").status == 200
        assert client.put("/wait").status == 405
    assert answered(server) == {
        ("", "GET", 404): 5,
        ("", "other", 404): 5,
        ("", "OPTIONS", 200): 5,
        ("", "PUT", 405): 5,
    }


def test_what_is_no_http_is_counted(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"!!!\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert answered(server) == {("", "other", 400): 1}


def test_an_answer_that_cannot_be_written_is_a_500(server: Server) -> None:
    assert server.client().get("/broken").status == 500
    assert answered(server) == {("/broken", "GET", 500): 1}
    assert counts(server).in_flight == 0


def test_requests_in_flight_and_connections(server: Server, api: Api) -> None:
    request = b"GET /wait HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer alice\r\n\r\n"
    staying = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    leaving = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with staying, leaving:
        staying.sendall(request)
        leaving.sendall(request)
        until(lambda: counts(server).in_flight == 2)
        assert counts(server).connections == 2
        leaving.close()
        until(lambda: counts(server).in_flight == 1)
        assert answered(server) == {("/wait", "GET", 499): 1}
        in_reactor(api.open())
        assert staying.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert counts(server).in_flight == 0
    until(lambda: counts(server).connections == 0)
    assert answered(server) == {("/wait", "GET", 499): 1, ("/wait", "GET", 200): 1}


def test_the_metrics() -> None:
    counted = RequestCounts(connections=3, in_flight=2)
    endpoint = Endpoint("GET", "/wait", Api().wait)
    counted.add(endpoint, b"HEAD", 200, 0.5)
    counted.add(endpoint, b"GET", 200, 0.25)
    counted.add(None, b"BREW", 404, 0.125)
    values = {
        (metric.name, *sample.labels.values()): sample.value
        for metric in counted.collect()
        for sample in metric.samples
    }
    assert values == {
        ("trellis_http_connections",): 3,
        ("trellis_http_requests_in_flight",): 2,
        ("trellis_http_requests", "/wait", "GET", "200"): 2,
        ("trellis_http_requests", "", "other", "404"): 1,
        ("trellis_http_request_seconds", "/wait", "GET", "200"): 0.75,
        ("trellis_http_request_seconds", "", "other", "404"): 0.125,
    }
