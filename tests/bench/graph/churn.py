# SPDX-License-Identifier: Apache-2.0
"""A large room of which every server goes its own way, while its members come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from federation.graph.batches import Incoming
from federation.graph.room import RoomGraph
from storage.event import Event
from tests.bench.graph.gauges import Gauges, Repeated, spread, timed
from tests.bench.graph.growth import OWN, Growth, far_user, with_auth_chains
from tests.bench.graph.house import House
from tests.bench.graph.task import Task

_MEMBERS = 10_000
_LINES = 20
_ROUNDS = 10
_IN_A_TRANSACTION = 5
_SENDS_EVERY = 0.1


async def churn(task: Task, reactor: Any) -> dict[str, float]:
    """Twenty forward extremities; transactions of five member events each lengthen one of the lines in turn.

    Local users speak in another room meanwhile; then the lines go on while one speaks in this room, which
    merges what there is.
    """
    house = await House.open(task, reactor)
    other = Growth.room(house.version, "elsewhere")
    elsewhere = await house.begin(other.room_id, Incoming(other.events))
    large = Growth.room(
        house.version, "large", members=[far_user(i) for i in range(task.count(_MEMBERS, least=_LINES * 100))]
    )
    graph = await _joined(house, large)
    lines = [large.fork() for _ in range(_LINES)]
    rows = await house.state_rows(graph)
    gauges, sends = Gauges(reactor), Repeated(reactor, lambda: house.say(elsewhere, OWN), _SENDS_EVERY)
    transactions: list[float] = []
    gauges.start()
    for round_ in range(_ROUNDS):
        for number, line in enumerate(lines):
            events = _churned(line, number, round_)
            with timed(transactions):
                await house.receive(graph, Incoming(events))
    read = gauges.stop()
    read |= await sends.stop()
    read |= spread(transactions, "transaction") | {
        "events per second": _ROUNDS * _LINES * _IN_A_TRANSACTION / sum(transactions),
        "rows per event": (await house.state_rows(graph) - rows) / (_ROUNDS * _LINES * _IN_A_TRANSACTION),
    }
    read |= await _spoken(house, graph, lines, reactor)
    await house.close()
    return read


async def _joined(house: House, room: Growth) -> RoomGraph:
    """The server joins the room as it is."""
    state = list(room.state.values())
    by_id = {event.event_id: event for event in room.events}
    learnt = await house.ground.graphs.learn(room.room_id, house.version, with_auth_chains(state, by_id))
    given = learnt.state(event.event_id for event in state)
    join = room.join(OWN)
    return await house.begin(room.room_id, Incoming([join], given={join.event_id: given}))


def _churned(line: Growth, number: int, round_: int) -> Sequence[Event]:
    """What one server's members do: some leave, some come back, some take another name."""
    before = len(line.events)
    for i in range(_IN_A_TRANSACTION):
        user = far_user(number * 100 + (round_ * _IN_A_TRANSACTION + i) // 3)
        if i % 3 == 0:
            line.leave(user)
        else:
            line.join(user, displayname=f"{round_} {i}")
    return line.since(before)


async def _spoken(house: House, graph: RoomGraph, lines: Sequence[Growth], reactor: Any) -> dict[str, float]:
    """A local user speaks in the room itself, while the lines go on."""
    sends = Repeated(reactor, lambda: house.say(graph, OWN), _SENDS_EVERY)
    transactions: list[float] = []
    for number, line in enumerate(lines):
        events = _churned(line, number, _ROUNDS)
        with timed(transactions):
            await house.receive(graph, Incoming(events))
    read = await sends.stop()
    return {f"in the room itself: {name}": value for name, value in read.items()} | spread(
        transactions, "meanwhile: transaction"
    )
