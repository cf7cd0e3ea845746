# SPDX-License-Identifier: Apache-2.0
"""From names to addresses."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.names import dns

from federation.transport.errors import ConnectionFailed
from federation.transport.names import is_dns_name
from tests.support.peers import start_net
from tests.support.reactor import in_reactor


@pytest.fixture
def net(tmp_path):
    made = in_reactor(start_net(tmp_path))
    yield made
    in_reactor(made.stop())


async def test_both_kinds_by_turns_and_no_more_than_eight(net) -> None:
    for number in range(1, 4):
        net.zone.a("x.test", f"192.0.2.{number}")
    net.zone.a("x.test", "2001:db8::1")
    assert await net.names.addresses("x.test") == ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
    for number in range(4, 20):
        net.zone.a("x.test", f"192.0.2.{number}")
    assert len(await net.names.addresses("x.test")) == 8


async def test_aliases_come_with_their_addresses(net) -> None:
    # As a name server answers: the alias, and the address of what it stands for.
    net.zone.records[("x.test", dns.A)] = [dns.Record_A("192.0.2.1")]
    net.zone.records[("x.test", dns.AAAA)] = [dns.Record_CNAME("y.test")]
    assert await net.names.addresses("x.test") == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.test", "DNS knows no address"),
        ("broken.test", "cannot be looked up"),
        ("a..test", "no name that DNS could know"),
        ("x" * 64 + ".test", "no name that DNS could know"),
        (".", "no name that DNS could know"),
    ],
)
async def test_names_without_addresses(net, name, reason) -> None:
    net.zone.broken.add("broken.test")
    with pytest.raises(ConnectionFailed, match=reason):
        await net.names.addresses(name)


async def test_who_is_cancelled_leaves_others_their_answer(net) -> None:
    net.zone.a("x.test")
    first, second = (Deferred.fromCoroutine(net.names.addresses("x.test")) for _ in range(2))
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    assert await gatherResults([second]) == [["127.0.0.1"]]


def test_lengths_of_names() -> None:
    assert is_dns_name(".".join(["x" * 63] * 3 + ["y" * 61]))
    assert not is_dns_name(".".join(["x" * 63] * 3 + ["y" * 62]))
    assert not is_dns_name("")
