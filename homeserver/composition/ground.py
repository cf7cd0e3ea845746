# SPDX-License-Identifier: Apache-2.0
"""What everything stands on: storage, who follows its commits, the write queue, the room graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from federation.graph.building import EventBuilder
from federation.graph.contributors import Contributor
from federation.graph.foreign_writes import ForeignWrites
from federation.graph.graph_tools import GraphTools
from federation.graph.out_of_band import OutOfBandMemberships
from federation.graph.rooms import RoomGraphs
from federation.outbound.room_servers import RoomServerRows
from federation.processes.ownership import Alone, Ownership
from federation.signing_key import load_signing_keys
from federation.workers import Workers
from homeserver.accounts.access_tokens import AccessTokens
from homeserver.accounts.limits import Limits, NoLimits
from homeserver.composition.counts import Counts
from homeserver.composition.sharing import Sharing
from homeserver.config.config import Config
from homeserver.feed.feed import Feed
from homeserver.feed.typists import Typists, announce_here, announce_to_all
from homeserver.push.committed_counts import CommittedCounts
from homeserver.push.counts import NotificationCounts
from homeserver.push.unread import UnreadCounts
from homeserver.rooms.history import History
from homeserver.rooms.membership_rows import MembershipRows
from homeserver.rooms.presentation import Presentation
from homeserver.rooms.states import RoomStates
from homeserver.rooms.transactions import TRANSACTION_LIFETIME_MS
from homeserver.rooms.turns import Turns
from storage.commits.follower import CommitFollower
from storage.commits.latest import LatestCommit
from storage.commits.log import CommitLog
from storage.engine.database import Database
from storage.engine.errors import DatabaseError
from storage.event_memory import EventMemory
from storage.notices.notices import Notice
from storage.numbers import EventNumbers
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import Committed, WriteQueue

_WORKERS = 2
"""So many processes at most work out what would hold up the reactor."""


@attrs.frozen(kw_only=True)
class Ground:
    """What is kept and who writes it, and those who read along with every commit."""

    config: Config
    reactor: Any
    background: BackgroundTasks
    storage: Storage
    feed: Feed
    states: RoomStates
    history: History
    presentation: Presentation
    access_tokens: AccessTokens
    write_queue: WriteQueue
    graphs: RoomGraphs
    workers: Workers
    out_of_band: OutOfBandMemberships
    limits: Limits
    unread: UnreadCounts
    counts: Counts
    typists: Typists
    ownership: Ownership
    shared: SharedGround | None = None

    async def start(self) -> None:
        """Read where everything stands. What follows is heard of."""
        await self.feed.start(shared=self.shared is not None)
        if self.shared is not None:
            self.shared.follower.begin(self.feed.position)

    async def latest(self) -> None:
        """Return when all is known here that was committed before the call. Raises `DatabaseError`."""
        if self.shared is not None:  # also where no other is known: one may have come a moment ago
            await self.shared.latest.reached()


@attrs.frozen(kw_only=True)
class SharedGround:
    """What the ground has besides where there are several processes."""

    sharing: Sharing
    follower: CommitFollower
    latest: LatestCommit

    async def caught_up(self) -> None:
        """Return when all that this process has committed is taken in, or cannot be for now."""
        with contextlib.suppress(DatabaseError):
            await self.latest.reached()

    def hear(self, notice: Notice) -> None:
        """Take note of a notice of any process."""
        if notice == Notice():
            self.latest.look()
        self.follower.hear(notice)


def build_ground(
    config: Config,
    reactor: Any,
    database: Database,
    followers: Sequence[Callable[[Sequence[Committed]], None]] = (),
    counts: Counts | None = None,
    sharing: Sharing | None = None,
) -> Ground:
    """Storage, the readers that follow the commits, the write queue, and the room graph on top of it.

    `followers` hear of every commit, too; `counts` is what the parts count into. With `sharing`, other
    processes serve the same homeserver.
    """
    figures = counts or Counts.of(config.server_name)
    background = BackgroundTasks()
    storage = Storage.over(database)
    readers = _Readers.over(storage, reactor)
    listeners = (*readers.listeners(), figures.events.on_commit, *followers, readers.feed.on_commit)
    foreign = ForeignWrites()
    shared = None
    if sharing is not None:
        shared = _shared_ground(sharing, database, reactor, background, listeners, foreign)
    write_queue = WriteQueue(
        database=database,
        strings=storage.strings,
        clock=reactor,
        background=background,
        on_commit=listeners,
        counts=figures.writes,
        shared=None if shared is None else shared.follower,
    )
    typing = readers.feed.typing
    figures.caches.watch(
        storage.events.caches, readers.states.caches, readers.history.caches, readers.presentation.caches
    )
    signing_key = load_signing_keys(config.signing_key_path)[0]
    workers = Workers(processes=_WORKERS, reactor=reactor)
    tools = GraphTools.over(
        storage,
        numbers=EventNumbers(database),
        workers=workers,
        clock=reactor,
        counts=figures.graph,
        queue=write_queue,
        builder=EventBuilder(server_name=config.server_name, key=signing_key, clock=reactor),
        contributors=_contributors(config, storage),
        foreign=foreign,
    )
    return Ground(
        config=config,
        reactor=reactor,
        background=background,
        storage=storage,
        feed=readers.feed,
        states=readers.states,
        history=readers.history,
        presentation=readers.presentation,
        access_tokens=readers.access_tokens,
        write_queue=write_queue,
        graphs=RoomGraphs(tools=tools, server_name=config.server_name),
        workers=workers,
        out_of_band=OutOfBandMemberships(
            server_name=config.server_name,
            key=signing_key,
            clock=reactor,
            storage=storage,
            numbers=tools.numbers,
            queue=write_queue,
            turn_of=Turns().of,
            forget_on_leave=config.rooms.forget_rooms_on_leave,
        ),
        limits=NoLimits(),
        unread=readers.unread,
        counts=figures,
        typists=Typists(
            typing=typing,
            announce=announce_here(typing) if shared is None else announce_to_all(write_queue),
            clock=reactor,
            background=background,
        ),
        ownership=Alone() if sharing is None else sharing.live,
        shared=shared,
    )


def _shared_ground(
    sharing: Sharing,
    database: Database,
    reactor: Any,
    background: BackgroundTasks,
    listeners: Sequence[Callable[[Sequence[Committed]], None]],
    foreign: ForeignWrites,
) -> SharedGround:
    """What follows the commits of all processes."""
    follower = CommitFollower(
        log=CommitLog(database, process=sharing.process),
        notices=sharing.notices,
        listeners=listeners,
        of_others=foreign.heard,
        lost=sharing.lost,
        background=background,
        clock=reactor,
        counts=sharing.counts.follow,
    )
    sharing.on_position.append(follower.found)
    return SharedGround(
        sharing=sharing,
        follower=follower,
        latest=LatestCommit(database=database, follower=follower),
    )


@attrs.frozen(kw_only=True)
class _Readers:
    """Those who read along with every commit."""

    memory: EventMemory
    feed: Feed
    states: RoomStates
    history: History
    presentation: Presentation
    access_tokens: AccessTokens
    unread: CommittedCounts

    @classmethod
    def over(cls, storage: Storage, reactor: Any) -> _Readers:
        """The readers of one server."""
        feed = Feed(storage=storage, clock=reactor)
        history = History(storage=storage, position=lambda: feed.position)
        return cls(
            memory=EventMemory(storage.events),
            feed=feed,
            states=RoomStates(storage=storage),
            history=history,
            presentation=Presentation(
                storage=storage,
                history=history,
                clock=reactor,
                transaction_lifetime_ms=TRANSACTION_LIFETIME_MS,
            ),
            access_tokens=AccessTokens(
                database=storage.database,
                accounts=storage.accounts,
                devices=storage.devices,
                strings=storage.strings,
                clock=reactor,
            ),
            unread=CommittedCounts(
                database=storage.database,
                thread_counts=storage.thread_counts,
                exceptions=storage.notification_exceptions,
                read_points=storage.read_points,
            ),
        )

    def listeners(self) -> tuple[Callable[[Sequence[Committed]], None], ...]:
        """What hears of commits before the feed does: whoever that wakes must find the others up to date."""
        return (
            self.memory.on_commit,
            self.access_tokens.on_commit,
            self.states.on_commit,
            self.history.on_commit,
            self.presentation.on_commit,
            self.unread.on_commit,
        )


def _contributors(config: Config, storage: Storage) -> tuple[Contributor, ...]:
    """What joins in with every transaction of a room."""
    return (
        MembershipRows(
            server_name=config.server_name,
            strings=storage.strings,
            forget_on_leave=config.rooms.forget_rooms_on_leave,
        ),
        NotificationCounts(
            server_name=config.server_name,
            database=storage.database,
            strings=storage.strings,
            thread_counts=storage.thread_counts,
        ),
        RoomServerRows(),
    )
