# SPDX-License-Identifier: Apache-2.0
"""Committed events are counted by where they come from and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from homeserver.metrics.committed_events import OUTCOMES, SOURCES, CommittedEvents
from storage.event import StoredEvent
from storage.event_records import NewBackfilledEvent, NewEvent, NewOutlier, OutlierBackfilled, OutlierPlaced
from storage.persist import Unit
from storage.write_queue import Committed
from tests.support.event_records import event_named, outlier, placed_at

ROOM = "!room:a.example"


def counted(*records: Any) -> dict[tuple[str, str], int]:
    """What is counted of one unit, without the zeros."""
    events = CommittedEvents(server_name="a.example")
    events.on_commit([Committed(Unit(records=records, positions=1), base=0)])
    counts = {(source, outcome): events.count(source, outcome) for source in SOURCES for outcome in OUTCOMES}
    return {key: count for key, count in counts.items() if count}


def placed(name: str = "one", sender: str = "@alice:a.example", **members: Any) -> StoredEvent:
    return placed_at(event_named(name, ROOM, sender=sender), 1, 1, **members)


def new(stored: StoredEvent) -> NewEvent:
    return NewEvent(stored, 1, 2, None, 3, index=1)


@pytest.mark.parametrize(
    ("sender", "source"),
    [
        ("@alice:a.example", "local"),
        ("@alice:b.example", "remote"),
        ("@alice:a.example:8448", "remote"),
        ("@alice:xa.example", "remote"),
    ],
)
def test_the_senders_server_says_where_an_event_comes_from(sender: str, source: str) -> None:
    assert counted(new(placed(sender=sender))) == {(source, "accepted"): 1}


THEIRS = "@bob:b.example"
STORED = placed(sender=THEIRS)
REJECTED = placed(sender=THEIRS, rejected=True)
LONELY = outlier(event_named("one", ROOM, sender=THEIRS), 1)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([new(REJECTED)], {("remote", "rejected"): 1}),
        ([new(placed(sender=THEIRS, soft_failed=True))], {("remote", "soft_failed"): 1}),
        ([OutlierPlaced(STORED, 1, index=1)], {("remote", "accepted"): 1}),
        ([NewBackfilledEvent(STORED, 1, 2, None, 3, index=1)], {("backfilled", "accepted"): 1}),
        ([OutlierBackfilled(REJECTED, 1, index=1)], {("backfilled", "rejected"): 1}),
        ([NewOutlier(LONELY, 1, 2, None, 3)], {("outlier", "accepted"): 1}),
        (
            [new(STORED), new(placed("two")), new(STORED)],
            {("remote", "accepted"): 2, ("local", "accepted"): 1},
        ),
        ([], {}),
    ],
)
def test_what_is_counted(records: Sequence[Any], expected: dict[tuple[str, str], int]) -> None:
    assert counted(*records) == expected
