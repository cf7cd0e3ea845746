# SPDX-License-Identifier: Apache-2.0
"""Thousands join on the far side of a split, and the sides meet again."""

from __future__ import annotations

from typing import Any

from federation.graph.batches import Incoming
from federation.graph.drafts import Draft
from federation.graph.room import RoomGraph
from storage.event import StoredEvent
from tests.bench.graph.gauges import Gauges, Repeated
from tests.bench.graph.growth import OWN, Growth, batches, far_user
from tests.bench.graph.house import House
from tests.bench.graph.task import Task

_JOINS = 5_000
_SENDS_EVERY = 0.1


async def split_in_transactions(task: Task, reactor: Any) -> dict[str, float]:
    """The joins come in transactions of 50; a local user speaks meanwhile in another room."""
    return await _split(task, reactor, size=50)


async def split_at_once(task: Task, reactor: Any) -> dict[str, float]:
    """The joins come as one batch."""
    return await _split(task, reactor, size=_JOINS)


async def _split(task: Task, reactor: Any, *, size: int) -> dict[str, float]:
    house = await House.open(task, reactor)
    far = Growth.room(house.version, "split")
    graph = await house.begin(far.room_id, Incoming(far.events))
    other = Growth.room(house.version, "elsewhere")
    elsewhere = await house.begin(other.room_id, Incoming(other.events))
    ours = await _own_state(graph)
    shared = len(far.events)
    for i in range(task.count(_JOINS)):
        far.join(far_user(i))
    joins = far.since(shared)
    before, size = await house.state_rows(graph), await house.used_bytes()
    gauges, sends = Gauges(reactor), Repeated(reactor, lambda: house.say(elsewhere, OWN), _SENDS_EVERY)
    gauges.start()
    for batch in batches(joins, size):
        await house.receive(graph, Incoming(batch))
    split = await house.state_rows(graph)
    near = Growth.room(house.version, "split")
    near.heads = (ours.event,)
    far.merge([near])
    merge = far.add(far_user(0), "m.room.message", {"msgtype": "m.text", "body": "here we are"})
    await house.receive(graph, Incoming([merge]))
    read = gauges.stop() | await sends.stop()
    rows, grown = await house.state_rows(graph), await house.used_bytes() - size
    await house.close()
    return read | {"rows": rows - before, "rows of the merge": rows - split, "MiB": grown / 2**20}


async def _own_state(graph: RoomGraph) -> StoredEvent:
    """What our side changes meanwhile; the last event of it."""
    stored: list[StoredEvent] = []
    for i in range(5):
        draft = Draft(OWN, "org.example.own", {"value": i}, state_key=f"{i}")
        stored = await graph.append(lambda _state, draft=draft: [draft])  # type: ignore[misc]
    return stored[-1]
