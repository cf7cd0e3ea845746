# SPDX-License-Identifier: Apache-2.0
"""Reverse topological power ordering. spec: rooms, version 2, "Reverse topological power ordering"."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heappush

from federation.rules.state_resolution.auth_events import AuthEvents
from storage.event import Event

# Minus the sender's power level, `origin_server_ts`, event id.
_Rank = tuple[float, float, str]


def reverse_topological_power_ordering(
    events: Collection[Event], connecting: Collection[Event], auth_events: AuthEvents
) -> list[Event]:
    """`events` from the earliest to the latest: the lexicographically smallest topological order.

    An event comes after those of its auth chain, also where that leads over events of `connecting`, which
    have no place in the result themselves. Kahn's algorithm, each time with the smallest candidate.
    """
    ranked = {event.event_id: (_rank(event, auth_events), event) for event in events}
    # What only connects goes before all candidates, so that it holds up nobody.
    ranked.update({event.event_id: ((-math.inf, -math.inf, event.event_id), event) for event in connecting})
    left_out = {event.event_id for event in connecting}
    citing: dict[str, list[str]] = {event_id: [] for event_id in ranked}
    waiting: dict[str, int] = {}
    for event_id, (_, event) in ranked.items():
        cited = [auth_id for auth_id in set(event.auth_events) if auth_id in ranked]
        waiting[event_id] = len(cited)
        for auth_id in cited:
            citing[auth_id].append(event_id)
    ranks = {event_id: rank for event_id, (rank, _) in ranked.items()}
    return [ranked[event_id][1] for event_id in _kahn(ranks, citing, waiting) if event_id not in left_out]


def _rank(event: Event, auth_events: AuthEvents) -> _Rank:
    return (-auth_events.sender_level(event), event.origin_server_ts, event.event_id)


def _kahn(ranks: dict[str, _Rank], citing: dict[str, list[str]], waiting: dict[str, int]) -> Iterator[str]:
    """The nodes in order; `waiting` counts for each node those that must come before it."""
    candidates = [ranks[event_id] for event_id, count in waiting.items() if count == 0]
    heapify(candidates)
    placed: set[str] = set()
    rest: Iterator[_Rank] | None = None
    while len(placed) < len(ranks):
        if candidates:
            event_id = heappop(candidates)[2]
        else:
            # Events that cite each other in a circle, which ids that are no hashes allow: the smallest goes.
            rest = rest or iter(sorted(ranks.values()))
            event_id = next(rank[2] for rank in rest if rank[2] not in placed)
        if event_id in placed:
            continue
        placed.add(event_id)
        yield event_id
        for citing_id in citing[event_id]:
            waiting[citing_id] -= 1
            if waiting[citing_id] == 0:
                heappush(candidates, ranks[citing_id])
