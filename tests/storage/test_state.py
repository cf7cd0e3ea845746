# SPDX-License-Identifier: Apache-2.0
"""States by branches and revisions are what whole dicts say they are."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.engine.database import Database, Transaction
from storage.engine.errors import DataError
from storage.event import StateAt
from storage.rooms import NewRoom
from storage.state import (
    ALWAYS,
    OPEN,
    BranchRows,
    EarlierChange,
    GivenRow,
    NewBranch,
    NewRevision,
    Replacing,
    StateChange,
    StateRow,
    States,
    TimelineRow,
)
from tests.support.reactor import in_reactor
from tests.support.state_model import MEMBER, Key, StateModel, Value
from tests.support.storing import storing_over

ROOM = 7
_rooms = itertools.count(2**40)
TOPIC, NAME = (2, 0), (3, 0)
# The last key has the largest numbers that there are.
KEYS = ((MEMBER, 10), (MEMBER, 11), TOPIC, NAME, (2**63 - 1, 2**63 - 1))


class CountingTransaction:
    """Counts the statements that run in a transaction."""

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        self.statements += 1
        return getattr(self._txn, name)


def as_dict(rows: Iterable[StateRow]) -> dict[Key, Value]:
    found = {}
    for row in rows:
        assert row.event is not None
        found[row.type, row.state_key] = (row.event, row.membership)
    return found


def from_rows(branch: BranchRows, revision: int, below: dict[Key, Value]) -> dict[Key, Value]:
    """The state at a revision of the branch, put together from its rows over the state that it lies over."""
    state = dict(below)
    for row in branch.rows:
        if row.first <= revision < row.end:
            state.pop((row.type, row.state_key), None)
            if row.event is not None:
                state[row.type, row.state_key] = (row.event, row.membership)
    return state


def check_states(txn: Transaction, model: StateModel) -> None:
    states, room = States(), model.room
    wanted = [(room, state) for state in model.states]
    found = states.at_each_txn(txn, wanted)
    assert {state: as_dict(rows) for (_, state), rows in found.items()} == model.states
    for state in model.states:
        assert as_dict(states.at_txn(txn, room, state)) == model.states[state]
    assert as_dict(states.current_txn(txn, room)) == model.states[StateAt(0, model.branches[0].head)]


def check_keys(txn: Transaction, model: StateModel) -> None:
    states, room = States(), model.room
    keys = [(state, *key) for state in model.states for key in model.keys]
    expected = {
        (state, type_, state_key): model.states[state][type_, state_key]
        for state, type_, state_key in keys
        if (type_, state_key) in model.states[state]
    }
    found = states.keys_at_states_txn(txn, room, keys)
    assert {key: (row.event, row.membership) for key, row in found.items()} == expected
    for state, values in model.states.items():
        assert as_dict(states.keys_at_txn(txn, room, state, model.keys).values()) == values
    asked = [Replacing(i, room, *key[1:], key[0]) for i, key in enumerate(keys)]
    assert states.replaced_txn(txn, asked) == {
        i: expected[key][0] for i, key in enumerate(keys) if key in expected
    }


def check_branches(txn: Transaction, model: StateModel, parents: dict[int, StateAt]) -> None:
    states, room = States(), model.room
    assert states.last_branch_txn(txn, room) == max(model.branches)
    for number, timeline in model.branches.items():
        assert states.branch_head_txn(txn, room, number) == timeline.head
        assert states.lowest_txn(txn, room, number) == timeline.lowest
        branch = states.branch_txn(txn, room, number)
        assert branch.parent == parents.get(number)
        below = {} if branch.parent is None else model.states[branch.parent]
        for revision in range(timeline.lowest, timeline.head + 1):
            assert from_rows(branch, revision, below) == model.states[StateAt(number, revision)]


def check_current(txn: Transaction, model: StateModel) -> None:
    """What is told of branch 0 alone: what changed, and what a look back needs."""
    states, room, head = States(), model.room, model.branches[0].head
    rows = states.branch_txn(txn, room, 0).rows
    for after in range(head + 1):
        late = states.timeline_txn(txn, room, after)
        assert Counter(late) == Counter(r for r in rows if r.first > after or after < r.end < OPEN)
        changes = states.changes_txn(txn, room, after, head)
        old, new = model.states[StateAt(0, after)], model.states[StateAt(0, head)]
        for row in changes:
            value = new.get((row.type, row.state_key))
            assert (row.event, row.membership) == (value or (None, None))
        keys = {(row.type, row.state_key) for row in changes}
        assert all(old.get(key) == new.get(key) for key in set(model.keys) - keys)
    keys = [key for key in model.keys if key != NAME]  # one of each state key
    histories = states.key_histories_txn(txn, [(room, *key) for key in keys])
    for key in keys:
        spans = histories.get((room, key[1]), [])
        for revision in range(model.branches[0].lowest, head + 1):
            values = [(s.event, s.membership) for s in spans if s.first <= revision < s.end and s.event]
            state = model.states[StateAt(0, revision)]
            assert values == ([state[key]] if key in state else [])


async def play(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    storing = storing_over(database)
    model = StateModel(next(_rooms), KEYS, rng)
    parents: dict[int, StateAt] = {}
    records = model.given(0, model.some_values(removing=False)) if rng.random() < 0.7 else []
    for _ in range(rng.randint(1, 6)):
        units = []
        for _ in range(rng.randint(1, 5)):
            for index in range(1, rng.randint(2, 6)):
                records += model.step(index=index)
            units.append(records)
            records = []
        parents.update({r.branch: r.parent for unit in units for r in unit if isinstance(r, NewBranch)})
        assert await storing.write_together(*units) == [None] * len(units)

        def check(txn: Transaction) -> None:
            check_states(txn, model)
            check_keys(txn, model)
            check_branches(txn, model, parents)
            check_current(txn, model)

        await database.read("check", check)
    await storing.queue.stop()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_random_branches_and_histories(database: Database, seed: int) -> None:
    in_reactor(play(database, seed))


def values_of(rows: Iterable[StateRow]) -> dict[Key, int | None]:
    return {(row.type, row.state_key): row.event for row in rows}


async def test_a_given_state_and_the_join_on_top_of_it_are_one_unit(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(
        GivenRow(ROOM, 0, *TOPIC, 1),
        GivenRow(ROOM, 0, MEMBER, 10, 2, "invite"),
        NewRevision(ROOM, 1, 1),
        StateChange(ROOM, 0, MEMBER, 10, 1, 3, "join"),
    )
    branch = await database.read("branch", lambda txn: States().branch_txn(txn, ROOM, 0))
    assert branch.parent is None
    assert set(branch.rows) == {
        TimelineRow(*TOPIC, ALWAYS, OPEN, 1, None, None),
        TimelineRow(MEMBER, 10, ALWAYS, 1, 2, None, "invite"),
        TimelineRow(MEMBER, 10, 1, OPEN, 3, None, "join"),
    }


async def test_a_branch_extended_downwards(database: Database) -> None:
    """In one batch: what was given, what came after, and in two further units what came before."""
    storing = storing_over(database)
    outcomes = await storing.write_together(
        [
            GivenRow(ROOM, 0, *TOPIC, 1),
            GivenRow(ROOM, 0, *NAME, 2),
            NewRevision(ROOM, 1, 1),
            StateChange(ROOM, 0, *TOPIC, 1, 3),
        ],
        [EarlierChange(ROOM, 0, *TOPIC, 0, 4), EarlierChange(ROOM, 0, *NAME, -1, None)],
        [EarlierChange(ROOM, 0, *TOPIC, -2, 5), EarlierChange(ROOM, 0, *TOPIC, -3, None)],
    )
    assert outcomes == [None, None, None]

    def check(txn: Transaction) -> None:
        at = {r: values_of(States().at_txn(txn, ROOM, StateAt(0, r))) for r in range(-6, 2)}
        assert at[1] == {TOPIC: 3, NAME: 2}
        assert at[0] == {TOPIC: 1, NAME: 2}
        assert at[-1] == {TOPIC: 4, NAME: 2}
        assert at[-2] == {TOPIC: 4}
        assert at[-3] == {TOPIC: 5}
        assert at[-4] == at[-5] == at[-6] == {}
        assert States().branch_head_txn(txn, ROOM, 0) == 1
        # Below branch 0 there is nothing that a removed value would have to hide.
        assert all(row.event is not None for row in States().branch_txn(txn, ROOM, 0).rows)

    await database.read("check", check)


async def test_what_a_branch_removes_below_hides_its_parent(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(GivenRow(ROOM, 0, *TOPIC, 1), NewBranch(ROOM, 1, StateAt(0, 0)))
    await storing.write(StateChange(ROOM, 1, *TOPIC, 1, 2))
    await storing.write(EarlierChange(ROOM, 1, *TOPIC, 0, None))

    def check(txn: Transaction) -> None:
        at = {r: values_of(States().at_txn(txn, ROOM, StateAt(1, r))) for r in range(-2, 2)}
        assert at == {1: {TOPIC: 2}, 0: {TOPIC: 1}, -1: {}, -2: {}}
        rows = States().branch_txn(txn, ROOM, 1).rows
        assert TimelineRow(*TOPIC, ALWAYS, 0, None, None, None) in rows

    await database.read("check", check)


async def test_fifty_changes_of_one_key_in_one_unit(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(NewBranch(ROOM, 1, StateAt(0, 0)), StateChange(ROOM, 1, *TOPIC, 1, 1))
    await storing.write(*(StateChange(ROOM, 1, *TOPIC, r, r) for r in range(2, 52)))

    def check(txn: Transaction) -> None:
        for revision in range(1, 52):
            found = States().keys_at_txn(txn, ROOM, StateAt(1, revision), [TOPIC, NAME])
            assert values_of(found.values()) == {TOPIC: revision}
        assert States().branch_head_txn(txn, ROOM, 1) == 51

    await database.read("check", check)


async def test_a_value_that_is_given_twice_is_refused(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(GivenRow(ROOM, 0, *TOPIC, 1))
    with pytest.raises(DataError):
        await storing.write(GivenRow(ROOM, 0, *TOPIC, 2))


async def test_one_revision_may_change_many_keys_and_remove_some(database: Database) -> None:
    storing = storing_over(database)
    base = await storing.write(
        NewRevision(ROOM, 1, 1),
        StateChange(ROOM, 0, *TOPIC, 1, 1),
        StateChange(ROOM, 0, MEMBER, 10, 1, 2, "join"),
        NewRevision(ROOM, 2, 3),
        StateChange(ROOM, 0, *TOPIC, 2, None),
        StateChange(ROOM, 0, *NAME, 2, 4),
    )

    def check(txn: Transaction) -> None:
        states = States()
        assert values_of(states.current_txn(txn, ROOM)) == {NAME: 4, (MEMBER, 10): 2}
        assert values_of(states.current_of_rooms_txn(txn, [ROOM])[ROOM]) == {NAME: 4, (MEMBER, 10): 2}
        assert values_of(states.changes_txn(txn, ROOM, 1, 2)) == {NAME: 4, TOPIC: None}
        assert states.positions_txn(txn, [(ROOM, 1), (ROOM, 2)]) == {(ROOM, 1): base + 1, (ROOM, 2): base + 3}
        told = states.changes_of_rooms_txn(txn, [(ROOM, base + 1, base + 3)])[ROOM]
        assert {(position, revision) for position, revision, _ in told} == {(base + 3, 2)}
        assert values_of(row for _, _, row in told) == {NAME: 4, TOPIC: None}

    await database.read("check", check)


async def test_the_last_positions_of_states(database: Database) -> None:
    storing = storing_over(database)
    base = await storing.write(
        NewRoom(ROOM, "12"), NewRoom(8, "12"), NewRevision(ROOM, 1, 1), NewRevision(ROOM, 2, 2)
    )
    assert await database.read("last", States().last_positions_txn) == {ROOM: base + 2}


async def test_rooms_and_branches_do_not_mix(database: Database) -> None:
    storing = storing_over(database)
    largest = 2**63 - 1
    await storing.write(
        GivenRow(1, 0, *TOPIC, 1),
        GivenRow(2, 0, *TOPIC, 2),
        NewBranch(1, 1, StateAt(0, 0)),
        NewBranch(2, 1, StateAt(0, 0)),
        GivenRow(2, 1, *NAME, 3),
        NewBranch(largest, largest, StateAt(0, 0)),
        GivenRow(largest, largest, largest, largest, largest),
    )

    def check(txn: Transaction) -> None:
        wanted = [
            (1, StateAt(1, 0), *TOPIC),
            (1, StateAt(1, 0), *NAME),
            (2, StateAt(1, 0), *TOPIC),
            (2, StateAt(1, 5), *NAME),
            (3, StateAt(0, 0), *NAME),
            (largest, StateAt(largest, -(2**63)), largest, largest),
            (largest, StateAt(largest, 0), largest, largest),
        ]
        found = States().keys_of_rooms_txn(txn, wanted)
        assert {key: row.event for key, row in found.items()} == {
            wanted[0]: 1,
            wanted[2]: 2,
            wanted[3]: 3,
            wanted[6]: largest,
        }
        assert States().branch_txn(txn, 3, 1) == BranchRows(None, [])
        assert States().last_branch_txn(txn, 3) == 0
        assert States().at_txn(txn, 3, StateAt(1, 1)) == []
        assert States().keys_at_states_txn(txn, 1, []) == {}
        assert States().at_each_txn(txn, []) == {}

    await database.read("check", check)


async def test_many_states_are_one_statement(database: Database) -> None:
    """Whatever the number of states and the depth of their branches."""
    storing = storing_over(database)
    await storing.write(
        GivenRow(ROOM, 0, *TOPIC, 1),
        *(NewBranch(ROOM, branch, StateAt(branch - 1, 0)) for branch in range(1, 5)),
        *(StateChange(ROOM, branch, *NAME, 1, branch) for branch in range(1, 5)),
    )
    states = [StateAt(branch, revision) for branch in range(5) for revision in (0, 1)]

    def check(txn: Transaction) -> None:
        counting = CountingTransaction(txn)
        found = States().keys_at_states_txn(
            counting, ROOM, [(s, *key) for s in states for key in (TOPIC, NAME)]
        )
        assert counting.statements == 1
        assert {key[0] for key in found if key[1:] == TOPIC} == set(states)
        assert {key[0]: row.event for key, row in found.items() if key[1:] == NAME} == {
            StateAt(branch, 1): branch for branch in range(1, 5)
        }
        assert States().at_each_txn(counting, [(ROOM, s) for s in states]).keys() == {
            (ROOM, s) for s in states
        }
        assert counting.statements == 2

    await database.read("check", check)
