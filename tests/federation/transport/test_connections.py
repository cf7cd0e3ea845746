# SPDX-License-Identifier: Apache-2.0
"""Connections that are kept: how many, how long, and for whom."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError

from federation.discovery.target import Target
from federation.transport.addresses import AddressRules
from federation.transport.connections import ConnectionPool, Connector
from federation.transport.errors import ConnectionFailed
from federation.transport.exchange import Asking, Exchange
from federation.transport.tls import PeerTls, TlsRules
from tests.support.peers import start_net
from tests.support.reactor import in_reactor

GET = Asking(b"GET", b"/")


@pytest.fixture
def net(tmp_path):
    made = in_reactor(start_net(tmp_path))
    yield made
    in_reactor(made.stop())


def pool_of(net, **bounds):
    connector = Connector(
        reactor=reactor, names=net.names, tls=PeerTls(TlsRules(verify=False)), rules=AddressRules()
    )
    pool = ConnectionPool(connector=connector, reactor=reactor, **bounds)
    net.closing.append(pool.close)
    return pool, Exchange(pool=pool, reactor=reactor)


async def pause(seconds):
    passed: Deferred[None] = Deferred()
    reactor.callLater(seconds, passed.callback, None)
    await passed


async def places(net, *tls_names):
    peer = await net.peer("x.test", lambda request: b"{}")
    return peer, [Target("127.0.0.1", peer.port, b"x.test", name) for name in tls_names]


async def test_at_most_so_many_are_kept(net) -> None:
    _, (one, two) = await places(net, "one.test", "two.test")
    pool, exchange = pool_of(net, most_idle=3, most_idle_per_target=2)
    for target in (one, two):
        await gatherResults([Deferred.fromCoroutine(exchange.ask(target, GET)) for _ in range(4)])
    kept = [[pool.waiting(target) for _ in range(3)] for target in (one, two)]
    assert [sum(connection is not None for connection in of_one) for of_one in kept] == [1, 2]
    for connection in [*kept[0], *kept[1]]:
        if connection is not None:
            connection.abort_now()


async def test_one_that_was_checked_for_a_name_serves_no_other(net) -> None:
    peer, (one, two) = await places(net, "one.test", "two.test")
    _, exchange = pool_of(net)
    for target in (one, two, one, two):
        await exchange.ask(target, GET)
    assert peer.connections == 2


async def test_they_are_closed_in_time(net) -> None:
    _, (target,) = await places(net, "x.test")
    pool, exchange = pool_of(net, idle_seconds=0.05)
    await exchange.ask(target, GET)
    await pause(0.2)
    assert pool.waiting(target) is None


async def test_one_that_the_server_closes_is_forgotten(net) -> None:
    peer, (target,) = await places(net, "x.test")
    channels = []
    peer.answer = lambda request: channels.append(request.channel) or b"{}"
    pool, exchange = pool_of(net)
    await exchange.ask(target, GET)
    channels[0].transport.abortConnection()
    await pause(0.1)
    assert pool.waiting(target) is None


async def test_nothing_is_kept_after_the_end(net) -> None:
    _, (target,) = await places(net, "x.test")
    pool, exchange = pool_of(net)
    pool.close()
    assert (await exchange.ask(target, GET)).status == 200
    assert pool.waiting(target) is None


async def test_the_minimum_version_is_kept(net) -> None:
    peer, (target,) = await places(net, "x.test")
    peer.tls._context.set_max_proto_version(SSL.TLS1_2_VERSION)
    assert (await net.exchange(minimum_version="1.2").ask(target, GET)).body == b"{}"
    with pytest.raises(ConnectionFailed, match="TLS fails"):
        await net.exchange(minimum_version="1.3").ask(target, GET)


async def test_a_literal_of_ipv6(net) -> None:
    peer = await net.peer("::1", lambda request: b"{}")
    try:
        listening = reactor.listenSSL(0, peer.site, peer.tls, interface="::1")
    except CannotListenError:
        pytest.skip("there is no IPv6 here")
    net.closing.append(listening.stopListening)
    port = listening.getHost().port
    assert await net.client().get(f"[::1]:{port}", "/_matrix/key/v2/server") == {}
    assert peer.requests[0].getHeader("Host") == f"[::1]:{port}"
    assert peer.sni == [None]
