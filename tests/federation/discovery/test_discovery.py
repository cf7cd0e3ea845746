# SPDX-License-Identifier: Apache-2.0
"""The steps of resolving server names, each against real DNS and real HTTPS."""

from __future__ import annotations

import json

import pytest

from federation.discovery.discovery import Target
from federation.rules.errors import InvalidIdentifier
from federation.transport.errors import ServerUnreachable
from tests.support.peers import start_net
from tests.support.reactor import in_reactor


@pytest.fixture
def net(tmp_path):
    made = in_reactor(start_net(tmp_path))
    yield made
    in_reactor(made.stop())


async def targets(net, name, delegated=None, records=()):
    """The targets of `name`, whose `.well-known` gives `delegated` (None: an error)."""

    def answer(request):
        assert request.uri == b"/.well-known/matrix/server"
        if delegated is None:
            request.setResponseCode(404)
            return b"{}"
        return json.dumps({"m.server": delegated}).encode()

    peer = await net.peer("x.test", answer)
    net.zone.a("x.test")
    for service, host, port in records:
        net.zone.srv(service, host, port)
    found = await net.discovery(net.exchange(), port=peer.port).targets(name)
    return [(t.host, t.port, t.host_header.decode(), t.tls_name) for t in found], peer


@pytest.mark.parametrize(
    ("name", "delegated", "records", "expected"),
    [
        # 1
        ("1.2.3.4", None, [], ("1.2.3.4", 8448, "1.2.3.4", "1.2.3.4")),
        ("1.2.3.4:5", None, [], ("1.2.3.4", 5, "1.2.3.4:5", "1.2.3.4")),
        ("[2001::a]", None, [], ("2001::a", 8448, "[2001::a]", "2001::a")),
        ("[2001::a]:5", None, [], ("2001::a", 5, "[2001::a]:5", "2001::a")),
        # 2: neither .well-known nor SRV is asked
        (
            "x.test:5",
            "d.test",
            [("_matrix-fed._tcp.x.test", "s.test", 6)],
            ("x.test", 5, "x.test:5", "x.test"),
        ),
        # 3.1
        ("x.test", "1.2.3.4", [], ("1.2.3.4", 8448, "1.2.3.4", "1.2.3.4")),
        ("x.test", "[2001::a]:5", [], ("2001::a", 5, "[2001::a]:5", "2001::a")),
        # 3.2
        (
            "x.test",
            "d.test:5",
            [("_matrix-fed._tcp.d.test", "s.test", 6)],
            ("d.test", 5, "d.test:5", "d.test"),
        ),
        # 3.3
        (
            "x.test",
            "d.test",
            [("_matrix-fed._tcp.d.test", "s.test", 6), ("_matrix._tcp.d.test", "o.test", 7)],
            ("s.test", 6, "d.test", "d.test"),
        ),
        # 3.4
        ("x.test", "d.test", [("_matrix._tcp.d.test", "o.test", 7)], ("o.test", 7, "d.test", "d.test")),
        # 3.5: the records of the name itself do not count
        (
            "x.test",
            "d.test",
            [("_matrix-fed._tcp.x.test", "s.test", 6)],
            ("d.test", 8448, "d.test", "d.test"),
        ),
        # 4
        (
            "x.test",
            None,
            [("_matrix-fed._tcp.x.test", "s.test", 6), ("_matrix._tcp.x.test", "o.test", 7)],
            ("s.test", 6, "x.test", "x.test"),
        ),
        # 5
        ("x.test", None, [("_matrix._tcp.x.test", "o.test", 7)], ("o.test", 7, "x.test", "x.test")),
        # 6
        ("x.test", None, [], ("x.test", 8448, "x.test", "x.test")),
        # invalid answers are errors
        ("x.test", "no server", [], ("x.test", 8448, "x.test", "x.test")),
        ("x.test", "d.test:0", [], ("x.test", 8448, "x.test", "x.test")),
        ("x.test", 5, [], ("x.test", 8448, "x.test", "x.test")),
    ],
)
async def test_steps(net, name, delegated, records, expected) -> None:
    found, peer = await targets(net, name, delegated, records)
    assert found == [expected]
    assert len(peer.requests) == (1 if name == "x.test" else 0)


async def test_a_service_that_is_decidedly_not_offered(net) -> None:
    net.zone.srv("_matrix-fed._tcp.x.test", "", 0)
    with pytest.raises(ServerUnreachable, match="no Matrix server"):
        await targets(net, "x.test")


async def test_names_that_are_none(net) -> None:
    discovery = net.discovery(net.exchange())
    for name in ("", "a b", "x.test:", "x.test:123456", "[::1"):
        with pytest.raises(InvalidIdentifier):
            await discovery.targets(name)
    for name in ("x.test:0", "x.test:65536", "1.2.3.4:99999"):
        with pytest.raises(ServerUnreachable):
            await discovery.targets(name)
    assert net.zone.asked == []


async def test_nothing_answers_at_all(net) -> None:
    net.zone.broken.update({"_matrix-fed._tcp.x.test", "_matrix._tcp.x.test", "x.test"})
    found = await net.discovery(net.exchange()).targets("x.test")
    assert found == [Target("x.test", 8448, b"x.test", "x.test")]
