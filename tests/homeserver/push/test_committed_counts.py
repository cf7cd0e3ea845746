# SPDX-License-Identifier: Apache-2.0
"""Counts that are read while others write, and after writes that failed, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from federation.graph.drafts import Draft
from homeserver.push.committed_counts import CommittedCounts
from homeserver.push.unread import RoomUnread
from storage.aliases import Alias
from storage.engine.database import Database, Transaction
from storage.engine.errors import DataError
from tests.support.counting import counting_over
from tests.support.graphs import ALICE, BOB, just, member, message, public_room

MENTION = {"m.mentions": {"user_ids": [BOB]}}


def together(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


def mentioning(body: str, root: str | None = None) -> Draft:
    draft = message(ALICE, body)
    relation = {} if root is None else {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    return Draft(ALICE, draft.type, {**draft.content, **MENTION, **relation})


async def test_a_write_that_failed_is_not_counted(database: Database) -> None:
    counting = counting_over(database)
    rooms = [await public_room(counting.graphs, "12", member(BOB, BOB, "join")) for _ in range(2)]
    [root] = await rooms[0].append(
        just(message(BOB, "the first takes the name")),
        lambda _: [Alias("#taken:a.example", rooms[0].room, 1)],
    )

    async def append(i: int) -> bool:
        room = rooms[i % 2]
        records = [Alias("#taken:a.example", room.room, 1)] if i % 10 == 0 else []
        thread = root.event.event_id if i % 4 == 0 else None
        try:
            await room.append(just(mentioning(str(i), thread)), lambda _: records)
        except DataError:
            return False
        return True

    written = await together([append(i) for i in range(40)])
    assert written == [i % 10 != 0 for i in range(40)]
    in_main, in_thread = (sum(written[i] for i in range(first, 40, 4)) for first in (2, 0))
    expected = {
        rooms[0].room: RoomUnread(in_main, in_main, {root.event.event_id: (in_thread, in_thread)}),
        rooms[1].room: RoomUnread(20, 20),
    }
    both = [room.room for room in rooms]
    assert await counting.unread(BOB, both) == expected
    assert await counting_over(database).unread(BOB, both) == expected


async def test_a_look_that_lasts_takes_in_what_is_committed_meanwhile(database: Database) -> None:
    counting = counting_over(database)
    room = await public_room(counting.graphs, "12", member(BOB, BOB, "join"), mentioning("before"))
    account = (await counting.storage.strings.find([BOB]))[BOB]
    waiting: Deferred[None] = Deferred()
    looked: Deferred[None] = Deferred()

    class Slow:
        """The database, with an answer that comes late."""

        async def read(self, name: str, work: Callable[[Transaction], Any]) -> Any:
            answer = await database.read(name, work)
            if not looked.called:
                looked.callback(None)
                await waiting
            return answer

    storage = counting.storage
    slow = CommittedCounts(
        database=Slow(),  # type: ignore[arg-type]
        thread_counts=storage.thread_counts,
        exceptions=storage.notification_exceptions,
        read_points=storage.read_points,
    )
    answer = Deferred.fromCoroutine(slow.unread(account, [room.room]))
    await looked
    counting.listeners.append(slow.on_commit)
    await room.append(just(mentioning("meanwhile")))
    waiting.callback(None)
    assert await answer == {room.room: RoomUnread(2, 2)}
    await room.append(just(mentioning("after")))
    assert await slow.unread(account, [room.room]) == {room.room: RoomUnread(3, 3)}


async def test_readers_and_writers_at_once(database: Database) -> None:
    counting = counting_over(database, most_rooms=2, most_readings=3)
    rooms = [await public_room(counting.graphs, "12", member(BOB, BOB, "join")) for _ in range(4)]
    numbers = [room.room for room in rooms]
    places: dict[int, int] = {}

    async def write(i: int) -> None:
        [stored] = await rooms[i % 4].append(just(mentioning(str(i))))
        assert stored.topo is not None
        places[i] = stored.topo
        if i == 20:
            await counting.receipt(BOB, rooms[0].room, stored)

    async def read() -> None:
        for _ in range(10):
            await counting.unread(BOB, numbers)

    await together([*(write(i) for i in range(40)), read(), read()])
    # Writers that wait for event numbers may overtake each other.
    after = sum(places[i] > places[20] for i in range(0, 40, 4))
    expected = {number: RoomUnread(10, 10) for number in numbers} | {numbers[0]: RoomUnread(after, after)}
    assert await counting.unread(BOB, numbers) == expected
