# SPDX-License-Identifier: Apache-2.0
"""The state at some event of long ago."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from federation.graph.batches import Incoming
from storage.engine.database import Transaction
from storage.event import StateAt
from tests.bench.graph.gauges import spread, timed
from tests.bench.graph.growth import CREATOR, Growth
from tests.bench.graph.house import House
from tests.bench.graph.task import Task

_CHANGES = 100_000
_KEYS = 10_000
_LOOKS = 50


async def old_state(task: Task, reactor: Any) -> dict[str, float]:
    """A room of 100,000 state changes of 10,000 keys; the state at a random one, whole and of two keys."""
    house = await House.open(task, reactor)
    far = Growth.room(house.version, "long")
    graph = await house.begin(far.room_id, Incoming(far.events))
    random, changes, keys = Random(1), task.count(_CHANGES), task.count(_KEYS)
    before = len(far.events)
    for size in (1_000,) * (changes // 1_000):
        for _ in range(size):
            far.add(
                CREATOR, "org.example.thing", {"value": random.random().hex()}, f"{random.randrange(keys)}"
            )
        await house.receive(graph, Incoming(far.since(before)))
        before = len(far.events)
    storage = house.ground.storage
    numbers = await storage.strings.find(["org.example.thing", *(f"{i}" for i in range(keys))])
    whole: list[float] = []
    two: list[float] = []
    reader: list[float] = []
    rows = 0

    def two_keys(txn: Transaction, at: StateAt, keys: Sequence[tuple[int, int]]) -> int:
        return len(storage.states.keys_at_txn(txn, graph.room, at, keys))

    def all_keys(txn: Transaction, at: StateAt) -> int:
        return len(storage.states.at_txn(txn, graph.room, at))

    for _ in range(_LOOKS):
        state = StateAt(0, random.randrange(1, changes))
        wanted = [(numbers["org.example.thing"], numbers[f"{random.randrange(keys)}"]) for _ in range(2)]
        with timed(two):
            await storage.database.read("two keys", partial(two_keys, at=state, keys=wanted))
        with timed(whole):
            rows += await storage.database.read("whole state", partial(all_keys, at=state))
        with timed(reader):
            await house.ground.states.at_each([(graph.room, StateAt(0, random.randrange(1, changes)))])
    await house.close()
    return {
        **spread(whole, "whole state"),
        **spread(two, "two keys"),
        **spread(reader, "whole state for a reader"),
        "rows of a whole state": rows / _LOOKS,
    }
