# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec

from storage.engine.database import Database
from storage.event import Event, StoredEvent
from storage.event_records import NewBackfilledEvent, NewEvent
from storage.notification_counts import LATEST_THREADS, ThreadCounts
from storage.persist import Unit
from storage.threads import MAIN, NO_COUNTS, CountsAt
from tests.support.storing import Storing, storing_over

ROOM, OTHER_ROOM = 1, 2
ROOTS = ("$" + "A" * 43, "$not-a-hash", "$\0ü")


def event(number: int, thread: str | None, notify: int, **more: object) -> NewEvent:
    """An event whose counts are `notify` and none; its position is its number."""
    pdu = {"type": "t", "sender": "@a:b", "content": {}, "origin_server_ts": 1, "depth": 1}
    json = msgspec.json.encode({**pdu, "prev_events": [], "auth_events": []})
    decoded = Event.decode(json, f"$event{number}", "!room:a.example")
    stored = StoredEvent(decoded, number, None, number, None, thread=thread, notify_count=notify, **more)  # type: ignore[arg-type]
    return NewEvent(stored, ROOM, 1, None, 1, number)


async def room_of_events(database: Database) -> Storing:
    storing = storing_over(database)
    events = [
        event(1, None, 1),
        event(2, ROOTS[0], 1),
        event(3, None, 2),
        event(4, ROOTS[0], 2),
        event(5, ROOTS[1], 1),
        event(6, ROOTS[0], 3),
        event(7, None, 99, soft_failed=True),
        event(8, ROOTS[2], 1),
    ]
    await storing.queue.submit(Unit(events, positions=8))
    return storing


async def test_counts_at_any_position(database: Database) -> None:
    store = (await room_of_events(database)).storage.thread_counts
    assert [(await store.at(ROOM, MAIN, p)).notify for p in range(9)] == [0, 1, 1, 2, 2, 2, 2, 2, 2]
    assert [(await store.at(ROOM, ROOTS[0], p)).notify for p in range(9)] == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert await store.at(OTHER_ROOM, ROOTS[0], 8) == NO_COUNTS == await store.at(OTHER_ROOM, MAIN, 8)


async def test_what_was_backfilled_counts_for_nobody(database: Database) -> None:
    storing = storing_over(database)
    new, earlier = event(1, None, 1), [event(2, None, 0), event(3, ROOTS[0], 0)]
    backfilled = [NewBackfilledEvent(r.stored, ROOM, 1, None, 1, i) for i, r in enumerate(earlier, 2)]
    await storing.queue.submit(Unit([new, *backfilled], positions=3))
    store = storing.storage.thread_counts
    assert [await store.at(ROOM, MAIN, p) for p in range(3)] == [
        NO_COUNTS, CountsAt(1, 1, 0), CountsAt(1, 1, 0)
    ]  # fmt: skip
    assert await store.at(ROOM, ROOTS[0], 3) == NO_COUNTS


async def test_many_threads_at_once(database: Database) -> None:
    store = (await room_of_events(database)).storage.thread_counts
    assert await store.threads_at([(ROOM, ROOTS[0], 5), (ROOM, ROOTS[1], 4), (ROOM, ROOTS[2], 9)]) == {
        (ROOM, ROOTS[0]): CountsAt(4, 2, 0),
        (ROOM, ROOTS[1]): NO_COUNTS,
        (ROOM, ROOTS[2]): CountsAt(8, 1, 0),
    }


async def test_the_main_timeline_now(database: Database) -> None:
    storing = await room_of_events(database)
    found = await database.read(
        "test", lambda txn: storing.storage.thread_counts.main_now_txn(txn, [ROOM, OTHER_ROOM])
    )
    assert found == {ROOM: CountsAt(3, 2, 0), OTHER_ROOM: NO_COUNTS}


async def test_the_latest_events_in_threads(database: Database) -> None:
    storing = await room_of_events(database)
    found = await database.read(
        "test", lambda txn: storing.storage.thread_counts.latest_threaded_txn(txn, ROOM)
    )
    assert list(found.items()) == [
        ("$event2", ROOTS[0]),
        ("$event4", ROOTS[0]),
        ("$event5", ROOTS[1]),
        ("$event6", ROOTS[0]),
        ("$event8", ROOTS[2]),
    ]


async def test_threads_come_in_the_order_of_their_latest_notification(database: Database) -> None:
    storing = storing_over(database)
    records = [
        ThreadCounts(ROOM, ROOTS[0], 1, 1, 0),
        ThreadCounts(ROOM, ROOTS[1], 2, 1, 1),
        ThreadCounts(ROOM, ROOTS[0], 3, 2, 0),
        ThreadCounts(OTHER_ROOM, ROOTS[0], 4, 7, 0),
    ]
    await storing.queue.submit(Unit(records, positions=4))
    store = storing.storage.thread_counts
    mine = {ROOTS[0]: CountsAt(3, 2, 0), ROOTS[1]: CountsAt(2, 1, 1)}
    rooms = await database.read("test", lambda txn: store.threads_of_rooms_txn(txn, [ROOM, OTHER_ROOM, 3]))
    assert rooms == {ROOM: mine, OTHER_ROOM: {ROOTS[0]: CountsAt(4, 7, 0)}, 3: {}}
    assert list(rooms[ROOM]) == [ROOTS[1], ROOTS[0]]
    assert await database.read("test", lambda txn: store.threads_txn(txn, ROOM, most=1)) == {
        ROOTS[0]: CountsAt(3, 2, 0)
    }


async def test_of_many_threads_the_latest_are_read(database: Database) -> None:
    storing = storing_over(database)
    count = LATEST_THREADS + 5
    records = [ThreadCounts(ROOM, f"$thread{i}", i, 1, 0) for i in range(1, count + 1)]
    await storing.queue.submit(Unit(records, positions=count))
    found = await database.read(
        "test", lambda txn: storing.storage.thread_counts.threads_of_rooms_txn(txn, [ROOM])
    )
    assert list(found[ROOM]) == [f"$thread{i}" for i in range(6, count + 1)]
