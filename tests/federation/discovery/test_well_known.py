# SPDX-License-Identifier: Apache-2.0
"""`.well-known`: redirects, bounds, and how long what it says is kept."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.http_headers import Headers

from federation.discovery.well_known import WellKnown, seconds_to_keep
from tests.support.peers import LOOPBACK, start_net
from tests.support.reactor import in_reactor

GOOD = b'{"m.server": "d.test:1"}'
HOUR = 3600


@pytest.fixture
def net(tmp_path):
    made = in_reactor(start_net(tmp_path))
    yield made
    in_reactor(made.stop())


class MovedClock:
    """The reactor, some time later."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def seconds(self) -> float:
        return reactor.seconds() + self.ahead

    def callLater(self, *arguments):  # noqa: N802
        return reactor.callLater(*arguments)


async def started(net, answer, raw=None, **options):
    """A domain `x.test` that answers so, and what asks it."""
    peer = await net.peer("x.test", answer, raw)
    net.zone.a("x.test")
    clock = MovedClock()
    asks = WellKnown(web=net.web(**options), reactor=clock, port=peer.port, fetch_seconds=1)
    return peer, asks, clock


def redirects(places):
    """Answers by path: a place to be redirected to, or the good answer."""

    def answer(request):
        place = places.get(request.uri.decode())
        if place is None:
            return GOOD
        request.setResponseCode(307)
        request.setHeader("Location", place)
        return b""

    return answer


@pytest.mark.parametrize(
    ("places", "expected", "asked"),
    [
        ({"/.well-known/matrix/server": "/a?b=c#d"}, "d.test:1", 2),
        ({"/.well-known/matrix/server": "/a", "/a": "b", "/b": "/a"}, None, 3),
        ({"/.well-known/matrix/server": "http://x.test/"}, None, 1),
        ({"/.well-known/matrix/server": "https://u:p@x.test/"}, None, 1),
        ({"/.well-known/matrix/server": "https://[/"}, None, 1),
        ({"/.well-known/matrix/server": "https://x.test:99999/"}, None, 1),
        ({"/.well-known/matrix/server": ""}, None, 1),
        ({"/.well-known/matrix/server": "/0", **{f"/{n}": f"/{n + 1}" for n in range(20)}}, None, 6),
    ],
)
async def test_redirects(net, places, expected, asked) -> None:
    peer, asks, _ = await started(net, redirects(places))
    assert await asks.server_of("x.test") == expected
    assert len(peer.requests) == asked


async def test_a_redirect_does_not_lead_to_a_denied_address(net) -> None:
    inner = await net.peer("127.0.0.1", lambda request: GOOD)
    place = f"https://127.0.0.1:{inner.port}/"
    _, asks, _ = await started(net, redirects({"/.well-known/matrix/server": place}))
    assert await asks.server_of("x.test") == "d.test:1"
    assert inner.connections == 1
    peer, asks, _ = await started(net, lambda request: GOOD, rules=LOOPBACK)
    assert await asks.server_of("x.test") is None
    assert peer.connections == 0


@pytest.mark.parametrize(
    "raw",
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 4096),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + GOOD + b" " * 59_976, b""),
        (b"HTTP/1.1 200 OK\r\n", b""),
    ],
    ids=["endless", "above 50 KiB", "slow"],
)
async def test_hostile_answers(net, raw) -> None:
    _, asks, _ = await started(net, None, raw)
    assert await asks.server_of("x.test") is None


async def test_asks_at_the_same_time_are_one_and_a_cancelled_one_stops_nothing(net) -> None:
    peer, asks, _ = await started(net, lambda request: GOOD)
    asked = [Deferred.fromCoroutine(asks.server_of(name)) for name in ("x.test", "X.test", "x.test")]
    asked[0].addErrback(lambda failure: "cancelled")
    asked[0].cancel()
    assert await gatherResults(asked) == ["cancelled", "d.test:1", "d.test:1"]
    assert len(peer.requests) == 1


async def test_answers_are_kept(net) -> None:
    peer, asks, clock = await started(net, lambda request: GOOD)
    await asks.server_of("x.test")
    clock.ahead = 23 * HOUR
    await asks.server_of("x.test")
    assert len(peer.requests) == 1
    clock.ahead = 25 * HOUR
    await asks.server_of("x.test")
    assert len(peer.requests) == 2


async def test_errors_are_kept_longer_with_each(net) -> None:
    def refuse(request):
        request.setResponseCode(404)
        return b""

    peer, asks, clock = await started(net, refuse)
    for number, seconds in enumerate([60, 120, 240, 480, 960, 1920, 3600, 3600], 1):
        assert await asks.server_of("x.test") is None
        assert len(peer.requests) == number
        clock.ahead += seconds - 30
        await asks.server_of("x.test")
        assert len(peer.requests) == number
        clock.ahead += 31
    peer.answer = lambda request: GOOD
    assert await asks.server_of("x.test") == "d.test:1"


async def test_a_domain_that_is_away_keeps_its_server_for_two_days(net) -> None:
    statuses = [200, 503, 503, 404]

    def answer(request):
        request.setResponseCode(statuses.pop(0))
        return GOOD

    _, asks, clock = await started(net, answer)
    for ahead, expected in [(0, "d.test:1"), (30, "d.test:1"), (49, None), (51, None)]:
        clock.ahead = ahead * HOUR
        assert await asks.server_of("x.test") == expected
    assert statuses == []


NOW = 1_700_000_000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 24 * HOUR),
        ({"Cache-Control": "public, max-age=7200"}, 7200),
        ({"Cache-Control": 'Max-Age="7200"', "Age": "1200"}, 6000),
        ({"Cache-Control": "max-age=1"}, 300),
        ({"Cache-Control": "max-age=99999999"}, 48 * HOUR),
        ({"Cache-Control": "no-store, max-age=7200"}, 300),
        ({"Cache-Control": "max-age=junk"}, 24 * HOUR),
        ({"Expires": formatdate(NOW + 7200, usegmt=True)}, 7200),
        ({"Expires": formatdate(NOW - 7200, usegmt=True)}, 300),
        ({"Expires": "0"}, 300),
        ({"Expires": formatdate(NOW + 7200, usegmt=True), "Cache-Control": "max-age=3600"}, 3600),
    ],
)
def test_how_long_an_answer_holds(headers, seconds) -> None:
    raw = Headers({name: [value] for name, value in headers.items()})
    assert seconds_to_keep(raw, NOW) == seconds
