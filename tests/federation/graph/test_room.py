# SPDX-License-Identifier: Apache-2.0
"""The one door into a room's graph, on both databases."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from federation.graph.contributors import Appended, Contribution, EventCounts
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.graph.room_memory import RoomGone
from federation.rules.errors import AuthRefused, EventTooLarge
from storage.aliases import Alias
from storage.engine.database import Database
from storage.engine.errors import DataError
from storage.event import StateAt, StoredEvent
from storage.events import BEGINNING, END
from tests.support.graphs import ALICE, BOB, graphs_over, just, member, message, public_room, state


def together(coroutines: list[Any]) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


@pytest.mark.parametrize("version", ["11", "12"])
async def test_events_form_a_chain_that_a_fresh_load_continues(database: Database, version: str) -> None:
    first = graphs_over(database)
    room = await public_room(first.graphs, version)
    [hello] = await room.append(just(message(ALICE, "hello")))
    again = graphs_over(database)
    reloaded = await again.graphs.get(room.room_id)
    [world] = await reloaded.append(just(message(ALICE, "world")))
    assert world.event.prev_events == (hello.event.event_id,)
    assert world.event.depth == hello.event.depth + 1
    assert world.before == StateAt(0, 4)
    assert world.position is not None
    assert hello.position is not None
    assert world.position > hello.position
    places = await again.storage.events.backwards(room.room, before=END, after=BEGINNING, limit=10)
    stored = await again.storage.events.get([p.number for p in places])
    assert [stored[p.number].event.type for p in places] == [
        "m.room.message", "m.room.message", "m.room.join_rules", "m.room.power_levels", "m.room.member",
        "m.room.create",
    ]  # fmt: skip
    assert stored[places[0].number].event.json == world.event.json


async def test_positions_have_no_gaps_and_are_told_in_order(database: Database) -> None:
    parts = graphs_over(database)
    rooms = [await public_room(parts.graphs) for _ in range(3)]
    await together([room.append(just(message(ALICE, str(i)))) for i in range(20) for room in rooms])
    positions = [
        committed.base + i for committed in parts.committed for i in range(1, committed.unit.positions + 1)
    ]
    assert positions == list(range(1, 3 * 4 + 3 * 20 + 1))


async def test_one_writer_is_pipelined(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs, "12", message(ALICE, "the type is known now"))
    sent: list[list[StoredEvent]] = await together(
        [room.append(just(message(ALICE, str(i)))) for i in range(50)]
    )
    events = [stored.event for [stored] in sent]
    assert [e.content["body"] for e in events] == [str(i) for i in range(50)]
    for before, after in itertools.pairwise(events):
        assert after.prev_events == (before.event_id,)


async def test_what_the_rules_refuse_leaves_no_trace(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs)
    with pytest.raises(AuthRefused):
        await room.append(just(message(BOB, "let me in")))
    [join] = await room.append(just(member(BOB, BOB, "join")))
    assert join.before == StateAt(0, 4)
    assert join.after == StateAt(0, 5)


async def test_a_chain_that_is_refused_in_the_middle_is_not_written_at_all(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs)
    with pytest.raises(AuthRefused):
        await room.append(just(message(ALICE, "one"), message(BOB, "not a member")))
    [after] = await room.append(just(message(ALICE, "two")))
    places = await parts.storage.events.backwards(room.room, before=END, after=BEGINNING, limit=2)
    stored = await parts.storage.events.get([p.number for p in places])
    assert [stored[p.number].event.type for p in places] == ["m.room.message", "m.room.join_rules"]
    assert after.event.prev_events == (stored[places[1].number].event.event_id,)


async def test_a_restricted_join_that_a_local_user_authorises_is_signed_by_this_server(
    database: Database,
) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs)
    await room.append(just(state(ALICE, "m.room.join_rules", {"join_rule": "restricted", "allow": []})))
    content = {"membership": "join", "join_authorised_via_users_server": ALICE}
    [join] = await room.append(just(state(BOB, "m.room.member", content, BOB)))
    assert len(join.event.auth_events) == 3  # power levels, join rules, who authorises
    elsewhere = {**content, "join_authorised_via_users_server": "@carol:b.example"}
    with pytest.raises(AuthRefused) as refusal:
        await room.append(just(state("@dan:a.example", "m.room.member", elsewhere, "@dan:a.example")))
    assert refusal.value.rule == "5.2.1"


async def test_an_event_that_is_too_large_is_refused(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs)
    with pytest.raises(EventTooLarge):
        await room.append(just(message(ALICE, "x" * 65_536)))


async def test_a_unit_that_violates_a_constraint_fails_alone(database: Database) -> None:
    parts = graphs_over(database)
    rooms = [await public_room(parts.graphs) for _ in range(2)]
    await rooms[0].append(
        just(message(ALICE, "the first takes the name")),
        lambda _: [Alias("#taken:a.example", rooms[0].room, 1)],
    )

    async def append(i: int) -> str:
        room = rooms[i % 2]
        records = [Alias("#taken:a.example", room.room, 1)] if i == 20 else []
        try:
            await room.append(just(message(ALICE, str(i))), lambda _: records)
        except DataError:
            return "refused"
        return "written"

    outcomes = await together([append(i) for i in range(40)])
    assert [i for i, outcome in enumerate(outcomes) if outcome == "refused"] == [20]
    for room in rooms:
        places = await parts.storage.events.forwards(room.room, after=BEGINNING, before=END, limit=100)
        stored = await parts.storage.events.get([p.number for p in places])
        chain = [stored[p.number].event for p in places]
        for before, after in itertools.pairwise(chain):
            assert after.prev_events == (before.event_id,)
    both = [int(c) for room in rooms for c in await _bodies(parts, room) if c.isdigit()]
    assert sorted(both) == [i for i in range(40) if i != 20]


async def _bodies(parts: Any, room: Any) -> list[str]:
    places = await parts.storage.events.forwards(room.room, after=BEGINNING, before=END, limit=100)
    stored = await parts.storage.events.get([p.number for p in places])
    return [stored[p.number].event.content.get("body", "") for p in places]


async def test_a_lost_fence_reloads_the_room(database: Database) -> None:
    here, there = graphs_over(database), graphs_over(database)
    room = await public_room(here.graphs)
    other = await there.graphs.get(room.room_id)
    for i in range(5):
        await room.append(just(message(ALICE, f"here {i}")))
        await other.append(just(message(ALICE, f"there {i}")))
    bodies = [body for body in await _bodies(here, room) if body]
    assert bodies == [f"{where} {i}" for i in range(5) for where in ("here", "there")]


async def test_the_state_is_kept_by_revision(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs)
    for name in ("one", "two", "three"):
        await room.append(just(state(ALICE, "m.room.name", {"name": name})))
    names = {}
    number = await parts.storage.strings.intern(["m.room.name", ""])
    key = (number["m.room.name"], number[""])
    for revision in range(3, 8):
        found = await database.read(
            "state",
            lambda txn, r=revision: parts.storage.states.keys_at_txn(txn, room.room, StateAt(0, r), [key]),
        )
        event = found[key].event if key in found else None
        names[revision] = (
            None if event is None else (await parts.storage.events.get([event]))[event].event.content["name"]
        )
    assert names == {3: None, 4: None, 5: "one", 6: "two", 7: "three"}


async def test_several_changes_of_one_key_in_one_batch(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs, "12", state(ALICE, "m.room.topic", {}))
    await together([room.append(just(state(ALICE, "m.room.topic", {"topic": str(i)}))) for i in range(10)])
    again = await graphs_over(database).graphs.get(room.room_id)
    seen: list[CurrentState] = []

    def look(current: CurrentState) -> tuple[()]:
        seen.append(current)
        return ()

    await again.append(look)
    entry = seen[0].get("m.room.topic")
    assert entry is not None
    topic = (await parts.storage.events.get([entry.number]))[entry.number]
    assert topic.event.content == {"topic": "9"}


async def test_a_contributor_counts_in_the_same_transaction(database: Database) -> None:
    class Counter:
        async def load(self, room: int, room_id: str, state: CurrentState) -> list[int]:
            return [0]

        def contribute(self, memory: list[int], appended: Appended) -> Contribution:
            memory[0] += appended.stored.event.type == "m.room.message"
            return Contribution(counts=EventCounts(thread=None, notify_count=memory[0], highlight_count=0))

    parts = graphs_over(database, [Counter()])
    room = await public_room(parts.graphs)
    await room.append(just(state(ALICE, "m.room.topic", {}), message(ALICE, "the type is known now")))
    sent = await together([room.append(just(message(ALICE, str(i)))) for i in range(5)])
    assert [stored.notify_count for [stored] in sent] == [2, 3, 4, 5, 6]


async def test_an_unknown_room_is_gone(database: Database) -> None:
    with pytest.raises(RoomGone):
        await graphs_over(database).graphs.get("!nowhere:a.example")


async def test_a_redaction_is_linked_to_its_target(database: Database) -> None:
    parts = graphs_over(database)
    room = await public_room(parts.graphs)
    [secret] = await room.append(just(message(ALICE, "secret")))
    [redaction] = await room.append(
        just(Draft(ALICE, "m.room.redaction", {"reason": "slip"}, redacts=secret.event.event_id))
    )
    fresh = graphs_over(database)
    stored = (await fresh.storage.events.get([secret.number]))[secret.number]
    assert stored.redacted_by == redaction.event.event_id


async def test_rooms_of_one_user_and_one_millisecond_differ(database: Database) -> None:
    parts = graphs_over(database)
    rooms = await together([public_room(parts.graphs) for _ in range(20)])
    assert len({room.room_id for room in rooms}) == 20
