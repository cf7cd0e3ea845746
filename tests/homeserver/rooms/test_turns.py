# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from homeserver.rooms.turns import Turns


async def test_one_at_a_time_for_each_key() -> None:
    turns = Turns()
    inside: dict[str, int] = {"a": 0, "b": 0}
    most: dict[str, int] = {"a": 0, "b": 0}
    both = []

    async def take(key: str) -> None:
        async with turns.of("room", key):
            inside[key] += 1
            most[key] = max(most[key], inside[key])
            both.append(sum(inside.values()))
            await deferLater(reactor, 0)
            inside[key] -= 1

    await gatherResults([Deferred.fromCoroutine(take(key)) for key in "aabbab"])
    assert most == {"a": 1, "b": 1}
    assert max(both) == 2


async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    turns = Turns()
    order = []

    async def take(name: str) -> None:
        async with turns.of("room"):
            await deferLater(reactor, 0)
            order.append(name)

    first, second, third = (Deferred.fromCoroutine(take(name)) for name in ("first", "second", "third"))
    second.addErrback(lambda failure: failure.trap(CancelledError))
    second.cancel()
    await gatherResults([first, second, third])
    assert order == ["first", "third"]


async def test_locks_are_kept_only_while_they_are_needed() -> None:
    turns = Turns()
    async with turns.of("room", "user"):
        assert len(turns._locks) == 1
    gc.collect()
    assert len(turns._locks) == 0
