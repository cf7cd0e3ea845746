# SPDX-License-Identifier: Apache-2.0
"""What every room of a process works with."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from federation.graph.auth_chains.auth_chains import AuthChains
from federation.graph.building import EventBuilder
from federation.graph.contributors import Contributor
from federation.graph.foreign_writes import ForeignWrites
from federation.graph.graph_counts import GraphCounts
from federation.graph.inbound import InboundReader
from federation.graph.loading import RoomLoader
from federation.graph.outliers import Outliers
from federation.graph.resolving import Resolver
from federation.workers import Workers
from storage.auth_chains import AuthChainStore
from storage.events import Events
from storage.numbers import EventNumbers
from storage.runtime.clock import Clock
from storage.stores import Storage
from storage.strings import Strings
from storage.write_queue import WriteQueue


@attrs.frozen
class GraphTools:
    """What every room of a process works with."""

    loader: RoomLoader
    strings: Strings
    numbers: EventNumbers
    events: Events
    queue: WriteQueue
    inbound: InboundReader
    outliers: Outliers
    builder: EventBuilder
    contributors: Sequence[Contributor]
    foreign: ForeignWrites

    @classmethod
    def over(
        cls,
        storage: Storage,
        *,
        queue: WriteQueue,
        numbers: EventNumbers,
        builder: EventBuilder,
        contributors: Sequence[Contributor],
        workers: Workers,
        clock: Clock,
        counts: GraphCounts | None = None,
        foreign: ForeignWrites | None = None,
    ) -> GraphTools:
        """The tools over `storage`; `workers` are for heavy resolutions, `counts` is what all count into.

        `foreign` hears of what other processes write into rooms.
        """
        counts = counts or GraphCounts()
        database, strings, events = storage.database, storage.strings, storage.events
        chains = AuthChains(store=AuthChainStore(database), clock=clock)
        return cls(
            loader=RoomLoader(database, strings, storage.rooms, events, storage.states, counts),
            strings=strings,
            numbers=numbers,
            events=events,
            queue=queue,
            inbound=InboundReader(
                database=database,
                strings=strings,
                numbers=numbers,
                events=events,
                states=storage.states,
                gaps=storage.gaps,
                resolver=Resolver(events, chains, workers, clock, counts),
            ),
            outliers=Outliers(strings, numbers, events, queue, clock),
            builder=builder,
            contributors=contributors,
            foreign=foreign or ForeignWrites(),
        )
