# SPDX-License-Identifier: Apache-2.0
"""SRV records: their order, and how long they are kept."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from twisted.internet import reactor

from federation.discovery.srv import SrvLookup, SrvRecord, in_order
from tests.support.peers import start_net
from tests.support.reactor import in_reactor


@pytest.fixture
def net(tmp_path):
    made = in_reactor(start_net(tmp_path))
    yield made
    in_reactor(made.stop())


def record(host, priority, weight):
    return SrvRecord(priority=priority, weight=weight, port=1, host=host)


def test_priority_comes_first() -> None:
    records = [record("c", 30, 9), record("a", 10, 0), record("b", 20, 5)]
    assert [each.host for each in in_order(records, Random(1))] == ["a", "b", "c"]


def test_among_equals_the_weight_decides_how_often_one_is_first() -> None:
    records = [record("heavy", 1, 75), record("light", 1, 25), record("none", 1, 0)]
    random = Random(1)
    orders = [in_order(records, random) for _ in range(4000)]
    first = Counter(order[0].host for order in orders)
    assert all(len(order) == 3 for order in orders)
    assert 0.71 < first["heavy"] / 4000 < 0.79
    assert 0.21 < first["light"] / 4000 < 0.29
    assert 0 < first["none"] / 4000 < 0.03


def test_without_weights_all_are_tried() -> None:
    records = [record("a", 1, 0), record("b", 1, 0)]
    assert {each.host for each in in_order(records, Random(1))} == {"a", "b"}


async def test_records_are_kept_by_their_ttl(net) -> None:
    class Later:
        ahead = 0

        def seconds(self):
            return reactor.seconds() + self.ahead

    clock = Later()
    srv = SrvLookup(resolver=net.resolver, clock=clock, random=Random(1))
    net.zone.srv("_matrix-fed._tcp.x.test", "s.test", 5, ttl=600)
    for ahead, asked in [(0, 1), (500, 1), (700, 2)]:
        clock.ahead = ahead
        assert [each.host for each in await srv.records("X.test")] == ["s.test"]
        assert len(net.zone.asked) == asked
    assert await srv.records("y.test") == ()
    assert await srv.records("y.test") == ()
    assert len(net.zone.asked) == 4
    assert await srv.records("a..b") == ()
    assert len(net.zone.asked) == 4
