# SPDX-License-Identifier: Apache-2.0
"""The p99 of everything while everything happens at once, at a pace that the clock sets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from time import perf_counter

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.client import each
from tests.bench.load.connection import Connection, connections
from tests.bench.load.long_poll import LongPoll
from tests.bench.load.paced import Actor, act_together
from tests.bench.load.percentiles import percentile
from tests.bench.load.requests import User, join, message, receipt, typing
from tests.bench.stage import Stage

_ROOMS = 50
_markers = itertools.count()


class _MixedLoad(Figure):
    """50 rooms of ten whose members all hang on `/sync`; in each one member sends, one reads, one types."""

    name = ""
    #: Seconds between two messages of one sender; receipts, typing and joins come at half that pace.
    interval = 1.0

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._rooms: list[tuple[str, Sequence[User], str]] = []
        self._newcomers: list[User] = []
        self._arrivals: list[tuple[float, asyncio.Future[float]]] = []

    async def prepare(self) -> None:
        size = self._stage.scale.mixed_polls // _ROOMS
        people = await self._stage.people(self._stage.scale.mixed_polls + _ROOMS)
        members, self._newcomers = people[: size * _ROOMS], people[size * _ROOMS :]

        async def one(number: int) -> tuple[str, Sequence[User], str]:
            owner, *others = mine = members[number * size : (number + 1) * size]
            room_id = await self._stage.room(owner, f"Mixed {number}", others)
            sent = await self._stage.client.get(message(owner, room_id, f"mixed{self.name}{number}"))
            return room_id, mine, sent["event_id"]

        self._rooms = await each(range(_ROOMS), one, 4)

    async def measure(self) -> Reading:
        everybody = [(room_id, member) for room_id, members, _ in self._rooms for member in members]
        tokens = await each([member for _, member in everybody], self._stage.position)
        seconds = self._stage.scale.mixed_seconds
        async with (
            connections(self._stage.server.address, len(everybody)) as waiting,
            connections(self._stage.server.address, 4 * _ROOMS) as acting,
        ):
            polls = [
                LongPoll(connection, member, token)
                for connection, (_, member), token in zip(waiting, everybody, tokens, strict=True)
            ]
            for poll in polls:
                poll.poll()
            await self._stage.server.quiet(20.0)
            kinds = self._kinds(acting, polls)
            pace = {kind: self.interval * (1 if kind == "send" else 2) for kind in kinds}
            await asyncio.gather(
                *(act_together(kinds[kind], seconds=seconds, interval=pace[kind]) for kind in kinds)
            )
            seen = await self._seen()
            for poll in polls:
                poll.stop()
        return self._reading({**_latencies(kinds), "seen": seen}, polls)

    def _kinds(self, acting: Sequence[Connection], polls: Sequence[LongPoll]) -> dict[str, list[Actor]]:
        size = len(polls) // _ROOMS
        makers: dict[str, Callable[[int], Callable[[], bytes | None]]] = {
            "send": lambda room: self._sender(room, polls[room * size + 1]),
            "receipt": self._reader,
            "typing": self._typist,
            "join": self._newcomer,
        }
        lanes = iter(acting)
        return {
            kind: [
                Actor(next(lanes), make(room), interval=self.interval * (1 if kind == "send" else 2))
                for room in range(_ROOMS)
            ]
            for kind, make in makers.items()
        }

    def _sender(self, room: int, poll: LongPoll) -> Callable[[], bytes]:
        room_id, members, _ = self._rooms[room]

        def send() -> bytes:
            number = next(_markers)
            marker = f"the mixed message {number}."
            self._arrivals.append((perf_counter(), poll.watch(marker.encode())))
            return message(members[0], room_id, f"mixed-{number}", marker)

        return send

    def _reader(self, room: int) -> Callable[[], bytes]:
        room_id, members, event_id = self._rooms[room]
        return lambda: receipt(members[2], room_id, event_id)

    def _typist(self, room: int) -> Callable[[], bytes]:
        room_id, members, _ = self._rooms[room]
        on = itertools.cycle([True, False])
        return lambda: typing(members[3], room_id, next(on))

    def _newcomer(self, room: int) -> Callable[[], bytes | None]:
        """One newcomer goes through the rooms that follow."""
        rooms = iter([self._rooms[(room + step) % _ROOMS][0] for step in range(_ROOMS)])

        def next_join() -> bytes | None:
            room_id = next(rooms, None)
            return None if room_id is None else join(self._newcomers[room], room_id)

        return next_join

    async def _seen(self) -> list[float]:
        """From each send to its arrival at another member; 30 s where it did not come within that time."""
        await asyncio.wait([future for _, future in self._arrivals], timeout=30)
        times = []
        for begin, future in self._arrivals:
            arrived = future.done() and future.exception() is None
            times.append(future.result() - begin if arrived else 30.0)
        self._arrivals.clear()
        return times

    def _reading(self, latencies: dict[str, list[float]], polls: Sequence[LongPoll]) -> Reading:
        broken = [poll.broken for poll in polls if poll.broken is not None]
        if broken:
            raise ValueError(f"{len(broken)} long polls broke, one by {broken[0]}")
        everything = [latency for kind in latencies.values() for latency in kind]
        details = {f"{kind} p99, ms": percentile(times, 0.99) * 1e3 for kind, times in latencies.items()}
        details["sync answers"] = float(sum(poll.answers for poll in polls))
        return Reading({self.name: percentile(everything, 0.99) * 1e3}, details)


def _latencies(kinds: dict[str, list[Actor]]) -> dict[str, list[float]]:
    return {
        kind: [latency for actor in actors for latency in actor.latencies] for kind, actors in kinds.items()
    }


class MixedLoad(_MixedLoad):
    """5 messages per second in all, which a slow server can carry too."""

    name = "mixed"
    lines = (Line("mixed", "p99 of everything under mixed load, 5 messages/s", "ms", "less"),)
    repeats = 1
    interval = 10.0


class MixedLoadHard(_MixedLoad):
    """50 messages per second in all."""

    name = "mixed-hard"
    lines = (Line("mixed-hard", "p99 of everything under mixed load, 50 messages/s", "ms", "less"),)
    heavy = True
    repeats = 1
    interval = 1.0
