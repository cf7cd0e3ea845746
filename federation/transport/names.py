# SPDX-License-Identifier: Apache-2.0
"""From host names to addresses, over DNS and the hosts file.

DNS is asked from the reactor and not by `getaddrinfo`, which would hold a thread for each name that does not
answer: a large room has hundreds of those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import chain, zip_longest
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.names import client, dns, hosts
from twisted.names.error import AuthoritativeDomainError, DNSNameError
from twisted.names.resolve import ResolverChain

from federation.transport.errors import ConnectionFailed
from federation.transport.reasons import reason_of

DNS_TIMEOUTS = (1, 2, 4)
"""Seconds after which a question is asked again, and in the end given up."""

_MOST_ADDRESSES = 8  # that are tried of one host

_LABEL = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?")

Records: TypeAlias = tuple[Sequence[Any], Sequence[Any], Sequence[Any]]


class DnsResolver(Protocol):
    """The part of `twisted.internet.interfaces.IResolver` that is used."""

    def lookupAddress(self, name: str, timeout: Sequence[int]) -> Deferred[Records]:  # noqa: N802
        """The A records of `name`."""

    def lookupIPV6Address(self, name: str, timeout: Sequence[int]) -> Deferred[Records]:  # noqa: N802
        """The AAAA records of `name`."""

    def lookupService(self, name: str, timeout: Sequence[int]) -> Deferred[Records]:  # noqa: N802
        """The SRV records of `name`."""


def system_resolver(reactor: Any) -> DnsResolver:
    """The hosts file, then the name servers of resolv.conf."""
    make_chain: Any = ResolverChain
    make_client: Any = client.Resolver
    make_hosts: Any = hosts.Resolver
    by_name_server = make_client("/etc/resolv.conf", reactor=reactor)
    resolver: DnsResolver = make_chain([make_hosts(), by_name_server])
    return resolver


def is_dns_name(name: str) -> bool:
    """Whether DNS can be asked for `name`: labels of 1 to 63 characters, 253 together."""
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


class Names:
    """The addresses of hosts."""

    def __init__(self, resolver: DnsResolver) -> None:
        self._resolver = resolver

    async def addresses(self, host: str) -> Sequence[str]:
        """The IPv6 and IPv4 addresses of `host` by turns, at most 8; a CNAME is followed by the name server.

        Raises `ConnectionFailed` where there are none.
        """
        if not is_dns_name(host):
            raise ConnectionFailed(f"{host} is no name that DNS could know")
        asked = [
            shielded(self._resolver.lookupIPV6Address(host, DNS_TIMEOUTS)),
            shielded(self._resolver.lookupAddress(host, DNS_TIMEOUTS)),
        ]
        outcomes = await DeferredList(asked, consumeErrors=True)
        six, four = (_addresses_in(outcome) if found else [] for found, outcome in outcomes)
        by_turns = [address for address in chain(*zip_longest(six, four)) if address is not None]
        if not by_turns:
            raise ConnectionFailed(_why_none(host, [outcome for found, outcome in outcomes if not found]))
        return by_turns[:_MOST_ADDRESSES]


def shielded(asked: Deferred[Records]) -> Deferred[Records]:
    """What `asked` gives. Cancelling it leaves `asked` alone, whose answer others may wait for, too."""
    outer: Deferred[Records] = Deferred(lambda _outer: None)

    def forward(result: Any) -> None:
        if not outer.called:
            outer.callback(result)

    asked.addBoth(forward)
    return outer


def _addresses_in(records: Any) -> list[str]:
    found: list[str] = []
    for record in records[0]:
        if record.type == dns.A:
            found.append(str(IPv4Address(record.payload.address)))
        elif record.type == dns.AAAA:
            found.append(str(IPv6Address(record.payload.address)))
    return found


def _why_none(host: str, failures: Sequence[Any]) -> str:
    errors = [failure.value for failure in failures]
    if any(isinstance(error, CancelledError) for error in errors):
        raise CancelledError
    unknown = [error for error in errors if not is_no_such_name(error)]
    if unknown:
        return f"the name {host} cannot be looked up: {reason_of(unknown[0])}"
    return f"DNS knows no address of {host}"


def is_no_such_name(error: BaseException) -> bool:
    """Whether `error` is the answer of a name server that there is no such name, or no such record."""
    return isinstance(error, DNSNameError | AuthoritativeDomainError)
