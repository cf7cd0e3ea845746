# SPDX-License-Identifier: Apache-2.0
"""What rooms take of memory: at rest on disk, hot, and hot with the index of their auth chains."""

from __future__ import annotations

import gc
from hashlib import sha256
from pathlib import Path
from typing import Any

from federation.graph.batches import Incoming
from federation.rules.canonical_json import decode_json
from federation.rules.event_format import parse_pdu
from tests.bench.graph.gauges import resident_mib
from tests.bench.graph.growth import OWN, Growth, far_user, with_auth_chains
from tests.bench.graph.house import House
from tests.bench.graph.task import Task

_COLD = 1_000
_HOT = 5
_MEMBERS = 10_000


async def fill_cold(task: Task, reactor: Any) -> dict[str, float]:
    """Joined rooms of ten members are written, for another process."""
    house = await House.open(task, reactor)
    for i in range(task.count(_COLD)):
        room = Growth.room(house.version, f"cold {i}", members=[OWN, *(far_user(n) for n in range(8))])
        await house.begin(room.room_id, Incoming(room.events))
    await house.close()
    return {}


async def fill_hot(task: Task, reactor: Any) -> dict[str, float]:
    """Joined rooms of 10,000 members are written, each with two forward extremities, for another process."""
    house = await House.open(task, reactor)
    for i in range(_HOT):
        room = Growth.room(house.version, f"hot {i}", [far_user(n) for n in range(task.count(_MEMBERS))])
        by_id = {event.event_id: event for event in room.events}
        state = list(room.state.values())
        learnt = await house.ground.graphs.learn(room.room_id, house.version, with_auth_chains(state, by_id))
        given = learnt.state(event.event_id for event in state)
        join = room.join(OWN)
        graph = await house.begin(room.room_id, Incoming([join], given={join.event_id: given}))
        one, other = room.fork(), room.fork()
        one.join(far_user(0), displayname="one")
        other.join(far_user(1), displayname="other")
        await house.receive(graph, Incoming([one.events[-1], other.events[-1]]))
        _event_file(task, room.room_id).write_bytes(one.join(far_user(2), displayname="three").json)
    await house.close()
    return {}


async def at_rest(task: Task, reactor: Any) -> dict[str, float]:
    """A server starts over the database and comes to rest."""
    house = await House.open(task, reactor)
    read = {"resident, MiB": _settled()}
    await house.close()
    return read


async def hot(task: Task, reactor: Any) -> dict[str, float]:
    """The rooms of the database become hot one after the other, then each gets an event and is resolved."""
    house = await House.open(task, reactor)
    ground = house.ground
    rooms = await ground.storage.database.read("rooms", lambda txn: txn.rows("SELECT room FROM rooms"))
    names = (await ground.storage.strings.values([room for (room,) in rooms])).values()
    graphs = [await ground.graphs.get(name) for name in names]
    read = [_settled()]
    for graph in graphs:
        await graph.append(lambda _state: [])
        read.append(_settled())
    for graph in graphs:
        event = parse_pdu(decode_json(_event_file(task, graph.room_id).read_bytes()), house.version)
        await house.receive(graph, Incoming([event]))
        read.append(_settled())
    await house.close()
    count = len(graphs)
    return {
        "first room, MiB": read[1] - read[0],
        "a further room, MiB": (read[count] - read[1]) / (count - 1),
        "first resolution, MiB": read[count + 1] - read[count],
        "a further resolution, MiB": (read[2 * count] - read[count + 1]) / (count - 1),
        "resident at the end, MiB": read[-1],
    }


def _event_file(task: Task, room_id: str) -> Path:
    """Where an event is kept that the other process is to receive."""
    return Path(task.directory) / f"{sha256(room_id.encode()).hexdigest()}.json"


def _settled() -> float:
    gc.collect()
    return resident_mib()
