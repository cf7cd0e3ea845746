# SPDX-License-Identifier: Apache-2.0
"""Who is in a room by server, as the room graph tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from federation.graph.batches import Incoming
from federation.graph.contributors import Contribution, Resolved, StateKeyChange
from federation.graph.current_state import CurrentState, StateEntry
from federation.outbound.room_servers import RoomServerRows
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import ROOM_VERSIONS
from storage.engine.database import Database, Transaction
from storage.engine.migrations import SCHEMA, in_dialect
from storage.event import StateAt
from storage.room_servers import RoomServerChange
from tests.reference.graphs import RandomRoom, random_rooms, valid_orders
from tests.support.databases import DatabaseHome
from tests.support.graphs import ALICE, BOB, Graphs, graphs_over, just, member, message, public_room, state
from tests.support.reactor import in_reactor
from tests.support.receiver import Receiver, Told
from tests.support.rooms import make_room

A, B, C = "a.example", "b.example", "c.example"
EVE, CARL, DORA = "@eve:b.example", "@carl:c.example", "@dora:a.example"


async def at(parts: Graphs, room: int, position: int | None) -> set[str]:
    assert position is not None
    return set(await parts.storage.room_servers.at(room, position))


async def test_a_kick_reaches_the_server_of_the_kicked(database: Database) -> None:
    parts = graphs_over(database, [RoomServerRows()])
    room = await public_room(parts.graphs)
    drafts = [
        message(ALICE, "nobody else"),
        member(EVE, EVE, "join"),
        message(EVE, "hello"),
        member(ALICE, EVE, "leave"),
        message(ALICE, "she is gone"),
        member(EVE, EVE, "join"),
        member(ALICE, EVE, "ban"),
        message(ALICE, "for good"),
    ]
    stored = [(await room.append(just(draft)))[0] for draft in drafts]
    found = [await at(parts, room.room, one.position) for one in stored]
    assert found == [{A}, {A, B}, {A, B}, {A, B}, {A}, {A, B}, {A, B}, {A}]


async def test_a_server_stays_while_it_has_a_member(database: Database) -> None:
    parts = graphs_over(database, [RoomServerRows()])
    room = await public_room(parts.graphs)
    other = "@frank:b.example"
    drafts = [
        member(ALICE, EVE, "invite"),
        member(EVE, EVE, "join"),
        state(EVE, "m.room.member", {"membership": "join", "displayname": "E"}, EVE),
        member(other, other, "join"),
        member(EVE, EVE, "leave"),
        member(ALICE, CARL, "ban"),
        message(ALICE, "b is here"),
        member(other, other, "leave"),
        message(ALICE, "and now it is not"),
    ]
    stored = await room.append(just(*drafts))
    found = [await at(parts, room.room, one.position) for one in stored]
    assert found == [{A}, *[{A, B}] * 7, {A}]
    rows = await database.look("rows", "SELECT count(*) FROM room_servers")
    assert rows == [(2,)]


async def test_a_room_that_is_loaded_again_counts_on(database: Database) -> None:
    room = await public_room(graphs_over(database, [RoomServerRows()]).graphs)
    await room.append(just(member(EVE, EVE, "join"), member(BOB, BOB, "join"), member(BOB, BOB, "leave")))
    parts = graphs_over(database, [RoomServerRows()])
    again = await parts.graphs.get(room.room_id)
    [left] = await again.append(just(member(EVE, EVE, "leave")))
    [said] = await again.append(just(message(ALICE, "gone")))
    assert await at(parts, room.room, left.position) == {A, B}
    assert await at(parts, room.room, said.position) == {A}


async def test_a_room_that_was_joined_left_and_joined_again(database: Database) -> None:
    remote = "@bob:b.example"
    room = make_room("12", creator=remote, members=[CARL])
    joined = room.join(DORA)
    left = room.leave(DORA)
    room.leave(CARL)
    room.join("@frank:d.example")
    again = room.join(DORA)
    receiver = Receiver(room, database, graphs_over(database, [RoomServerRows()]), Told())
    await receiver.begin(await receiver.given_with(joined))  # the given state is at 1, the join at 2
    await receiver.receive(left)
    parts = receiver.parts
    number = (await receiver.graph()).room
    assert [await at(parts, number, p) for p in (1, 2, 3)] == [{B, C}, {A, B, C}, {A, B, C}]
    # 4 is the state that is given then, without an event; 5 is the join.
    await receiver.receive(again, given=(await receiver.given_with(again)).given, begins_anew=True)
    assert [await at(parts, number, p) for p in (4, 5)] == [{B, C, "d.example"}, {A, B, "d.example"}]
    await check(database, parts, number)
    await check_migration(database)


def entry(membership: str) -> StateEntry:
    return StateEntry(1, "$1", membership)


def test_changes_of_one_resolution_are_taken_together() -> None:
    rows, nobody = RoomServerRows(), CurrentState(ROOM_VERSIONS["12"])
    memory = {A: 1, B: 1}

    def resolved(*changes: StateKeyChange) -> Sequence[Any]:
        return list(rows.resolved(memory, Resolved(7, 3, changes, nobody)).records)

    join, leave = entry("join"), entry("leave")
    # One member of B goes, another comes; A loses its only one by a key that is removed; C comes.
    assert resolved(
        StateKeyChange("m.room.member", EVE, join, leave),
        StateKeyChange("m.room.member", "@frank:b.example", None, join),
        StateKeyChange("m.room.member", ALICE, join, None),
        StateKeyChange("m.room.member", CARL, leave, join),
        StateKeyChange("m.room.topic", CARL, None, StateEntry(2, "$2")),
    ) == [RoomServerChange(7, A, False, 3), RoomServerChange(7, C, True, 3)]
    assert memory == {B: 1, C: 1}
    assert resolved(StateKeyChange("m.room.member", CARL, join, join)) == []
    assert resolved() == []


def test_a_message_asks_for_nothing() -> None:
    @attrs.frozen
    class Message:
        """An event without changes, of which nothing else may be looked at."""

        changes: Sequence[StateKeyChange] = ()

    unread: Any = Message()
    assert RoomServerRows().contribute({A: 1}, unread) == Contribution()


# Random rooms.

OWN = (
    message(ALICE, "hello"),
    member(DORA, DORA, "join"),
    member(DORA, DORA, "leave"),
    member(ALICE, EVE, "ban"),
    member(ALICE, EVE, "leave"),
    member(ALICE, CARL, "leave"),
    member(ALICE, "@bob:b.example", "leave"),
)


async def servers_of_states(database: Database, parts: Graphs, room: int) -> list[set[str]]:
    """The servers in the room after each position from 0 on, by reading the whole state of each."""
    storage = parts.storage

    def look(txn: Transaction) -> list[set[str]]:
        last = txn.rows("SELECT value FROM counters WHERE name = 'position'")[0][0]
        found = []
        for position in range(last + 1):
            revision = storage.states.revision_at_txn(txn, room, position)
            rows = storage.states.at_txn(txn, room, StateAt(0, revision)) if revision else []
            names = storage.strings.values_txn(txn, {row.state_key for row in rows})
            joined = {names[row.state_key] for row in rows if row.membership == "join"}
            found.append({user.split(":", 1)[1] for user in joined})
        return found

    return await database.read("all states", look)


async def check(database: Database, parts: Graphs, room: int) -> None:
    states = await servers_of_states(database, parts, room)
    asked = [(room, position) for position in range(1, len(states))]
    found = await parts.storage.room_servers.at_each(asked)
    for position in range(1, len(states)):
        assert found[room, position] == states[position - 1] | states[position], position
    assert (await parts.storage.room_servers.now([room]))[room] == states[-1]


async def check_migration(database: Database) -> None:
    """Rooms from before would have got the same rows."""
    script = (SCHEMA / f"0013_outbox.{database.dialect}.sql").read_text(encoding="utf-8")
    all_rows = "SELECT room, server, from_position, to_position FROM room_servers ORDER BY 1, 2, 3"
    kept = await database.look("rows", all_rows)
    assert kept
    await database.write("empty", lambda txn: txn.execute("DELETE FROM room_servers"))
    await database.write("fill", lambda txn: txn.execute(in_dialect(script, database.dialect)))
    assert await database.look("rows", all_rows) == kept


async def play(home: DatabaseHome, room: RandomRoom, batches: Sequence[Any], seed: int) -> None:
    random, database = Random(seed), await home.open()
    parts = graphs_over(database, [RoomServerRows()])
    room_id = batches[0][0].room_id
    graph, _ = await parts.graphs.begin_remote(room_id, room.version, Incoming(batches[0]))
    try:
        for batch in batches[1:]:
            await graph.receive(Incoming(batch))
            if random.random() < 0.5:
                with suppress(AuthRefused):
                    await graph.append(just(random.choice(OWN)))
            if random.random() < 0.3:
                parts = graphs_over(database, [RoomServerRows()])
                graph = await parts.graphs.get(room_id)
        await check(database, parts, graph.room)
        await check_migration(database)
    finally:
        await home.close()


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a failure is told as it was found
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(room=random_rooms(max_size=40), seed=st.integers(0, 10_000))
def test_the_servers_are_those_of_the_states(
    database_homes: Callable[[], DatabaseHome], room: RandomRoom, seed: int
) -> None:
    (batches,) = valid_orders(room, 1, Random(seed))
    in_reactor(play(database_homes(), room, batches, seed))
