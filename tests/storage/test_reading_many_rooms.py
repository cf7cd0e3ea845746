# SPDX-License-Identifier: Apache-2.0
"""Statements over many rooms give what those over one room give."""

from __future__ import annotations

import random
from collections.abc import Iterable

from storage.client_transactions import ClientTransaction
from storage.engine.database import Database, Transaction
from storage.event import StateAt
from storage.persist import Unit
from storage.state import StateRow
from tests.support.graphs import ALICE, graphs_over, just, message, public_room, state

_NOW = 2**62


def bare(rows: Iterable[StateRow]) -> set[tuple[int, int, int | None, str | None]]:
    return {(row.type, row.state_key, row.event, row.membership) for row in rows if row.event is not None}


async def test_many_rooms_at_once(database: Database) -> None:
    graphs = graphs_over(database)
    rng = random.Random(1)
    rooms = [await public_room(graphs.graphs) for _ in range(4)]
    for i in range(30):
        draft = state(ALICE, f"org.{i % 3}", {"n": i}) if rng.random() < 0.5 else message(ALICE, f"{i}")
        await rng.choice(rooms).append(just(draft))
    numbers = [room.room for room in rooms]
    absent = max(numbers) + 1_000
    events, states = graphs.storage.events, graphs.storage.states

    def check(txn: Transaction) -> None:
        positions = [0, 9, 25, _NOW]
        for limit in (1, 4, 100):
            for after in positions:
                for upto in positions:
                    many = events.latest_txn(txn, [(room, after, upto) for room in [*numbers, absent]], limit)
                    for room in [*numbers, absent]:
                        one = events.between_txn(txn, room, after=after, upto=upto, limit=limit)
                        assert many.get(room, []) == one
        asked = [(room, position) for room in [*numbers, absent] for position in positions]
        revisions = states.revisions_at_txn(txn, asked)
        assert revisions == {key: states.revision_at_txn(txn, *key) for key in asked}
        current = states.current_of_rooms_txn(txn, [*numbers, absent])
        assert current.pop(absent) == []
        for room in numbers:
            assert bare(current[room]) == bare(states.current_txn(txn, room))
            head = states.head_txn(txn, room)
            at = [StateAt(0, revision) for revision in range(head + 1)]
            found = states.at_each_txn(txn, [(room, revision) for revision in at])
            assert {key[1]: bare(rows) for key, rows in found.items()} == {
                revision: bare(states.at_txn(txn, room, revision)) for revision in at
            }
            of_revision = states.positions_txn(txn, [(room, revision) for revision in range(head + 2)])
            assert of_revision.keys() == {(room, revision) for revision in range(1, head + 1)}
            assert all(states.revision_at_txn(txn, room, of_revision[key]) == key[1] for key in of_revision)
            changes = states.changes_of_rooms_txn(txn, [(room, 9, 25)]).get(room, [])
            first, last = revisions[room, 9], revisions[room, 25]
            assert [revision for _, revision, _ in changes] == list(range(first + 1, last + 1))
            assert all(of_revision[room, revision] == position for position, revision, _ in changes)
            final = {(row.type, row.state_key): row for _, _, row in changes}
            assert bare(final.values()) == bare(states.changes_txn(txn, room, first, last))
        several = states.at_each_txn(txn, [(room, StateAt(0, 4)) for room in numbers])
        for room in numbers:
            assert bare(several[room, StateAt(0, 4)]) == bare(states.at_txn(txn, room, StateAt(0, 4)))

    await database.read("check", check)
    await graphs.queue.stop()


async def test_the_transaction_ids_of_a_device(database: Database) -> None:
    graphs = graphs_over(database)
    store = graphs.storage.client_transactions
    sent = [ClientTransaction(1, "/path", f"t{event}", event, 1_000) for event in (5, 6, 7)]
    await graphs.queue.submit(Unit([*sent, ClientTransaction(2, "/path", "t8", 8, 1_000)]))
    assert await store.of_device(1, 4) == {5: "t5", 6: "t6", 7: "t7"}
    assert await store.of_device(1, 3) is None
    assert await store.of_device(2, 3) == {8: "t8"}
    assert await store.of_device(3, 3) == {}
    await graphs.queue.stop()
