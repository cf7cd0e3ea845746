# SPDX-License-Identifier: Apache-2.0
"""One homeserver of one process and of two, which use all cores as the system lets them.

PostgreSQL and the load generator use the same cores, so that rates say little where there are two: the
processor time per send says what a process more costs and what each is left to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import ClassVar

from tests.bench.figures.figure import Figure, Line, Reading
from tests.bench.load.client import each
from tests.bench.load.connection import Address, connections
from tests.bench.load.long_poll import LongPoll
from tests.bench.load.percentiles import percentile
from tests.bench.load.requests import User, messages, sync
from tests.bench.scaling.household import Household
from tests.bench.scaling.loops import RATE, Loop, in_turns, medians, ratio
from tests.bench.scaling.meter import Meter
from tests.bench.scaling.redis import Redis
from tests.bench.scaling.seen import seconds_until_seen
from tests.bench.stage import Stage

_MINUTES_5 = 300_000


class _Scaling(Figure):
    """Households of its own: started for the preparation, ended after the measurement."""

    group = "scaling"
    ours = True
    heavy = True
    by_name = True
    repeats = 1

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._cores = stage.server.all_cores
        self._households: list[Household] = []
        self._redis: Redis | None = None

    async def _start(self, name: str, *, processes: int, sharing: bool, redis: bool = False) -> Household:
        port = None
        if redis:
            if self._redis is None:
                directory = self._stage.server.place.directory / f"{self.name}-redis"
                self._redis = Redis(directory, self._cores)
            port = self._redis.port
        known_as = f"{self.name}-{name}".replace("-", "_")
        household = Household(self._stage, known_as, processes=processes, sharing=sharing, redis=port)
        self._households.append(household)
        await household.start()
        return household

    @contextlib.asynccontextmanager
    async def _all_cores(self) -> AsyncIterator[None]:
        """For this program and PostgreSQL too; the households end here."""
        database = self._households[0].database.process
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cores)
        database.pin(self._cores)
        try:
            yield
        finally:
            for household in self._households:
                household.end()
            if self._redis is not None:
                self._redis.process.end()
            os.sched_setaffinity(0, before)
            database.pin(self._stage.server.database_cores)


class ScalingSends(_Scaling):
    """50 users in 50 rooms of two, and in one room.

    "At the owner" and "elsewhere": both members of the rooms that the first process owns send, asking the
    first or the second process. So the second does nothing but follow, or nothing but hand over. "One sender"
    makes every send a commit of its own.
    """

    name = "scaling-sends"
    lines = (
        Line("scaling-sends-one", "sends in 50 rooms, one process", "/s", "more"),
        Line("scaling-sends-two", "the same, two processes", "/s", "more"),
        Line("scaling-sends-redis", "the same, two processes and Redis", "/s", "more"),
        Line("scaling-sends-gain", "two processes to one, 50 rooms", "times", "more"),
        Line("scaling-room-gain", "two processes to one, one room", "times", "more"),
    )
    kinds: ClassVar[Sequence[tuple[str, int, bool, bool]]] = (
        ("one", 1, False, False),
        ("one sharing", 1, True, False),
        ("two", 2, True, False),
        ("two redis", 2, True, True),
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._loops: list[Loop] = []

    async def prepare(self) -> None:
        for name, processes, sharing, redis in self.kinds:
            household = await self._start(
                name.replace(" ", "-"), processes=processes, sharing=sharing, redis=redis
            )
            self._loops += await send_loops(name, household)

    async def measure(self) -> Reading:
        async with self._all_cores():
            found = await in_turns(self._loops, self._cores, self._stage.scale.repeats)
        details = medians(found)
        values = {
            f"scaling-sends-{short}": details[f"{name}, 50 rooms: {RATE}"]
            for short, name in (("one", "one"), ("two", "two"), ("redis", "two redis"))
        }
        values["scaling-sends-gain"] = ratio(found, "two, 50 rooms", "one, 50 rooms")
        values["scaling-room-gain"] = ratio(found, "two, one room", "one, one room")
        return Reading(values, details)


async def send_loops(name: str, household: Household) -> list[Loop]:
    """What `ScalingSends` measures on a household."""
    stage = household.stage
    users = await stage.people(stage.scale.senders)
    pairs = [(user, users[(index + 1) % len(users)]) for index, user in enumerate(users)]
    rooms = [await stage.room(one, f"Two {index}", [two]) for index, (one, two) in enumerate(pairs)]
    common = await stage.room(users[0], "All", users[1:])
    first, last = household.addresses[:1], household.addresses[-1:]
    owned = [
        (user, room_id)
        for index, (pair, room_id) in enumerate(zip(pairs, rooms, strict=True))
        if (household.owner_of(room_id) == 0 if len(household.servers) > 1 else index % 2 == 0)
        for user in pair
    ]
    makers = [(one, room_id) for (one, _), room_id in zip(pairs, rooms, strict=True)]
    loops = [
        _sends(f"{name}, 50 rooms", household, makers, household.addresses),
        _sends(f"{name}, one room", household, [(user, common) for user in users], household.addresses),
        _sends(f"{name}, at the owner", household, owned, first),
        _sends(f"{name}, one sender at the owner", household, owned[:1], first),
    ]
    if first != last:
        loops.append(_sends(f"{name}, elsewhere", household, owned, last))
    return loops


def _sends(
    name: str, household: Household, senders: Sequence[tuple[User, str]], addresses: Sequence[Address]
) -> Loop:
    return Loop(name, household, lambda: [messages(user, room_id) for user, room_id in senders], addresses)


class ScalingReads(_Scaling):
    """Incremental syncs with nothing new by users in some rooms: many at once, and one after another.

    Where there are several processes, each has to see that the others have committed nothing.
    """

    name = "scaling-reads"
    lines = (
        Line("scaling-reads-one", "idle incremental /sync, 50 connections, one process", "/s", "more"),
        Line("scaling-reads-two", "the same, two processes", "/s", "more"),
        Line("scaling-reads-alone-one", "one idle /sync after another, one process, p50", "ms", "less"),
        Line("scaling-reads-alone-two", "the same, one of two processes, p50", "ms", "less"),
    )
    kinds: ClassVar[Sequence[tuple[str, int, bool]]] = (("one", 1, False), ("two", 2, True))

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._loops: list[Loop] = []

    async def prepare(self) -> None:
        for name, processes, sharing in self.kinds:
            household = await self._start(name, processes=processes, sharing=sharing)
            users = await household.stage.people(self._stage.scale.senders)
            for number in range(10):
                await household.stage.room(users[0], f"Quiet {number}", users[1:])
            tokens = await each(users, household.stage.position)
            asked = [sync(user, since=token) for user, token in zip(users, tokens, strict=True)]
            self._loops += [
                Loop(f"{name}, many", household, partial(_repeated, asked), household.addresses),
                Loop(f"{name}, alone", household, partial(_repeated, asked[:1]), household.addresses[-1:]),
            ]

    async def measure(self) -> Reading:
        async with self._all_cores():
            found = await in_turns(self._loops, self._cores, self._stage.scale.repeats)
        details = medians(found)
        values = {}
        for name, *_ in self.kinds:
            values[f"scaling-reads-{name}"] = details[f"{name}, many: {RATE}"]
            values[f"scaling-reads-alone-{name}"] = details[f"{name}, alone: p50, ms"]
        return Reading(values, details)


def _repeated(asked: Sequence[bytes]) -> Sequence[Iterator[bytes]]:
    return [itertools.repeat(one) for one in asked]


class ScalingSeen(_Scaling):
    """One sends at the first process, the other polls at the second; who owns the room makes a difference."""

    name = "scaling-seen"
    lines = (
        Line("scaling-seen-one", "send until seen, one process, p50", "ms", "less"),
        Line("scaling-seen-near", "the same across two, room at the sender's, p50", "ms", "less"),
        Line("scaling-seen-far", "the same across two, room at the reader's, p50", "ms", "less"),
        Line("scaling-seen-redis-near", "the same with Redis, room at the sender's, p50", "ms", "less"),
        Line("scaling-seen-redis-far", "the same with Redis, room at the reader's, p50", "ms", "less"),
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._rooms: list[tuple[str, Household, User, User, str]] = []

    async def prepare(self) -> None:
        one = await self._start("one", processes=1, sharing=False)
        await self._add("one", one, None)
        two = await self._start("two", processes=2, sharing=True)
        redis = await self._start("redis", processes=2, sharing=True, redis=True)
        for household, prefix in ((two, ""), (redis, "redis-")):
            await self._add(f"{prefix}near", household, 0)
            await self._add(f"{prefix}far", household, 1)

    async def _add(self, key: str, household: Household, owner: int | None) -> None:
        """A room of two that the process with the index `owner` owns."""
        sender, reader = await household.stage.people(2)
        for number in range(64):
            room_id = await household.stage.room(sender, f"{key} {number}", [reader])
            if owner is None or household.owner_of(room_id) == owner:
                self._rooms.append((f"scaling-seen-{key}", household, sender, reader, room_id))
                return
        raise RuntimeError(f"of 64 rooms the process {owner} owns none")

    async def measure(self) -> Reading:
        times: dict[str, list[float]] = {key: [] for key, *_ in self._rooms}
        async with self._all_cores():
            for _ in range(self._stage.scale.repeats):
                for key, household, sender, reader, room_id in self._rooms:
                    times[key] += await seconds_until_seen(
                        household,
                        room_id,
                        sender=(sender, household.addresses[0]),
                        readers=[reader],
                        at=household.addresses[-1:],
                        rounds=self._stage.scale.rounds,
                    )
        return Reading(
            {key: percentile(found, 0.5) * 1e3 for key, found in times.items()},
            {f"{key}, p90, ms": percentile(found, 0.9) * 1e3 for key, found in times.items()},
        )


class ScalingPolls(_Scaling):
    """10,000 users wait in `/sync`, spread over two processes; 100 others talk in one room."""

    name = "scaling-polls"
    lines = (
        Line("scaling-polls-memory", "memory of each of 10,000 polls over two processes", "KiB", "less"),
        Line("scaling-polls-cpu", "processor time of both while all wait", "s/min", "less"),
        Line("scaling-polls-seen", "send until seen by all of 100, both processes, p50", "ms", "less"),
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._waiting: list[tuple[User, str]] = []
        self._room: tuple[User, list[User], str] | None = None

    async def prepare(self) -> None:
        household = await self._start("two", processes=2, sharing=True)
        stage = household.stage
        sender, *readers = await stage.people(self._stage.scale.watchers + 1)
        self._room = sender, readers, await stage.room(sender, "Awake", readers)
        polling = (await stage.people(len(readers) + 1 + self._stage.scale.polls))[len(readers) + 1 :]
        tokens = await each(polling, stage.position)
        self._waiting = list(zip(polling, tokens, strict=True))

    async def measure(self) -> Reading:
        assert self._room is not None
        sender, readers, room_id = self._room
        (household,) = self._households
        async with self._all_cores():
            for server in household.servers:
                await server.restart()
            await household.quiet()
            before = [server.process.resident_bytes() for server in household.servers]
            resting = await self._minute(household)
            async with connections(household.addresses, len(self._waiting)) as opened:
                polls = [
                    LongPoll(connection, user, since, _MINUTES_5)
                    for connection, (user, since) in zip(opened, self._waiting, strict=True)
                ]
                for poll in polls:
                    poll.poll()
                await household.quiet()
                after = [server.process.resident_bytes() for server in household.servers]
                waiting = await self._minute(household)
                times = await seconds_until_seen(
                    household,
                    room_id,
                    sender=(sender, household.addresses[0]),
                    readers=readers,
                    at=household.addresses,
                    rounds=self._stage.scale.rounds,
                )
                for poll in polls:
                    poll.stop()
        if broken := [poll.broken for poll in polls if poll.broken is not None]:
            raise ValueError(f"{len(broken)} long polls broke, one by {broken[0]}")
        values = {
            "scaling-polls-memory": (sum(after) - sum(before)) / 1024 / len(polls),
            "scaling-polls-cpu": waiting["servers"],
            "scaling-polls-seen": percentile(times, 0.5) * 1e3,
        }
        return Reading(values, _poll_details(before, after, resting, waiting, times))

    async def _minute(self, household: Household) -> dict[str, float]:
        """Processor seconds in a minute, of the servers and the database, from a third of one."""
        meter = Meter([s.process for s in household.servers], household.database.process, self._cores)
        await asyncio.sleep(20)
        spent = meter.read()
        servers = sum(value for key, value in spent.items() if key.startswith("server "))
        return {"servers": servers * 3, "database": spent["database"] * 3}


def _poll_details(
    before: Sequence[int],
    after: Sequence[int],
    resting: dict[str, float],
    waiting: dict[str, float],
    times: Sequence[float],
) -> dict[str, float]:
    details = {"seen, p90, ms": percentile(times, 0.9) * 1e3}
    for index, (one, two) in enumerate(zip(before, after, strict=True)):
        details[f"server {index}, at rest, MiB"] = one / 2**20
        details[f"server {index} with polls, MiB"] = two / 2**20
    for key, spent in (("at rest", resting), ("all wait", waiting)):
        details |= {f"{key}, {whose}, s/min": seconds for whose, seconds in spent.items()}
    return details
