# SPDX-License-Identifier: Apache-2.0
"""What sites count of connections and requests."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from federation.http.endpoint import Endpoint
from storage.runtime.metrics import Tally, counters, gauge

_METHODS = frozenset((b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"PATCH", b"OPTIONS"))
_LABELS = ("endpoint", "method", "status")


@attrs.define(eq=False)
class RequestCounts:
    """The figures of one or more sites.

    A request is told by its endpoint's path as it is declared, never by the path that was asked for: a
    stranger cannot make more of them, and none holds what a user sent.
    """

    connections: int = 0
    in_flight: int = 0
    """Requests that are here as a whole and not answered."""
    answered: dict[tuple[str, str, int], Tally] = attrs.field(factory=dict)
    """By the endpoint's path (empty without one), the method, and the status (499: the client was gone)."""

    def add(self, endpoint: Endpoint | None, method: bytes, status: int, seconds: float) -> None:
        """A request is answered."""
        if endpoint is not None:
            key = (endpoint.path, endpoint.method, status)
        else:
            key = ("", method.decode() if method in _METHODS else "other", status)
        tally = self.answered.get(key)
        if tally is None:
            tally = self.answered[key] = Tally()
        tally.count += 1
        tally.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield gauge("http_connections", "Open connections of clients.", self.connections)
        yield gauge(
            "http_requests_in_flight", "Requests that are being answered, long polls too.", self.in_flight
        )
        answered = [((path, method, str(status)), t) for (path, method, status), t in self.answered.items()]
        yield counters(
            "http_requests",
            "Answered requests, by the path of their endpoint, its method, and the status.",
            _LABELS,
            ((labels, tally.count) for labels, tally in answered),
        )
        yield counters(
            "http_request_seconds",
            "Seconds from the headers of requests to the end of their answers.",
            _LABELS,
            ((labels, tally.seconds) for labels, tally in answered),
        )
