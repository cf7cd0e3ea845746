# SPDX-License-Identifier: Apache-2.0
"""What the parts of a server count into, whether or not somebody asks for it."""

from __future__ import annotations

import attrs

from federation.graph.graph_counts import GraphCounts
from federation.http.request_counts import RequestCounts
from homeserver.metrics.committed_events import CommittedEvents
from storage.engine.work_counts import WorkCounts
from storage.runtime.caches import CacheFigures
from storage.write_counts import WriteCounts


@attrs.frozen(kw_only=True)
class Counts:
    """The figures of one server."""

    requests: RequestCounts
    work: WorkCounts
    writes: WriteCounts
    events: CommittedEvents
    graph: GraphCounts
    caches: CacheFigures

    @classmethod
    def of(cls, server_name: str) -> Counts:
        """Those of a server that starts."""
        return cls(
            requests=RequestCounts(),
            work=WorkCounts(),
            writes=WriteCounts(),
            events=CommittedEvents(server_name=server_name),
            graph=GraphCounts(),
            caches=CacheFigures(),
        )
