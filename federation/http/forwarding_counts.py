# SPDX-License-Identifier: Apache-2.0
"""What is counted of requests that another process answers."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from storage.runtime.metrics import Tally, counter, gauge


@attrs.define(eq=False)
class ForwardingCounts:
    """The figures of one process."""

    in_flight: int = 0
    """Requests that were handed over, or wait to be."""
    answered: Tally = attrs.field(factory=Tally)
    """Those that their owner answered, with whatever status."""
    retried: int = 0
    """Attempts after a failed one."""
    given_up: int = 0
    """Requests whose owner was not reached in time, or that it may or may not have answered."""

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield gauge("forwarding_in_flight", "Requests that other processes answer just now.", self.in_flight)
        yield counter("forwarded_requests", "Requests that another process answered.", self.answered.count)
        yield counter(
            "forwarded_request_seconds", "Seconds until another process answered.", self.answered.seconds
        )
        yield counter("forwarding_retries", "Attempts to reach an owner after a failed one.", self.retried)
        yield counter(
            "forwarding_given_up",
            "Requests answered with 503 because their owner could not be reached.",
            self.given_up,
        )
