# SPDX-License-Identifier: Apache-2.0
"""What can be indexed is found, in an order in which auth events come first."""

from __future__ import annotations

import pytest

from federation.graph.auth_chains.unindexed import indexable, walked
from storage.auth_chains import Citations
from tests.support.auth_graphs import finish

INDEXED = frozenset({100})


def citations(edges: dict[int, tuple[int, ...]], incomplete: set[int]) -> dict[int, Citations]:
    return {n: Citations(cited, None, complete=n not in incomplete) for n, cited in edges.items()}


@pytest.mark.parametrize(
    ("edges", "incomplete", "expected"),
    [
        ({3: (2, 1), 2: (1,), 1: ()}, set(), [1, 2, 3]),
        ({3: (2,), 2: (100,)}, set(), [2, 3]),
        ({3: (2,), 2: (99,)}, set(), []),  # 99 is nowhere
        ({3: (2,), 2: (1,), 1: ()}, {2}, [1]),  # below what is not complete all may be
        ({3: (2,), 2: (1,), 1: (2,)}, set(), []),  # a cycle, and what leads to it
        ({3: (2, 4), 2: (1,), 1: (2,), 4: ()}, set(), [4]),
        ({3: (3,)}, set(), []),
    ],
)
def test_indexable(edges: dict[int, tuple[int, ...]], incomplete: set[int], expected: list[int]) -> None:
    assert finish(indexable([3], citations(edges, incomplete), INDEXED.__contains__)) == expected


def test_a_deep_graph_is_no_recursion() -> None:
    depth = 20_000
    edges = {n: (n - 1,) for n in range(2, depth + 1)} | {1: ()}
    assert finish(indexable([depth], citations(edges, set()), INDEXED.__contains__)) == list(
        range(1, depth + 1)
    )
    assert len(finish(walked([depth], edges))) == depth


def test_only_what_is_led_to_is_walked() -> None:
    assert finish(walked([3, 9], {3: (2, 7), 2: (3,), 4: (2,)})) == {3: (2, 7), 2: (3,)}
