# SPDX-License-Identifier: Apache-2.0
"""Every event of a batch merges two lines of the graph, whose states differ."""

from __future__ import annotations

from typing import Any

from federation.graph.batches import Incoming
from tests.bench.graph.gauges import Gauges, Repeated, spread, timed
from tests.bench.graph.growth import CREATOR, OWN, Growth
from tests.bench.graph.house import House
from tests.bench.graph.task import Task

_BATCHES = 20
_PAIRS = 25
_SENDS_EVERY = 0.1


async def tangle(task: Task, reactor: Any) -> dict[str, float]:
    """Batches of 50 state events; each follows on the two before it, which follow on the same two."""
    house = await House.open(task, reactor)
    other = Growth.room(house.version, "elsewhere")
    elsewhere = await house.begin(other.room_id, Incoming(other.events))
    one = Growth.room(house.version, "tangled")
    graph = await house.begin(one.room_id, Incoming(one.events))
    two = one.fork()
    rows = await house.state_rows(graph)
    batches = []
    for _ in range(_BATCHES):
        events = []
        for i in range(_PAIRS):
            ends = one.heads[-1], two.heads[-1]
            for line, key in ((one, "one"), (two, "two")):
                line.heads = tuple(dict.fromkeys(ends))
                events.append(line.add(CREATOR, "org.example.thing", {"value": i}, key))
            one.state["org.example.thing", "two"] = events[-1]
            two.state["org.example.thing", "one"] = events[-2]
        batches.append(events)
    gauges, sends = Gauges(reactor), Repeated(reactor, lambda: house.say(elsewhere, OWN), _SENDS_EVERY)
    times: list[float] = []
    gauges.start()
    for events in batches:
        with timed(times):
            await house.receive(graph, Incoming(events))
    read = gauges.stop() | await sends.stop()
    rows = await house.state_rows(graph) - rows
    await house.close()
    count = _BATCHES * _PAIRS * 2
    return (
        read
        | spread(times, "batch")
        | {"events per second": count / sum(times), "rows per event": rows / count}
    )
