# SPDX-License-Identifier: Apache-2.0
"""Auth differences and conflicted state subgraphs are what the definitions say."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor

from federation.graph.auth_chains.auth_chains import AuthChains
from storage.auth_chains import AuthChainStore
from storage.engine.database import Database
from tests.support.auth_graphs import BruteForce, Node, new_room, store
from tests.support.reactor import in_reactor
from tests.support.storing import storing_over

_SIZE = 14
_numbers = itertools.count(1)


def chains_over(database: Database, **options: Any) -> AuthChains:
    """Auth chains over `database`, as the composition root builds them."""
    return AuthChains(store=AuthChainStore(database), clock=reactor, **{"log_at_least": 1} | options)


@attrs.frozen
class Step:
    """Store some nodes, begin anew or not, and ask about states. Nodes go by their place in the graph."""

    stored: frozenset[int]
    unstored: frozenset[int]
    restart: bool
    unconflicted: frozenset[int]
    conflicted: tuple[frozenset[int], ...]


@attrs.frozen
class Story:
    """An auth graph and what happens to it. `cited[i]` are places in the graph."""

    cited: tuple[tuple[int, ...], ...]
    keys: tuple[int, ...]
    shuffled: tuple[int, ...]
    steps: tuple[Step, ...]


@st.composite
def stories(draw: st.DrawFn, *, cycles: bool) -> Story:
    size = draw(st.integers(2, _SIZE))
    cited = []
    for i in range(size):
        # Mostly what came shortly before, so that graphs are deep.
        near = st.integers(max(0, i - 3), i - 1) if i else st.nothing()
        any_earlier = st.integers(0, size - 1 if cycles else i - 1) if cycles or i else st.nothing()
        candidates = near | any_earlier
        cited.append(() if candidates.is_empty else tuple(sorted(draw(st.sets(candidates, max_size=3)))))
    places = st.frozensets(st.integers(0, size - 1))
    few = st.frozensets(st.integers(0, size - 1), max_size=4)
    steps = st.builds(
        Step,
        stored=places,
        unstored=few,
        restart=st.booleans(),
        unconflicted=st.sampled_from([draw(few), draw(few)]),
        conflicted=st.lists(few, max_size=4).map(tuple),
    )
    every = frozenset(range(size))
    first = draw(st.sampled_from([every, frozenset()]) | places)
    return Story(
        cited=tuple(cited),
        keys=tuple(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))),
        shuffled=tuple(draw(st.permutations(range(size)))),
        steps=tuple(
            attrs.evolve(step, stored=step.stored | first if i == 0 else step.stored)
            for i, step in enumerate(draw(st.lists(steps, min_size=1, max_size=4)))
        ),
    )


async def tell(database: Database, story: Story) -> None:
    """Let the story happen, and compare every answer."""
    room, storing, chains = new_room(), storing_over(database), chains_over(database)
    base = next(_numbers) * 1_000
    number = [base + place for place in story.shuffled]
    nodes = [
        Node(number[i], (1, story.keys[i]), tuple(number[c] for c in cited))
        for i, cited in enumerate(story.cited)
    ]
    on_disk: set[int] = set()
    for step in story.steps:
        if new := step.stored - on_disk:
            await store(storing, room, [nodes[i] for i in sorted(new)])
            on_disk |= new
        known = on_disk | step.unstored
        # What is on disk names its auth events by id, and only what is on disk can be found by its id.
        seen = {i: on_disk if i in on_disk else known for i in known}
        edges = {number[i]: [number[c] for c in story.cited[i] if c in seen[i]] for i in known}
        if step.restart:
            chains = chains_over(database)
        unstored = {number[i]: edges[number[i]] for i in step.unstored - on_disk}
        await compare(chains, room, BruteForce(edges), step, number, unstored)


async def compare(
    chains: AuthChains,
    room: int,
    truth: BruteForce,
    step: Step,
    number: list[int],
    unstored: dict[int, list[int]],
) -> None:
    unconflicted = {number[i] for i in step.unconflicted}
    conflicted = [{number[i] for i in state - step.unconflicted} for state in step.conflicted]
    found = await chains.difference(
        room,
        conflicted,
        unconflicted=lambda: iter(unconflicted),
        is_unconflicted=unconflicted.__contains__,
        unstored=unstored,
    )
    assert found == truth.difference([unconflicted | state for state in conflicted])
    ends = set().union(*conflicted)
    assert await chains.subgraph(room, ends, unstored=unstored) == truth.subgraph(ends)


_PROPERTY = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_PROPERTY
@given(story=stories(cycles=False))
def test_answers_are_those_of_the_definitions(database: Database, story: Story) -> None:
    in_reactor(tell(database, story))


@_PROPERTY
@given(story=stories(cycles=True))
def test_cycles_are_walked_once(database: Database, story: Story) -> None:
    """Room versions 1 and 2 let whoever makes an event choose its id, so a graph may have cycles."""
    in_reactor(tell(database, story))


async def ask(chains: AuthChains, room: int, conflicted: list[set[int]], unconflicted: set[int]) -> set[int]:
    """The auth difference, with nothing unstored."""
    return await chains.difference(
        room,
        conflicted,
        unconflicted=lambda: unconflicted,
        is_unconflicted=unconflicted.__contains__,
        unstored={},
    )


async def test_an_unconflicted_event_that_cannot_be_indexed_is_walked_every_time(database: Database) -> None:
    """3 cites 1 and 2, which is not stored; first 3 is also below a conflicted event, then it is not."""
    room, storing, chains = new_room(), storing_over(database), chains_over(database)
    await store(storing, room, [Node(1, (1, 1), ()), Node(3, (1, 3), (1, 2)), Node(4, (1, 4), (3,))])
    await store(storing, room, [Node(5, (1, 5), (1,))])
    assert await ask(chains, room, [{4}, set()], {3}) == {3}
    assert await ask(chains, room, [{5}, set()], {3}) == set()
    assert await ask(chains, room, [{5}, set()], set()) == {1}
    assert await ask(chains, room, [{4}, set()], set()) == {1, 3}
    await store(storing, room, [Node(2, (1, 2), ())])
    assert await ask(chains, room, [{4}, set()], set()) == {1, 2, 3}
