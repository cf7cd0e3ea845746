# SPDX-License-Identifier: Apache-2.0
"""All metrics of a server, which docs/metrics.md lists."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from functools import partial

from prometheus_client.metrics_core import Metric

from homeserver.composition.ground import Ground, SharedGround
from homeserver.metrics.reactor_lag import ReactorLag
from storage.engine.work_counts import pool_metrics
from storage.runtime.metrics import Metrics, counter, gauge, gauges

DISTRIBUTION = "trellis-homeserver"


def build_metrics(ground: Ground, lag: ReactorLag) -> Metrics:
    """The metrics of what stands on `ground`."""
    metrics, counts, database = Metrics(), ground.counts, ground.storage.database
    for collect in (
        partial(_about, database.dialect),
        counts.requests.collect,
        partial(_now, ground),
        lag.collect,
        counts.events.collect,
        counts.graph.collect,
        counts.writes.collect,
        counts.work.collect,
        partial(pool_metrics, database.pools),
        counts.caches.collect,
    ):
        metrics.register(collect)
    if ground.shared is not None:
        sharing = ground.shared.sharing
        for collect in (
            partial(_among_others, ground, ground.shared),
            sharing.counts.forwarding.collect,
            sharing.counts.links.collect,
            sharing.counts.notices.collect,
            sharing.counts.follow.collect,
        ):
            metrics.register(collect)
    metrics.register_process()
    return metrics


def _among_others(ground: Ground, shared: SharedGround) -> Iterable[Metric]:
    """What is looked at where there are several processes."""
    live = shared.sharing.live
    owned = sum(live.owner_of(room_id) is None for room_id in ground.graphs.room_ids())
    yield gauge("processes_alive", "Processes that serve the homeserver, this one included.", live.alive)
    yield gauge("owned_rooms_in_memory", "Rooms in memory that this process owns.", owned)
    yield gauge(
        "commits_behind",
        "Positions that are known to be taken by commits and not yet taken in.",
        shared.follower.behind,
    )


def _about(dialect: str) -> Iterable[Metric]:
    labels = ["version", "python", "database"]
    values = (importlib.metadata.version(DISTRIBUTION), platform.python_version(), dialect)
    yield gauges("build_info", "Always 1; the labels say what runs.", labels, [(values, 1)])


def _now(ground: Ground) -> Iterable[Metric]:
    """What is looked at when somebody asks."""
    workers = ground.workers
    yield gauge("long_polls_waiting", "Long polls that wait for news.", len(ground.feed.waiting))
    yield gauge("rooms_in_memory", "Rooms that are ready to be written to.", ground.graphs.in_memory)
    yield gauge(
        "write_queue_waiting_units", "Units that wait for the next commit.", ground.write_queue.waiting
    )
    yield counter("worker_calls", "Pieces of work that were given to other processes.", workers.calls.count)
    yield counter(
        "worker_call_seconds",
        "Seconds until other processes had done their work, waiting included.",
        workers.calls.seconds,
    )
