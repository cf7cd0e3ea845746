# SPDX-License-Identifier: Apache-2.0
"""What a medium of notices counts."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from storage.runtime.metrics import counter


@attrs.define(eq=False)
class NoticeCounts:
    """The figures of one process.

    `told` are the notices that were to be sent, `sent` the messages that they became, several at once where
    they come close, `dropped` the notices that were not sent; `heard` those that came in, `unreadable` the
    messages that nobody understood; `connections` says how often the medium was connected.
    """

    told: int = 0
    sent: int = 0
    dropped: int = 0
    heard: int = 0
    unreadable: int = 0
    connections: int = 0

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        yield counter("notices_told", "Notices of this process for the others.", self.told)
        yield counter("notices_sent", "Messages that carried notices of this process.", self.sent)
        yield counter(
            "notices_dropped",
            "Notices that were not sent; the others find out from the database.",
            self.dropped,
        )
        yield counter("notices_heard", "Notices that came in, those of this process included.", self.heard)
        yield counter("notices_unreadable", "Messages between processes that made no sense.", self.unreadable)
        yield counter(
            "notices_connections",
            "How often this process was connected to what carries notices.",
            self.connections,
        )
