# SPDX-License-Identifier: Apache-2.0
"""What events and receipts do to unread counts, case by case, on both databases."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.graph.contributors import Appended, Contribution, EventCounts, Resolved, StateKeyChange
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.graph.room import RoomGraph
from storage.engine.database import Database
from storage.event import StoredEvent
from storage.read_points import ReadHere
from storage.threads import EVERY_THREAD
from tests.support.counting import Counting, counting_over
from tests.support.graphs import ALICE, BOB, just, member, message, public_room, state

CAROL = "@carol:a.example"
REMOTE = "@bob:b.example"


@attrs.frozen
class Room:
    """A room of Alice's with Bob and Carol in it."""

    counting: Counting
    graph: RoomGraph

    async def send(self, *drafts: Draft) -> list[StoredEvent]:
        return await self.graph.append(just(*drafts))

    async def text(self, sender: str, **content: Any) -> StoredEvent:
        [stored] = await self.send(
            Draft(sender, "m.room.message", {**message(sender, "hi").content, **content})
        )
        return stored

    async def in_thread(self, sender: str, root: StoredEvent, **content: Any) -> StoredEvent:
        return await self.text(sender, **relation("m.thread", root), **content)

    async def unread(self, user: str) -> tuple[int, int, dict[str, tuple[int, int]]]:
        unread = (await self.counting.unread(user, [self.graph.room]))[self.graph.room]
        fresh = await counting_over(self.counting.storage.database).unread(user, [self.graph.room])
        assert unread == fresh[self.graph.room]
        return unread.notification_count, unread.highlight_count, dict(unread.threads)

    async def read(self, user: str, stored: StoredEvent, thread: str | None = None, **kind: bool) -> None:
        await self.counting.receipt(user, self.graph.room, stored, thread, **kind)


def relation(rel_type: str, target: StoredEvent) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": target.event.event_id}}


def mentions(*users: str, room: bool = False) -> dict[str, Any]:
    return {"m.mentions": {"user_ids": list(users), "room": room}}


async def room_over(database: Database) -> Room:
    counting = counting_over(database)
    graph = await public_room(counting.graphs, "12")
    room = Room(counting, graph)
    await room.send(member(BOB, BOB, "join"), member(CAROL, CAROL, "join"))
    return room


async def test_messages_count_for_everyone_but_their_sender(database: Database) -> None:
    room = await room_over(database)
    for _ in range(3):
        await room.text(ALICE)
    assert await room.unread(BOB) == (3, 0, {})
    assert await room.unread(ALICE) == (0, 0, {})
    await room.text(BOB)
    assert await room.unread(BOB) == (0, 0, {})
    assert await room.unread(ALICE) == (1, 0, {})
    assert await room.unread(CAROL) == (4, 0, {})


@pytest.mark.parametrize(
    "draft",
    [
        Draft(ALICE, "m.room.message", {"msgtype": "m.notice", "body": "beep"}),
        Draft(ALICE, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$a"}}),
        Draft(ALICE, "m.room.message", {"m.relates_to": {"rel_type": "m.replace", "event_id": "$a"}}),
        state(ALICE, "m.room.topic", {"topic": "quiet"}),
        member(ALICE, ALICE, "join"),
        Draft(ALICE, "org.example.unknown", {}),
    ],
)  # fmt: skip
async def test_what_does_not_notify_does_not_count(database: Database, draft: Draft) -> None:
    room = await room_over(database)
    await room.send(draft)
    assert await room.unread(BOB) == (0, 0, {})


async def test_a_mention_is_a_highlight_of_those_mentioned_alone(database: Database) -> None:
    room = await room_over(database)
    await room.text(ALICE, **mentions(BOB, REMOTE, "@nobody:a.example", ALICE))
    assert await room.unread(BOB) == (1, 1, {})
    assert await room.unread(CAROL) == (1, 0, {})
    assert await room.unread(ALICE) == (0, 0, {})


async def test_a_mention_in_what_is_otherwise_silent_counts(database: Database) -> None:
    room = await room_over(database)
    await room.send(Draft(ALICE, "org.example.unknown", mentions(BOB)))
    assert await room.unread(BOB) == (1, 1, {})
    assert await room.unread(CAROL) == (0, 0, {})


async def test_a_mention_of_the_room_needs_the_power_to_notify_it(database: Database) -> None:
    room = await room_over(database)
    await room.text(BOB, **mentions(room=True))
    assert await room.unread(CAROL) == (1, 0, {})
    await room.text(ALICE, **mentions(room=True))
    assert await room.unread(CAROL) == (2, 1, {})


async def test_a_tombstone_is_a_highlight_but_not_of_its_sender(database: Database) -> None:
    room = await room_over(database)
    await room.send(state(ALICE, "m.room.tombstone", {"body": "moved", "replacement_room": "!b:a.example"}))
    assert await room.unread(BOB) == (1, 1, {})
    assert await room.unread(ALICE) == (0, 0, {})


async def test_counts_begin_at_the_join_and_anew_at_the_next(database: Database) -> None:
    room = await room_over(database)
    await room.text(ALICE, **mentions(BOB))
    await room.send(member(BOB, BOB, "leave"))
    await room.text(ALICE, **mentions(BOB))
    await room.send(member(BOB, BOB, "join"))
    assert await room.unread(BOB) == (0, 0, {})
    await room.text(ALICE)
    await room.send(state(BOB, "m.room.member", {"membership": "join", "displayname": "Bob"}, BOB))
    assert await room.unread(BOB) == (1, 0, {})


async def test_who_was_never_there_has_nothing_to_read(database: Database) -> None:
    room = await room_over(database)
    await room.send(member(ALICE, "@dora:a.example", "invite"))
    await room.text(ALICE)
    assert await room.unread("@dora:a.example") == (0, 0, {})


async def test_threads_are_counted_apart(database: Database) -> None:
    room = await room_over(database)
    root = await room.text(ALICE)
    await room.in_thread(ALICE, root)
    await room.in_thread(ALICE, root, **mentions(BOB))
    assert await room.unread(BOB) == (1, 0, {root.event.event_id: (2, 1)})
    assert await room.unread(CAROL) == (1, 0, {root.event.event_id: (2, 0)})
    await room.in_thread(CAROL, root)
    assert await room.unread(CAROL) == (1, 0, {})
    assert await room.unread(BOB) == (1, 0, {root.event.event_id: (3, 1)})


async def test_what_relates_to_an_event_in_a_thread_is_in_it(database: Database) -> None:
    room = await room_over(database)
    root = await room.text(ALICE)
    reply = await room.in_thread(ALICE, root)
    [reaction] = await room.send(Draft(ALICE, "m.reaction", relation("m.annotation", reply)))
    again = Room(counting_over(database), room.graph)
    reloaded = Room(again.counting, await again.counting.graphs.get(room.graph.room_id))
    [poll] = await reloaded.send(Draft(ALICE, "m.room.encrypted", relation("m.reference", reaction)))
    [about_root] = await reloaded.send(Draft(ALICE, "m.room.encrypted", relation("m.reference", root)))
    assert [e.thread for e in (root, reply, reaction, poll, about_root)] == [
        None, root.event.event_id, root.event.event_id, root.event.event_id, None,
    ]  # fmt: skip
    assert await reloaded.unread(BOB) == (2, 0, {root.event.event_id: (2, 0)})


@pytest.mark.parametrize(
    "relates_to",
    ["text", [], {"rel_type": "m.thread"}, {"rel_type": "m.thread", "event_id": 5},
     {"rel_type": "m.thread", "event_id": "$" + "x" * 255},
     {"rel_type": "m.thread", "event_id": "$" + "ö" * 128},
     {"rel_type": "m.thread", "event_id": "main"}, {"rel_type": 5, "event_id": "$a"},
     {"m.in_reply_to": {"event_id": "$a"}}],
)  # fmt: skip
async def test_a_relation_that_is_none_leaves_the_event_in_the_main_timeline(
    database: Database, relates_to: Any
) -> None:
    room = await room_over(database)
    stored = await room.text(ALICE, **{"m.relates_to": relates_to})
    assert stored.thread is None
    assert await room.unread(BOB) == (1, 0, {})


@pytest.mark.parametrize("root", ["$", "$a\0b", "$" + "ö" * 127, "$short", "$" + "A" * 43])
async def test_any_event_id_can_be_a_root(database: Database, root: str) -> None:
    room = await room_over(database)
    stored = await room.text(ALICE, **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
    assert stored.thread == root
    assert await room.unread(BOB) == (0, 0, {root: (1, 0)})
    [again] = (await counting_over(database).storage.events.get([stored.number])).values()
    assert again.thread == root


async def test_an_unthreaded_receipt_reads_all_threads_up_to_its_place(database: Database) -> None:
    room = await room_over(database)
    root = await room.text(ALICE, **mentions(BOB))
    reply = await room.in_thread(ALICE, root, **mentions(BOB))
    await room.text(ALICE)
    await room.in_thread(ALICE, root)
    await room.read(BOB, reply)
    assert await room.unread(BOB) == (1, 0, {root.event.event_id: (1, 0)})


async def test_threaded_receipts_read_their_own_thread(database: Database) -> None:
    room = await room_over(database)
    root = await room.text(ALICE)
    first = await room.in_thread(ALICE, root, **mentions(BOB))
    await room.in_thread(ALICE, root)
    later = await room.text(ALICE)
    await room.read(BOB, first, root.event.event_id)
    assert await room.unread(BOB) == (2, 0, {root.event.event_id: (1, 0)})
    await room.read(BOB, later, "main")
    assert await room.unread(BOB) == (0, 0, {root.event.event_id: (1, 0)})
    await room.read(BOB, later)
    assert await room.unread(BOB) == (0, 0, {})


async def test_the_more_advanced_of_public_and_private_receipts_counts(database: Database) -> None:
    room = await room_over(database)
    events = [await room.text(ALICE) for _ in range(4)]
    await room.read(BOB, events[2], private=True)
    assert await room.unread(BOB) == (1, 0, {})
    await room.read(BOB, events[0])
    assert await room.unread(BOB) == (1, 0, {})
    await room.read(BOB, events[3])
    assert await room.unread(BOB) == (0, 0, {})


async def test_an_outlier_is_no_place_to_read_up_to(database: Database) -> None:
    room = await room_over(database)
    stored = await room.text(ALICE)
    outlier = attrs.evolve(stored, position=None, topo=None)
    assert await room.counting.points.on_receipt(1, room.graph.room, _Receipt(), outlier) == ()


@attrs.frozen
class _Receipt:
    thread: str | None = None


@pytest.mark.parametrize("thread", ["", "Main", "root", "x" * 32, "$" + "x" * 255, "$\ud800"])
async def test_a_thread_that_cannot_be_reads_nothing(database: Database, thread: str) -> None:
    room = await room_over(database)
    stored = await room.text(ALICE)
    points = await room.counting.points.on_receipt(1, room.graph.room, _Receipt(thread), stored)
    assert [p.thread for p in points] == ([""] if thread == "" else [])


async def test_exceptions_are_deleted_once_read(database: Database) -> None:
    room = await room_over(database)
    root = await room.text(ALICE, **mentions(BOB, CAROL))
    last = await room.in_thread(ALICE, root, **mentions(BOB))
    await room.read(BOB, last, root.event.event_id)
    left = await database.read(
        "test", lambda txn: txn.rows("SELECT position FROM notification_exceptions ORDER BY account")
    )
    assert left == [(root.position,), (root.position,)]
    await room.read(BOB, last)
    points = await database.read("test", lambda txn: txn.rows("SELECT thread FROM read_points"))
    assert len(points) == 3 + 2  # three joins, and what Alice sent into two threads


async def test_an_account_that_memory_has_no_room_for_is_counted_too(database: Database) -> None:
    room = Room(counting_over(database, most_rooms=1, most_readings=1), (await room_over(database)).graph)
    second = await public_room(room.counting.graphs, "12", member(BOB, BOB, "join"), message(ALICE, "hi"))
    room = Room(room.counting, await room.counting.graphs.get(room.graph.room_id))
    await room.text(ALICE)
    both = [room.graph.room, second.room]
    for user, expected in ((BOB, [1, 1]), (CAROL, [1, 0]), (ALICE, [0, 0]), (BOB, [1, 1])):
        found = await room.counting.unread(user, both)
        assert [found[r].notification_count for r in both] == expected


async def state_of(room: Room) -> CurrentState:
    states: list[CurrentState] = []

    def look(current: CurrentState) -> tuple[Draft, ...]:
        states.append(current)
        return ()

    await room.graph.append(look)
    return states[0]


async def number_of(room: Room, name: str) -> int:
    return (await room.counting.storage.strings.intern([name]))[name]


@pytest.mark.parametrize("unseen", [{"rejected": True}, {"soft_failed": True}, {"before": None}])
async def test_what_is_not_shown_does_not_count(database: Database, unseen: dict[str, Any]) -> None:
    room = await room_over(database)
    stored = await room.text(ALICE, **mentions(BOB))
    contributor, current = room.counting.contributor, await state_of(room)
    memory = await contributor.load(room.graph.room, room.graph.room_id, current)
    sender = await number_of(room, ALICE)
    appended = Appended(stored, room.graph.room, 0, None, sender, index=1, changes=(), state=current)
    hidden = contributor.contribute(memory, attrs.evolve(appended, stored=attrs.evolve(stored, **unseen)))
    assert hidden == Contribution([], EventCounts(None, 1, 0))
    assert contributor.contribute(memory, appended).counts == EventCounts(None, 2, 0)


async def test_who_comes_and_goes_by_a_resolution(database: Database) -> None:
    room = await room_over(database)
    await room.text(ALICE)
    contributor, current = room.counting.contributor, await state_of(room)
    memory = await contributor.load(room.graph.room, room.graph.room_id, current)
    entry = current.get("m.room.member", BOB)
    bob = await number_of(room, BOB)
    gone = Resolved(room.graph.room, 1, [StateKeyChange("m.room.member", BOB, entry, None)], current)
    assert contributor.resolved(memory, gone) == Contribution([])
    assert not memory.is_recipient(BOB)
    back = Resolved(room.graph.room, 2, [StateKeyChange("m.room.member", BOB, None, entry)], current)
    point = ReadHere(bob, room.graph.room, EVERY_THREAD, 2, notify=1, highlight=0)
    assert contributor.resolved(memory, back) == Contribution([point])
    assert contributor.resolved(memory, back) == Contribution([])
    assert memory.is_recipient(BOB)


async def test_a_receipt_on_a_backfilled_event_reads_nothing(database: Database) -> None:
    room = await room_over(database)
    stored = await room.text(ALICE)
    await room.read(BOB, attrs.evolve(stored, position=-7))
    assert await room.unread(BOB) == (1, 0, {})
