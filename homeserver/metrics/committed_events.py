# SPDX-License-Identifier: Apache-2.0
"""Counts the events that are committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric

from storage.event import StoredEvent
from storage.event_records import NewBackfilledEvent, NewEvent, NewOutlier, OutlierBackfilled, OutlierPlaced
from storage.runtime.metrics import counters
from storage.write_queue import Committed

_LIVE: tuple[type[Any], ...] = (NewEvent, OutlierPlaced)
_BACKFILLED: tuple[type[Any], ...] = (NewBackfilledEvent, OutlierBackfilled)

SOURCES = ("local", "remote", "backfilled", "outlier")
OUTCOMES = ("accepted", "rejected", "soft_failed")


class CommittedEvents:
    """Listens to commits, and counts those of its own process.

    An event is local if its sender belongs to this server. What is stored without a place in its room, as an
    outlier, is counted once more when it gets one.
    """

    def __init__(self, *, server_name: str) -> None:
        self._ending = f":{server_name}"
        self._counts = {(source, outcome): 0 for source in SOURCES for outcome in OUTCOMES}
        kinds = {
            **dict.fromkeys(_LIVE, ""),
            **dict.fromkeys(_BACKFILLED, "backfilled"),
            NewOutlier: "outlier",
        }
        self._source_of: dict[type[Any], str] = kinds

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Count the events of a batch."""
        source_of = self._source_of
        for committed in batch:
            if committed.foreign:
                continue
            for record in committed.unit.records:
                source = source_of.get(type(record))
                if source is not None:
                    stored: StoredEvent = record.stored
                    self._counts[source or self._live_source(stored), _outcome(stored)] += 1

    def count(self, source: str, outcome: str) -> int:
        """How many there were of one of `SOURCES` with one of `OUTCOMES`."""
        return self._counts[source, outcome]

    def collect(self) -> Iterable[Metric]:
        """The metric."""
        yield counters(
            "events",
            "Events that were stored, by where they came from and what the rules made of them.",
            ["source", "outcome"],
            self._counts.items(),
        )

    def _live_source(self, stored: StoredEvent) -> str:
        return "local" if stored.event.sender.endswith(self._ending) else "remote"


def _outcome(stored: StoredEvent) -> str:
    if stored.rejected:
        return "rejected"
    return "soft_failed" if stored.soft_failed else "accepted"
