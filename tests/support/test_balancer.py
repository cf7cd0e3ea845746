# SPDX-License-Identifier: Apache-2.0
"""The balancer sends each request to the next server, and to another one where that is away."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from federation.http.endpoint import Auth, Call, Content, Endpoint
from tests.support.balancer import Balancer, balancer
from tests.support.http import Client, Server, serve
from tests.support.postgres_cluster import free_port
from tests.support.reactor import in_reactor

_TEXT = "text/plain"


@attrs.define
class Named:
    """A server that says who it is, and that it is well as long as it is."""

    name: str
    is_well: bool = True
    asked: int = 0

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("GET", "/who", self.who, auth=Auth.NONE),
            Endpoint("POST", "/who", self.who, auth=Auth.NONE),
            Endpoint("GET", "/health", self.health, auth=Auth.NONE),
        )

    async def who(self, call: Call) -> Content:
        self.asked += 1
        return Content(_TEXT, self.name.encode())

    async def health(self, call: Call) -> Content:
        return Content(_TEXT, b"OK", status=200 if self.is_well else 503)


class _HangUp(Protocol):
    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.factory.asked += 1
        self.transport.loseConnection()


class HangingUp(Factory):
    """A server that hangs up on whoever asks it anything."""

    protocol = _HangUp
    noisy = False

    def __init__(self) -> None:
        self.asked = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        async def listen():
            return reactor.listenTCP(0, self, interface="127.0.0.1")

        async def stop() -> None:
            await port.stopListening()

        port = in_reactor(listen())
        yield port.getHost().port
        in_reactor(stop())


@pytest.fixture
def first() -> Named:
    return Named("first")


@pytest.fixture
def first_server(first: Named) -> Iterator[Server]:
    with serve(first.endpoints()) as server:
        yield server


@pytest.fixture
def second_server() -> Iterator[Server]:
    with serve(Named("second").endpoints()) as server:
        yield server


@pytest.fixture
def both(first_server: Server, second_server: Server) -> Iterator[Balancer]:
    with balancer([first_server.port, second_server.port]) as running:
        yield running


def client(running: Balancer) -> Client:
    return Client("127.0.0.1", running.port)


def who(running: Balancer, method: str = "GET") -> str:
    """Who answers a request over a connection of its own."""
    answer = client(running).request(method, "/who")
    assert answer.status == 200, answer
    return answer.content.decode()


def test_requests_over_one_connection_take_turns(both: Balancer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", both.port, timeout=10)
    answers = []
    with contextlib.closing(connection):
        for _ in range(6):
            connection.request("GET", "/who")
            answers.append(connection.getresponse().read())
            socket = connection.sock
        assert connection.sock is socket is not None
    assert answers[0::2] == [answers[0]] * 3
    assert answers[1::2] == [answers[1]] * 3
    assert {*answers} == {b"first", b"second"}


def test_requests_over_many_connections_take_turns(both: Balancer) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = Counter(pool.map(lambda _: who(both), range(40)))
    assert answers == {"first": 20, "second": 20}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_other_one_answers_for_a_server_that_is_away(second_server: Server, method: str) -> None:
    with balancer([free_port(), second_server.port]) as running:
        assert [who(running, method) for _ in range(6)] == ["second"] * 6


def test_what_a_server_did_not_answer_is_asked_of_the_other(second_server: Server) -> None:
    hanging_up = HangingUp()
    with hanging_up.listening() as port, balancer([port, second_server.port]) as running:
        assert [who(running) for _ in range(6)] == ["second"] * 6
    assert hanging_up.asked > 0


def test_a_post_that_was_sent_is_not_sent_again(first: Named, first_server: Server) -> None:
    hanging_up = HangingUp()
    with hanging_up.listening() as port, balancer([port, first_server.port]) as running:
        answers = [client(running).request("POST", "/who").status for _ in range(6)]
    assert Counter(answers) == {200: 3, 502: 3}
    assert (hanging_up.asked, first.asked) == (3, 3)


def test_who_is_not_well_gets_no_requests(first: Named, first_server: Server, second_server: Server) -> None:
    ports = [first_server.port, second_server.port]
    with balancer(ports, asks_health=True) as running:
        first.is_well = False
        until_answered_by(running, {"second"})
        first.is_well = True
        until_answered_by(running, {"first", "second"})


def until_answered_by(running: Balancer, names: set[str]) -> None:
    deadline = time.monotonic() + 10
    while {who(running) for _ in range(4)} != names:
        assert time.monotonic() < deadline, running.log()
        time.sleep(0.05)


def test_a_configuration_that_it_refuses_is_told_of() -> None:
    with pytest.raises(AssertionError, match=r"HAProxy ended(.|\n)*99999"), balancer([99999]) as running:
        until_it_ends(running)


def until_it_ends(running: Balancer) -> None:
    for _ in range(100):
        running.check_runs()
        time.sleep(0.05)
