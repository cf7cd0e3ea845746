# SPDX-License-Identifier: Apache-2.0
"""Places are found wherever they lie: in the arrays or among what was added lately."""

from __future__ import annotations

import random

import pytest

from federation.graph.auth_chains.places import Place, Places
from tests.support.auth_graphs import finish


@pytest.mark.parametrize("seed", range(3))
def test_places(seed: int) -> None:
    rng = random.Random(seed)
    numbers = rng.sample(range(-(2**40), 2**40), 5_000)
    places, expected = Places(), {}
    for i, number in enumerate(numbers):
        expected[number] = Place(i % 97, i)
        places.add(number, expected[number])
        if rng.random() < 0.01:
            finish(places.settle())
    assert len(places) == len(expected)
    assert all(places.get(number) == place for number, place in expected.items())
    assert all(places.get(number + 1) == expected.get(number + 1) for number in numbers)
    assert places.memory() < 100 * len(numbers)
