# SPDX-License-Identifier: Apache-2.0
"""A room graph that counts notifications, and who reads the counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet import reactor

from federation.graph.building import EventBuilder
from federation.graph.graph_tools import GraphTools
from federation.graph.rooms import RoomGraphs
from federation.workers import Workers
from homeserver.push.committed_counts import CommittedCounts
from homeserver.push.counts import NotificationCounts
from homeserver.push.receipts import PointsOfReceipts
from homeserver.push.unread import RoomUnread
from storage.engine.database import Database
from storage.event import StoredEvent
from storage.numbers import EventNumbers
from storage.persist import Unit
from storage.receipts import Receipt
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import Committed, WriteQueue
from tests.support.graphs import SERVER
from tests.support.rooms import signing_key


@attrs.frozen
class Counting:
    """The parts that tests use; `listeners` hear of every commit."""

    storage: Storage
    queue: WriteQueue
    graphs: RoomGraphs
    contributor: NotificationCounts
    counts: CommittedCounts
    points: PointsOfReceipts
    listeners: list[Callable[[Sequence[Committed]], None]]

    async def unread(self, user: str, rooms: Sequence[int]) -> dict[int, RoomUnread]:
        """What is unread for the user whose id is `user`."""
        account = (await self.storage.strings.intern([user]))[user]
        return await self.counts.unread(account, rooms)

    async def receipt(
        self, user: str, room: int, stored: StoredEvent, thread: str | None = None, *, private: bool = False
    ) -> None:
        """The user sets a receipt on an event."""
        account = (await self.storage.strings.intern([user]))[user]
        receipt = Receipt(room, account, private, thread, stored.event.event_id, received_ts=0, index=1)
        records = await self.points.on_receipt(account, room, receipt, stored)
        await self.queue.submit(Unit([receipt, *records], positions=1))


def committed_counts(storage: Storage, **bounds: int) -> CommittedCounts:
    """The reader of counts over `storage`."""
    return CommittedCounts(
        database=storage.database,
        thread_counts=storage.thread_counts,
        exceptions=storage.notification_exceptions,
        read_points=storage.read_points,
        **bounds,
    )


def counting_over(database: Database, **bounds: int) -> Counting:
    """A room graph with counts over `database`, as the composition root builds it."""
    storage = Storage.over(database)
    contributor = NotificationCounts(
        server_name=SERVER,
        database=database,
        strings=storage.strings,
        thread_counts=storage.thread_counts,
    )
    counts = committed_counts(storage, **bounds)
    listeners: list[Callable[[Sequence[Committed]], None]] = [counts.on_commit]
    queue = WriteQueue(
        database=database,
        strings=storage.strings,
        clock=reactor,
        background=BackgroundTasks(),
        on_commit=listeners,
    )
    tools = GraphTools.over(
        storage,
        numbers=EventNumbers(database),
        workers=Workers(processes=1, reactor=reactor),
        clock=reactor,
        queue=queue,
        builder=EventBuilder(server_name=SERVER, key=signing_key(SERVER), clock=reactor),
        contributors=[contributor],
    )
    graphs = RoomGraphs(tools=tools, server_name=SERVER)
    points = PointsOfReceipts(storage.thread_counts)
    return Counting(storage, queue, graphs, contributor, counts, points, listeners)
