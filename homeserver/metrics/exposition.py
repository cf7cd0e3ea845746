# SPDX-License-Identifier: Apache-2.0
"""`/_synapse/metrics` and `/metrics`: the metrics in the text format of Prometheus.

They are no part of the specification.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from federation.http.endpoint import Auth, Call, Content, Endpoint
from storage.runtime.metrics import Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PATHS = ("/_synapse/metrics", "/metrics")


class Exposition:
    """Answers whoever asks; who may ask is a matter of where the server listens."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints."""
        return tuple(Endpoint("GET", path, self.scrape, auth=Auth.NONE) for path in PATHS)

    async def scrape(self, call: Call) -> Content:  # noqa: ARG002
        """All metrics. They are written one by one, so that the reactor gets round to other things."""
        return Content(CONTENT_TYPE, self._parts())

    async def _parts(self) -> AsyncIterator[bytes]:
        for text in self._metrics.text():
            yield text
