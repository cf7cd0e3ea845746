# SPDX-License-Identifier: Apache-2.0
"""SRV records, in the order in which their targets are to be tried (RFC 2782)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from random import Random
from typing import Any

import attrs
from twisted.names import dns

from federation.discovery.joined import JoinedAsks
from federation.transport.names import DNS_TIMEOUTS, DnsResolver, is_dns_name, is_no_such_name, shielded
from storage.runtime.caches import Cache, cache_of_entries
from storage.runtime.clock import Clock

SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")
"""In the order in which they are looked up. The second is deprecated."""

SHORTEST_SECONDS, LONGEST_SECONDS = 60, 3600
"""How long records are kept at least and at most, whatever their TTL."""

ABSENT_SECONDS = 300
"""How long it is kept that there are none; where DNS did not answer, `SHORTEST_SECONDS`."""

MOST_RECORDS = 16  # that are looked at, of one answer
MOST_KEPT = 10_000  # names


@attrs.frozen
class SrvRecord:
    """Where a service is: `host` is a name, empty where the service is decidedly not offered."""

    priority: int
    weight: int
    port: int
    host: str


@attrs.frozen
class _Kept:
    records: tuple[SrvRecord, ...]
    until: float


class SrvLookup:
    """Looks up where a host has its Matrix server.

    spec: server-server-api, "Resolving server names", 3.3, 3.4, 4 and 5.
    """

    def __init__(self, *, resolver: DnsResolver, clock: Clock, random: Random) -> None:
        self._resolver = resolver
        self._clock = clock
        self._random = random
        self.kept: Cache[str, _Kept] = cache_of_entries(MOST_KEPT)
        self._joined: JoinedAsks[str, _Kept] = JoinedAsks()

    async def records(self, host: str) -> Sequence[SrvRecord]:
        """The records of the first service that has any, in the order to try them, drawn anew every time.

        A DNS server that does not answer counts as one without records.
        """
        for service in SERVICES:
            found = await self._records(f"{service}.{host.lower()}")
            if found:
                return in_order(found, self._random)
        return ()

    async def _records(self, name: str) -> Sequence[SrvRecord]:
        if not is_dns_name(name):
            return ()
        kept = self.kept.get(name)
        if kept is None or kept.until <= self._clock.seconds():
            kept = await self._joined.ask(name, lambda: self._look_up(name))
        return kept.records

    async def _look_up(self, name: str) -> _Kept:
        try:
            answers, _, _ = await shielded(self._resolver.lookupService(name, DNS_TIMEOUTS))
        except Exception as error:
            # Some name servers fail where they should say that there is no such record.
            seconds = ABSENT_SECONDS if is_no_such_name(error) else SHORTEST_SECONDS
            records: tuple[SrvRecord, ...] = ()
        else:
            records, seconds = _records_in(answers)
        kept = self.kept[name] = _Kept(records, self._clock.seconds() + seconds)
        return kept

    def close(self) -> None:
        """Stop looking up."""
        self._joined.close()


def _records_in(answers: Sequence[Any]) -> tuple[tuple[SrvRecord, ...], int]:
    """The records, and for how many seconds they hold."""
    found = [answer for answer in answers if answer.type == dns.SRV][:MOST_RECORDS]
    if not found:
        return (), ABSENT_SECONDS
    records = tuple(
        SrvRecord(
            priority=answer.payload.priority,
            weight=answer.payload.weight,
            port=answer.payload.port,
            host=answer.payload.target.name.decode("ascii", "replace").rstrip("."),
        )
        for answer in found
    )
    shortest = min(answer.ttl or 0 for answer in found)
    return records, min(max(shortest, SHORTEST_SECONDS), LONGEST_SECONDS)


def in_order(records: Sequence[SrvRecord], random: Random) -> Sequence[SrvRecord]:
    """`records` by priority; among equals the next is drawn by weight, and weight 0 hardly ever comes first.

    RFC 2782, "Usage rules".
    """
    ordered: list[SrvRecord] = []
    by_priority = sorted(records, key=lambda record: (record.priority, record.weight))
    for _, group in groupby(by_priority, key=lambda record: record.priority):
        remaining = list(group)
        while remaining:
            ordered.append(remaining.pop(_drawn(remaining, random)))
    return ordered


def _drawn(records: Sequence[SrvRecord], random: Random) -> int:
    """The index of the first record whose running sum of weights reaches a number drawn from 0 to the sum."""
    number = random.randint(0, sum(record.weight for record in records))
    for index, record in enumerate(records):
        number -= record.weight
        if number <= 0:
            return index
    return len(records) - 1
