# SPDX-License-Identifier: Apache-2.0
"""State resolution against the naive one, on states of random rooms and on states that nobody would have."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping, Sequence
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion, StateResolution
from federation.rules.state_resolution.gathering import Gathering
from federation.rules.state_resolution.resolution import resolve
from storage.event import Event
from tests.reference.graphs import RandomRoom, random_room, random_rooms
from tests.reference.resolver import (
    Key,
    Known,
    StateMap,
    auth_difference,
    conflicted_state_subgraph,
    conflicts_1,
    conflicts_2,
    naive_resolve,
)

# Versions whose algorithms or rules differ in what matters here.
VERSIONS = [ROOM_VERSIONS[name] for name in ("1", "2", "6", "9", "11", "12")]


@attrs.frozen
class Case:
    """States to be resolved, and the events and rejections that they are resolved with."""

    version: RoomVersion
    states: Sequence[StateMap]
    events: Mapping[str, Event]
    rejected: Collection[str]

    def expected(self) -> dict[Key, str]:
        return naive_resolve(self.version, self.states, self.events, self.rejected)


def resolved(case: Case) -> dict[Key, str]:
    """The whole resolved state, by the resolution under test."""
    gathering, unconflicted, conflicted = gathering_of(case)
    learn_all(gathering, case)
    wanted = gathering.unconflicted_keys()
    gathering.set_unconflicted({key: value for key, value in unconflicted.items() if key in wanted})
    learn_all(gathering, case)
    changed = resolve(pickle.loads(pickle.dumps(gathering.conflict())))
    assert conflicted <= changed.keys()
    assert changed.keys().isdisjoint(unconflicted)
    return unconflicted | {key: value for key, value in changed.items() if value is not None}


def gathering_of(case: Case) -> tuple[Gathering, dict[Key, str], set[Key]]:
    """The gathering for a case, the unconflicted state map, and the keys of the conflicted state set."""
    by_key: dict[Key, set[str]] = {}
    if case.version.state_resolution is StateResolution.V1:
        unconflicted, by_key = conflicts_1(case.states)
        return Gathering(case.version, by_key), unconflicted, set(by_key)
    known = Known(case.version, case.events, frozenset(case.rejected))
    unconflicted, conflicted = conflicts_2(case.states)
    for event_id in conflicted:
        key = known.key(event_id)
        assert key is not None
        by_key.setdefault(key, set()).add(event_id)
    difference = auth_difference(known, case.states)
    subgraph = conflicted_state_subgraph(known, conflicted)
    return Gathering(case.version, by_key, difference, subgraph), unconflicted, set(by_key)


def learn_all(gathering: Gathering, case: Case) -> None:
    """Give the gathering what it asks for, and nothing else, until it asks no more."""
    for _ in range(len(case.events) + 1):
        missing = gathering.missing()
        if not missing:
            return
        gathering.learn((case.events[e] for e in missing), [e for e in case.rejected if e in missing])
    pytest.fail("the gathering does not stop asking")


def states_of(room: RandomRoom, random: Random) -> list[StateMap]:
    """The states after two to four events of a room."""
    count = random.randint(2, 4)
    return [room.naive.after[random.choice(room.events).event_id] for _ in range(count)]


def given_states(room: RandomRoom, random: Random) -> list[StateMap]:
    """States as a server may be given them by another: keys are missing or have values from elsewhere."""
    # An event that fails by its auth events gets into no state.
    usable = [
        ((e.type, e.state_key), e.event_id)
        for e in room.events
        if e.state_key is not None
        and e.type != "m.room.create"
        and e.event_id not in room.naive.rejected_by_auth_events
    ]
    states = []
    for state in states_of(room, random):
        changed = dict(state)
        for key in random.sample(sorted(changed), min(len(changed), random.randint(0, 2))):
            if key[0] != "m.room.create":
                del changed[key]
        changed.update(random.sample(usable, min(len(usable), random.randint(0, 3))))
        states.append(changed)
    return states


def cases(room: RandomRoom, random: Random, count: int) -> list[Case]:
    """Cases over a room; in every third one any events count as rejected."""
    chosen = []
    for number in range(count):
        states = states_of(room, random) if number % 2 else given_states(room, random)
        rejected: Collection[str] = room.naive.rejected
        if number % 3 == 2:
            rejected = {e.event_id for e in room.events if random.random() < 0.1}
        chosen.append(Case(room.version, states, room.naive.events, rejected))
    return chosen


@settings(max_examples=60, deadline=None)
@given(random_rooms(versions=VERSIONS, max_size=30), st.integers(0, 10_000))
def test_it_resolves_as_the_naive_resolution_does(room: RandomRoom, seed: int) -> None:
    for case in cases(room, Random(seed), 6):
        assert resolved(case) == case.expected()


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)
@pytest.mark.parametrize("seed", range(3))
def test_it_resolves_large_rooms_as_the_naive_resolution_does(version: RoomVersion, seed: int) -> None:
    room = random_room(seed, version, 120)
    for case in cases(room, Random(seed), 12):
        assert resolved(case) == case.expected()


def test_the_order_of_the_states_does_not_matter() -> None:
    room = random_room(3, "12", 60)
    random = Random(3)
    for case in cases(room, random, 12):
        shuffled = random.sample(case.states, len(case.states))
        assert resolved(attrs.evolve(case, states=shuffled)) == case.expected()
