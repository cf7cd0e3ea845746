# SPDX-License-Identifier: Apache-2.0
"""What a federation client meets, on loopback: a DNS server, and servers with TLS that answer as told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.names import client, common, dns, server
from twisted.names.error import DomainError
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from federation.discovery.discovery import Discovery
from federation.discovery.srv import SrvLookup
from federation.discovery.web import Web
from federation.discovery.well_known import WellKnown
from federation.http.tls import ServerCertificate
from federation.transport.addresses import AddressRules
from federation.transport.client import FederationClient
from federation.transport.connections import ConnectionPool, Connector
from federation.transport.exchange import Exchange
from federation.transport.names import Names
from federation.transport.tls import PeerTls, TlsRules
from tests.support.certificates import write_certificate
from tests.support.rooms import signing_key

OWN_NAME = "own.test"


class Zone(common.ResolverBase):
    """Records by name and type; for `broken` names the server fails. `asked` is what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[tuple[str, int], list[Any]] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []

    def add(self, name: str, payload: Any) -> None:
        """Add a record."""
        self.records.setdefault((name, payload.TYPE), []).append(payload)

    def a(self, name: str, address: str = "127.0.0.1") -> None:
        """Add an address."""
        self.add(name, dns.Record_AAAA(address) if ":" in address else dns.Record_A(address))

    def srv(
        self, name: str, host: str, port: int, priority: int = 10, weight: int = 0, ttl: int = 600
    ) -> None:
        """Add an SRV record."""
        self.add(name, dns.Record_SRV(priority, weight, port, host, ttl))

    def _lookup(self, name: bytes, cls: int, kind: int, timeout: Any) -> Any:
        text = name.decode()
        self.asked.append(text)
        if text in self.broken:
            return fail(RuntimeError("broken"))
        found = self.records.get((text, kind))
        if found is None:
            return fail(DomainError(name))
        answers = [dns.RRHeader(name, kind, cls, each.ttl or 300, each, auth=True) for each in found]
        return succeed((answers, [], []))


class _Answers(Resource):
    isLeaf = True  # noqa: N815

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer

    def render(self, request: Any) -> Any:
        self.peer.requests.append(request)
        self.peer.bodies.append(request.content.read())
        body = self.peer.answer(request)
        return NOT_DONE_YET if body is None else body


@attrs.define(eq=False)
class Peer:
    """A web server with TLS: `answer` gives a body, or None to leave the request open."""

    port: int
    authority: Path
    answer: Callable[[Any], bytes | None]
    tls: Any = None
    site: Any = None
    listening: Any = None
    connections: int = 0
    requests: list[Any] = attrs.field(factory=list)
    bodies: list[bytes] = attrs.field(factory=list)
    sni: list[bytes | None] = attrs.field(factory=list)


class Raw(Protocol):
    """Sends `data`, and then `forever` again and again."""

    def __init__(self, data: bytes, forever: bytes) -> None:
        self._data, self._forever, self._sent = data, forever, False

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self._sent:
            return
        self._sent = True
        self.transport.write(self._data)
        if self._forever:
            self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:  # noqa: N802
        self.transport.write(self._forever)

    def stopProducing(self) -> None:  # noqa: N802
        self._forever = b""


@attrs.define(eq=False)
class Net:
    """All of it, made by `start_net`."""

    directory: Path
    zone: Zone
    names: Names
    resolver: Any
    closing: list[Any] = attrs.field(factory=list)
    authorities: list[Path] = attrs.field(factory=list)

    async def peer(
        self, name: str, answer: Callable[[Any], bytes | None], raw: tuple[bytes, bytes] | None = None
    ) -> Peer:
        """A server whose certificate is for `name`, which clients made later trust."""
        certificate = self.directory / f"{len(self.authorities)}.crt"
        key = certificate.with_suffix(".key")
        write_certificate(certificate, key, name)
        self.authorities.append(certificate)
        peer = Peer(0, certificate, answer)
        site: Any = Site(_Answers(peer)) if raw is None else Factory.forProtocol(lambda: Raw(*raw))
        build = site.buildProtocol

        def counted(address: Any) -> Any:
            peer.connections += 1
            return build(address)

        site.buildProtocol = counted
        tls = ServerCertificate(certificate=certificate, private_key=key)
        tls._context.set_tlsext_servername_callback(lambda c: peer.sni.append(c.get_servername()))
        peer.tls, peer.site = tls, site
        peer.listening = reactor.listenSSL(0, site, tls, interface="127.0.0.1")
        peer.port = peer.listening.getHost().port
        self.closing.append(peer.listening.stopListening)
        return peer

    def exchange(self, *, rules: AddressRules | None = None, **options: Any) -> Exchange:
        """An exchange that trusts the peers made so far; loopback is denied only by `rules`."""
        tls = PeerTls(TlsRules(authorities=self.authorities or None, **options))
        connector = Connector(
            reactor=reactor, names=self.names, tls=tls, rules=rules or AddressRules(), connect_seconds=2
        )
        pool = ConnectionPool(connector=connector, reactor=reactor, idle_seconds=5)
        self.closing.append(pool.close)
        return Exchange(pool=pool, reactor=reactor, header_seconds=2)

    def web(self, **options: Any) -> Web:
        """What reads pages."""
        return Web(exchange=self.exchange(**options), user_agent="test")

    def discovery(
        self, exchange: Exchange, *, allowed: Sequence[str] | None = None, port: int = 1, clock: Any = reactor
    ) -> Discovery:
        """Discovery; `.well-known` is asked at `port`."""
        web = Web(exchange=exchange, user_agent="test")
        well_known = WellKnown(web=web, reactor=reactor, port=port, fetch_seconds=3)
        srv = SrvLookup(resolver=self.resolver, clock=clock, random=Random(1))
        return Discovery(own_name=OWN_NAME, allowed=allowed, well_known=well_known, srv=srv)

    def client(
        self, *, allowed: Sequence[str] | None = None, port: int = 1, **options: Any
    ) -> FederationClient:
        """A client of the server `own.test`."""
        exchange = self.exchange(**options)
        return FederationClient(
            server_name=OWN_NAME,
            signing_key=signing_key(OWN_NAME),
            discovery=self.discovery(exchange, allowed=allowed, port=port),
            exchange=exchange,
            reactor=reactor,
            user_agent="Trellis/test",
        )

    async def stop(self) -> None:
        """Close everything."""
        for close in reversed(self.closing):
            await _as_deferred(close())
        # What was aborted gets its turn to end.
        pause: Deferred[None] = Deferred()
        reactor.callLater(0.02, pause.callback, None)
        await pause


def _as_deferred(result: Any) -> Deferred[Any]:
    return result if isinstance(result, Deferred) else succeed(result)


async def start_net(directory: Path) -> Net:
    """A DNS server with an empty zone, and nothing else yet."""
    zone = Zone()
    protocol = dns.DNSDatagramProtocol(server.DNSServerFactory(clients=[zone]))
    protocol.noisy = False
    listening = reactor.listenUDP(0, protocol, interface="127.0.0.1")
    resolver = client.Resolver(servers=[("127.0.0.1", listening.getHost().port)], reactor=reactor)
    net = Net(directory, zone, Names(resolver), resolver)
    net.closing.append(listening.stopListening)
    return net


LOOPBACK = AddressRules(denied=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
