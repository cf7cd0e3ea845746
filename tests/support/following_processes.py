# SPDX-License-Identifier: Apache-2.0
"""Several processes of one homeserver in one reactor, as far as commits and what follows them go.

Each has a `Database` of its own on the same PostgreSQL database. Notices go over a medium in memory, which
can lose, delay, repeat and reorder them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.task import deferLater

from storage.account_data import AccountData
from storage.commits.follow_counts import FollowCounts
from storage.commits.follower import CommitFollower
from storage.commits.latest import POSITION, LatestCommit
from storage.commits.log import CommitLog
from storage.commits.records import NOTED, unpack_units
from storage.engine.database import Database
from storage.notices.notices import Hear, Notice, without_entry
from storage.persist import Unit
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import Committed, WriteQueue
from tests.support.databases import DatabaseHome

Listener = Callable[[Sequence[Committed]], None]


@attrs.define(eq=False)
class MemoryMedium:
    """Carries notices between all who are attached.

    Each notice is lost with the probability `loss` for each of them, comes twice with `repetition`, and takes
    up to `delay` seconds, so that later ones overtake it. Nothing comes through while `cut`.
    """

    random: Random = attrs.field(factory=lambda: Random(0))
    carries_entries: bool = False
    loss: float = 0.0
    repetition: float = 0.0
    delay: float = 0.0
    cut: bool = False
    attached: list[MemoryNotices] = attrs.field(factory=list)

    def send(self, notice: Notice) -> None:
        """Let all hear of it, one at a time."""
        for ear in list(self.attached):
            copies = 2 if self.random.random() < self.repetition else 1
            for _ in range(copies):
                if not self.cut and self.random.random() >= self.loss:
                    reactor.callLater(self.random.random() * self.delay, ear.hears, notice)


@attrs.define(eq=False)
class MemoryNotices:
    """The notices of one process."""

    medium: MemoryMedium
    hear: Hear | None = None

    @property
    def carries_entries(self) -> bool:
        """Whether the medium carries them."""
        return self.medium.carries_entries

    @property
    def carries_all_entries(self) -> bool:
        """The same."""
        return self.medium.carries_entries

    async def start(self, hear: Hear) -> None:
        """Hear from now on."""
        self.hear = hear
        self.medium.attached.append(self)
        hear(Notice())

    def tell(self, notice: Notice) -> None:
        """Send to all."""
        self.medium.send(notice if self.carries_entries else without_entry(notice))

    async def stop(self) -> None:
        """Hear no more."""
        self.hear = None
        self.medium.attached.remove(self)

    def hears(self, notice: Notice) -> None:
        """The medium brings a notice."""
        if self.hear is not None:
            self.hear(notice)


Heard = tuple[int, tuple[Any, ...]]
"""The base of a unit and those of its records that are noted."""


def noted_of(base: int, unit: Unit) -> list[Heard]:
    """What of a unit every process hears; nothing or one."""
    records = tuple(
        attrs.evolve(record, content=b"") if type(record) is AccountData else record
        for record in unit.records
        if type(record) in NOTED
    )
    return [(base, records)] if records else []


@attrs.define(eq=False)
class FollowingProcess:
    """One process. `heard` is what its listener was told, in order; `rooms` what was extended elsewhere."""

    storage: Storage
    log: CommitLog
    notices: MemoryNotices
    follower: CommitFollower
    queue: WriteQueue
    latest: LatestCommit
    background: BackgroundTasks
    counts: FollowCounts
    heard: list[Heard]
    rooms: list[int]
    losses: list[str]

    @property
    def name(self) -> str:
        """Its id."""
        return self.log.process

    async def write(self, *records: Any, positions: int = 0) -> Committed:
        """Commit one unit."""
        return await self.queue.submit(Unit(records, positions=positions))

    async def stop(self) -> None:
        """End it in an orderly way."""
        await self.queue.stop()
        await self.notices.stop()
        await self.background.stop()


async def follow(
    database: Database,
    medium: MemoryMedium,
    name: str,
    *,
    listeners: Sequence[Listener] = (),
    **settings: Any,
) -> FollowingProcess:
    """A process that begins where the database stands now; `settings` are of its write queue.

    `listeners` hear of commits before the one that keeps what was heard.
    """
    heard: list[Heard] = []
    rooms: list[int] = []
    losses: list[str] = []

    def keep(batch: Sequence[Committed]) -> None:
        for committed in batch:
            heard.extend(noted_of(committed.base, committed.unit))

    storage = Storage.over(database)
    log = CommitLog(database, process=name)
    notices = MemoryNotices(medium)
    background = BackgroundTasks()
    counts = FollowCounts()
    follower = CommitFollower(
        log=log,
        notices=notices,
        listeners=[*listeners, keep],
        of_others=rooms.append,
        lost=losses.append,
        background=background,
        clock=reactor,
        counts=counts,
    )
    queue = WriteQueue(
        database=database,
        strings=storage.strings,
        clock=reactor,
        background=background,
        on_commit=(),
        shared=follower,
        **settings,
    )
    latest = LatestCommit(database=database, follower=follower)
    follower.begin(await position_of(database))
    await notices.start(follower.hear)
    return FollowingProcess(
        storage, log, notices, follower, queue, latest, background, counts, heard, rooms, losses
    )


@asynccontextmanager
async def following(
    home: DatabaseHome, count: int, medium: MemoryMedium | None = None, **settings: Any
) -> AsyncIterator[list[FollowingProcess]]:
    """So many processes, with the names "p0", "p1" and so on."""
    medium = medium or MemoryMedium()
    processes = [await follow(await home.open(readers=2), medium, f"p{i}", **settings) for i in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            await process.stop()


async def position_of(database: Database) -> int:
    """Where the counter of positions stands."""
    [[position]] = await database.look("position", POSITION)
    return int(position)


async def logged(database: Database) -> list[Heard]:
    """What the log says that every process must have heard. Asserts that it is a chain."""
    rows = await database.look("log", "SELECT base, upto, records FROM commit_log ORDER BY base")
    ends = [upto for _, upto, _ in rows]
    assert [base for base, _, _ in rows[1:]] == ends[:-1]
    assert all(base < upto for base, upto, _ in rows)
    assert not ends or ends[-1] == await position_of(database)
    return [
        heard
        for base, _, records in rows
        for unpacked in unpack_units(records, b"\x80")
        for heard in noted_of(base + unpacked.offset, unpacked.unit)
    ]


async def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Return once the condition holds. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to pass"
        await deferLater(reactor, 0.005)
