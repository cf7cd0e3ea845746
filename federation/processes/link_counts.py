# SPDX-License-Identifier: Apache-2.0
"""What the links between processes count."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from storage.runtime.metrics import Tally, counter, counters, gauge

_LABELS = ("operation", "outcome")
Tallies = dict[tuple[str, str], Tally]


@attrs.define(eq=False)
class LinkCounts:
    """The figures of one process."""

    asking: int = 0
    """Connections on which this process asks."""
    answering: int = 0
    """Connections on which it answers."""
    asked_in_flight: int = 0
    """Questions whose answer has not come."""
    answering_in_flight: int = 0
    """Questions of others that are worked on."""
    asked: Tallies = attrs.field(factory=dict)
    """By operation and outcome: done, failed, refused, lost, cancelled."""
    answered: Tallies = attrs.field(factory=dict)
    """By operation and outcome: done, failed, refused."""
    refused_handshakes: int = 0
    """Connections that ended before both sides were sure of each other."""
    given_up: int = 0
    """Connections to processes that did not say a word any more."""

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield gauge("link_asking_connections", "Connections to other processes, to ask them.", self.asking)
        yield gauge("link_answering_connections", "Connections of other processes that ask.", self.answering)
        yield gauge(
            "link_asked_in_flight", "Questions to other processes without an answer.", self.asked_in_flight
        )
        yield gauge(
            "link_answering_in_flight",
            "Questions of other processes that are worked on.",
            self.answering_in_flight,
        )
        yield from _tallies("link_asked", "Questions to other processes", self.asked)
        yield from _tallies("link_answered", "Questions of other processes", self.answered)
        yield counter(
            "link_refused_handshakes",
            "Connections between processes that ended before both were sure of each other.",
            self.refused_handshakes,
        )
        yield counter(
            "link_given_up", "Connections to processes that fell silent and were given up.", self.given_up
        )


def _tallies(name: str, what: str, tallies: Tallies) -> Iterable[Metric]:
    yield counters(
        name,
        f"{what}, by operation and outcome.",
        _LABELS,
        ((labels, tally.count) for labels, tally in tallies.items()),
    )
    yield counters(
        f"{name}_seconds",
        f"Seconds of these: {what.lower()}.",
        _LABELS,
        ((labels, tally.seconds) for labels, tally in tallies.items()),
    )


def tally(tallies: Tallies, operation: str, outcome: str, seconds: float) -> None:
    """Count one more."""
    counted = tallies.get((operation, outcome))
    if counted is None:
        counted = tallies[operation, outcome] = Tally()
    counted.add(seconds)
