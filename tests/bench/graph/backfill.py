# SPDX-License-Identifier: Apache-2.0
"""A room is joined late, and its past is fetched in chunks, from the latest to the first."""

from __future__ import annotations

from typing import Any

from federation.graph.batches import Incoming
from tests.bench.graph.gauges import Gauges, Repeated, spread, timed
from tests.bench.graph.growth import CREATOR, OWN, Growth, with_auth_chains
from tests.bench.graph.house import House
from tests.bench.graph.task import Task

_CHANGES = 10_000
_KEYS = 1_000
_CHUNK = 100
_SENDS_EVERY = 0.1


async def backfill(task: Task, reactor: Any) -> dict[str, float]:
    """State changes in one line, in chunks of 100, each with the state before its lowest event."""
    house = await House.open(task, reactor)
    other = Growth.room(house.version, "elsewhere")
    elsewhere = await house.begin(other.room_id, Incoming(other.events))
    far = Growth.room(house.version, "joined late", members=())
    begin = len(far.events)
    states = []  # before every chunk
    for i in range(task.count(_CHANGES)):
        if i % _CHUNK == 0:
            states.append(list(far.state.values()))
        far.add(CREATOR, "org.example.thing", {"value": i}, f"{i * 7919 % task.count(_KEYS)}")
    before_join = list(far.state.values())
    join = far.join(OWN)
    by_id = {event.event_id: event for event in far.events}

    async def given(state: list[Any]) -> Any:
        learnt = await house.ground.graphs.learn(far.room_id, house.version, with_auth_chains(state, by_id))
        return learnt.state(event.event_id for event in state)

    graph = await house.begin(far.room_id, Incoming([join], given={join.event_id: await given(before_join)}))
    before = await house.state_rows(graph)
    gauges, sends = Gauges(reactor), Repeated(reactor, lambda: house.say(elsewhere, OWN), _SENDS_EVERY)
    chunks: list[float] = []
    gauges.start()
    for i, state in reversed(list(enumerate(states))):
        chunk = far.events[begin + i * _CHUNK : begin + (i + 1) * _CHUNK]
        if chunk[-1] is join:
            chunk = chunk[:-1]
        with timed(chunks):
            below = await given(state)
            incoming = Incoming(chunk, given={chunk[0].event_id: below}, backfilled=True)
            await house.receive(graph, incoming)
    read = gauges.stop() | await sends.stop()
    rows = await house.state_rows(graph)
    await house.close()
    return read | spread(chunks, "chunk") | {"changes": task.count(_CHANGES), "rows": rows - before}
