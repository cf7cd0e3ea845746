# SPDX-License-Identifier: Apache-2.0
"""All figures, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.figures.commits import ScalingCommits
from tests.bench.figures.disk import Disk
from tests.bench.figures.figure import Figure
from tests.bench.figures.graph import (
    Backfill,
    Churn,
    GraphMemory,
    JoinLarge,
    OldState,
    Split,
    SplitAtOnce,
    Tangle,
)
from tests.bench.figures.history import HistoryCold, HistoryWarm
from tests.bench.figures.idle_polls import IdlePolls, Reconnect
from tests.bench.figures.idle_sync import IdleSync
from tests.bench.figures.initial_sync import InitialSync
from tests.bench.figures.joins import Joins
from tests.bench.figures.large_room import LargeRoom
from tests.bench.figures.latency import SendLatency, StateLatency
from tests.bench.figures.many_rooms import ManyRooms
from tests.bench.figures.memory import IdleMemory, MemoryAfter
from tests.bench.figures.mixed_load import MixedLoad, MixedLoadHard
from tests.bench.figures.propagation import SeenByAll, SeenByOne
from tests.bench.figures.scaling import ScalingPolls, ScalingReads, ScalingSeen, ScalingSends
from tests.bench.figures.sends import SendsInManyRooms, SendsInOneRoom
from tests.bench.figures.start import Start

#: Those that restart the server stand first and last, so that `memory-after` sees what one process grew to.
FIGURES: tuple[type[Figure], ...] = (
    Start,
    IdleMemory,
    SendsInManyRooms,
    SendsInOneRoom,
    SendLatency,
    StateLatency,
    SeenByOne,
    SeenByAll,
    IdleSync,
    HistoryWarm,
    MixedLoad,
    MixedLoadHard,
    Joins,
    MemoryAfter,
    InitialSync,
    HistoryCold,
    Disk,
    LargeRoom,
    ManyRooms,
    IdlePolls,
    Reconnect,
    Split,
    SplitAtOnce,
    Backfill,
    Churn,
    Tangle,
    JoinLarge,
    OldState,
    GraphMemory,
    ScalingSends,
    ScalingReads,
    ScalingSeen,
    ScalingPolls,
    ScalingCommits,
)


def chosen_figures(names: Sequence[str] | None, *, heavy: bool) -> list[type[Figure]]:
    """The figures with these names or of these groups, or all.

    The heavy ones only with `heavy`, and those that are for names only not at all. Raises ValueError for
    unknown names.
    """
    if names is None:
        return [figure for figure in FIGURES if not figure.by_name and (heavy or not figure.heavy)]
    known = dict.fromkeys([f.name for f in FIGURES] + [f.group for f in FIGURES if f.group is not None])
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [figure for figure in FIGURES if figure.name in names or figure.group in names]
