# SPDX-License-Identifier: Apache-2.0
"""The server joins a large room of others."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from federation.graph.batches import Incoming
from tests.bench.graph.gauges import Gauges, Repeated
from tests.bench.graph.growth import OWN, Growth, far_user, with_auth_chains
from tests.bench.graph.house import House
from tests.bench.graph.task import Task

_MEMBERS = 10_000
_SENDS_EVERY = 0.1


async def joining(task: Task, reactor: Any) -> dict[str, float]:
    """The state of a room of 10,000 members is learnt, without signatures, and the join enters the room."""
    house = await House.open(task, reactor)
    other = Growth.room(house.version, "elsewhere")
    elsewhere = await house.begin(other.room_id, Incoming(other.events))
    room = Growth.room(house.version, "large", members=[far_user(i) for i in range(task.count(_MEMBERS))])
    state = list(room.state.values())
    join = room.join(OWN)
    events = with_auth_chains(state, {event.event_id: event for event in room.events})
    gauges, sends = Gauges(reactor), Repeated(reactor, lambda: house.say(elsewhere, OWN), _SENDS_EVERY)
    gauges.start()
    begin = perf_counter()
    learnt = await house.ground.graphs.learn(room.room_id, house.version, events)
    known = perf_counter()
    given = learnt.state(event.event_id for event in state)
    graph = await house.begin(room.room_id, Incoming([join], given={join.event_id: given}))
    joined = perf_counter()
    read = gauges.stop() | await sends.stop()
    read |= {"learning, s": known - begin, "entering, s": joined - known}
    read |= {"rows": await house.state_rows(graph)}
    await house.close()
    return read
