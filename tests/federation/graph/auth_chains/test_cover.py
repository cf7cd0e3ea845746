# SPDX-License-Identifier: Apache-2.0
"""Questions to a cover, and to events walked above it, have the answers of the definitions."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.graph.auth_chains.cover import ChainCover
from federation.graph.auth_chains.difference import candidates, outside_of_all
from federation.graph.auth_chains.overlay import Overlay
from federation.graph.auth_chains.places import Place
from federation.graph.auth_chains.reach import reach
from federation.graph.auth_chains.subgraph import subgraph
from storage.auth_chains import AuthChainBlock
from tests.support.auth_graphs import BruteForce, finish

_SIZE = 18
_EXAMPLES = 80


@attrs.frozen
class Graph:
    """Number → auth events; what is indexed, in order; and which auth event has the event's own key."""

    edges: dict[int, tuple[int, ...]]
    order: tuple[int, ...]
    previous: dict[int, int | None]

    def cover(self, log: AuthChainBlock) -> ChainCover:
        cover = ChainCover()
        for number in self.order:
            cover.add(number, self.previous[number], self.edges[number], log)
            finish(cover.settle())
        return cover

    def overlay(self) -> Overlay:
        graph = Overlay(self.cover(AuthChainBlock()))
        rest = {number: cited for number, cited in self.edges.items() if number not in set(self.order)}
        later = {number: rest.pop(number) for number in list(rest) if number % 2 and not _cited(rest, number)}
        graph.walk(rest)  # in two goes, as the index does it
        graph.walk(later)
        return graph


def _cited(edges: dict[int, tuple[int, ...]], number: int) -> bool:
    return any(number in cited for cited in edges.values())


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    size = draw(st.integers(1, _SIZE))
    numbers = draw(st.permutations(range(1, size + 1)))
    edges: dict[int, tuple[int, ...]] = {}
    previous: dict[int, int | None] = {}
    for i, number in enumerate(numbers):
        near = st.integers(max(0, i - 4), i - 1) if i else st.nothing()
        any_earlier = st.integers(0, i - 1) if i else st.nothing()
        chosen = draw(st.sets(near | any_earlier, max_size=4)) if i else set()
        cited = tuple(numbers[j] for j in sorted(chosen))
        edges[number] = cited
        previous[number] = draw(st.sampled_from([None, *cited]))
    # Any order in which each comes after its auth events, up to where the index ends.
    order: list[int] = []
    while len(order) < size:
        ready = [n for n in numbers if n not in order and set(edges[n]) <= set(order)]
        order.append(draw(st.sampled_from(ready)))
    return Graph(edges, tuple(order[: draw(st.integers(0, size) | st.just(size))]), previous)


def some(graph: Graph, limit: int = 5) -> st.SearchStrategy[set[int]]:
    return st.sets(st.sampled_from(sorted(graph.edges)), max_size=limit)


def places(overlay: Overlay, numbers: Iterable[int]) -> list[Place]:
    return [place for number in numbers if (place := overlay.place(number)) is not None]


@settings(max_examples=_EXAMPLES, deadline=None)
@given(data=st.data(), graph=graphs())
def test_reach_is_the_auth_chain(data: st.DataObject, graph: Graph) -> None:
    overlay = graph.overlay()
    starts = data.draw(some(graph))
    reached = finish(reach(overlay, places(overlay, starts)))
    found = {overlay.number(Place(c, s)) for c, highest in reached.items() for s in range(1, highest + 1)}
    assert found == BruteForce(graph.edges).full_chain(starts)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(data=st.data(), graph=graphs())
def test_the_difference(data: st.DataObject, graph: Graph) -> None:
    overlay = graph.overlay()
    unconflicted = data.draw(some(graph))
    conflicted = [data.draw(some(graph)) - unconflicted for _ in range(data.draw(st.integers(2, 5)))]
    spans = finish(candidates(overlay, conflicted))
    found = finish(outside_of_all(overlay, spans, unconflicted.__contains__))
    assert found == BruteForce(graph.edges).difference([unconflicted | state for state in conflicted])


@settings(max_examples=_EXAMPLES, deadline=None)
@given(data=st.data(), graph=graphs())
def test_the_subgraph(data: st.DataObject, graph: Graph) -> None:
    overlay = graph.overlay()
    conflicted = data.draw(some(graph, 8))
    found = finish(subgraph(overlay, places(overlay, conflicted)))
    assert found == BruteForce(graph.edges).subgraph(conflicted)


@settings(max_examples=_EXAMPLES // 2, deadline=None)
@given(data=st.data(), graph=graphs())
def test_a_log_makes_the_same_cover(data: st.DataObject, graph: Graph) -> None:
    log = AuthChainBlock()
    cover = graph.cover(log)
    again = ChainCover()
    finish(again.replay(AuthChainBlock.unpack(log.pack())))
    assert len(again) == len(cover)
    for number in graph.edges:
        assert again.place(number) == cover.place(number)
    for chain in range(cover.chains):
        assert list(again.links_from(chain)) == list(cover.links_from(chain))
        wanted = {"least": 1, "below": None}
        assert list(again.links_into(chain, **wanted)) == list(cover.links_into(chain, **wanted))


def test_an_event_goes_on_with_the_chain_of_its_key() -> None:
    cover, log = ChainCover(), AuthChainBlock()
    cover.add(1, None, (), log)  # create
    cover.add(2, None, (1,), log)  # a member, who joins twice
    cover.add(3, 2, (1, 2), log)
    cover.add(4, 2, (1, 2), log)  # a fork: 2 is not the last of its chain any more
    assert [cover.place(n) for n in (1, 2, 3, 4)] == [(0, 1), (1, 1), (1, 2), (2, 1)]


def test_what_is_implied_is_not_linked() -> None:
    cover, log = ChainCover(), AuthChainBlock()
    cover.add(1, None, (), log)  # create
    cover.add(2, None, (1,), log)  # the creator's join
    cover.add(3, None, (1, 2), log)  # power levels: a link to the join, which implies create
    cover.add(4, None, (1, 2, 3), log)  # join rules: a link to the power levels
    cover.add(5, None, (3, 4), log)  # a member: a link to the join rules
    cover.add(6, 5, (3, 4, 5), log)  # and nothing new of theirs
    assert cover.links == 4
    assert list(cover.links_from(cover.chains - 1)) == [1, 3, 1]


@pytest.mark.parametrize(
    ("number", "chain", "links"),
    [
        (1, 0, []),  # there already
        (2, 2, []),  # a chain is left out
        (2, -1, []),
        (2, 1, [(0, 2)]),  # a link above the chain's end
        (2, 1, [(0, 0)]),
        (2, 1, [(1, 1)]),  # a link into its own chain
        (2, 1, [(5, 1)]),
    ],
)
def test_a_log_that_makes_no_sense_is_refused(number: int, chain: int, links: list[tuple[int, int]]) -> None:
    cover = ChainCover()
    first = AuthChainBlock()
    first.append(1, 0, [])
    finish(cover.replay(first))
    wrong = AuthChainBlock()
    wrong.append(number, chain, links)
    with pytest.raises(ValueError, match=r"chain|twice|link"):
        finish(cover.replay(wrong))


def the_difference(graph: Graph, conflicted: list[set[int]], unconflicted: set[int]) -> set[int]:
    overlay = graph.overlay()
    spans = finish(candidates(overlay, conflicted))
    return finish(outside_of_all(overlay, spans, unconflicted.__contains__))


def test_a_chain_that_is_first_entered_from_above() -> None:
    """1 is cited by 3, which leads to the end of the chain 2, 4, and by 2; what is unconflicted cites 2."""
    edges = {1: (), 2: (1,), 3: (1,), 4: (2, 3), 5: (2,)}
    graph = Graph(edges, (1, 2, 3, 4, 5), {1: None, 2: None, 3: None, 4: 2, 5: None})
    assert the_difference(graph, [{3}, set()], {5}) == set()
    assert the_difference(graph, [{3}, set()], {4}) == set()
    assert the_difference(graph, [{3}, set()], {1, 3}) == set()
    assert the_difference(graph, [{3}, set()], {1}) == {1}


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_search_that_ended_early_left_something_to_see(order: tuple[int, int]) -> None:
    """From 1 upwards the walked 6 is found, above 3; 2 is reached from 5, above the end of the chain 3, 4."""
    edges = {1: (), 2: (), 3: (1,), 4: (3, 2), 5: (4,), 6: (3,), 7: (1, 2)}
    graph = Graph(edges, (*order, 3, 4, 5, 7), {**dict.fromkeys(edges), 4: 3})
    assert the_difference(graph, [{7}, set()], {5, 6}) == set()
    assert the_difference(graph, [{7}, set()], {6}) == {2}


def test_what_leads_nowhere_is_looked_at_once() -> None:
    """A chain of 50, all of it cited by 200 others, none of them unconflicted."""
    length, others = 50, 200
    edges: dict[int, tuple[int, ...]] = {1: ()}
    edges |= {n: (n - 1,) for n in range(2, length + 1)}
    edges |= {n: (1 + n % length, n - 1) for n in range(length + 1, length + others + 1)}
    previous = {n: n - 1 if 1 < n <= length else None for n in edges}
    overlay = Graph(edges, tuple(edges), previous).overlay()
    asked: list[int] = []
    spans = finish(candidates(overlay, [{length + others}, set()]))
    found = finish(outside_of_all(overlay, spans, lambda number: bool(asked.append(number))))
    assert found == set(range(1, length + others))
    assert len(asked) == len(set(asked))
