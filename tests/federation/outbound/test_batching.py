# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.batching import LARGEST_BODY, next_transaction
from federation.rules.canonical_json import encode_canonical_json

SIZES = st.lists(st.integers(2, 65_536), max_size=120)


@pytest.mark.parametrize(
    ("pdus", "edus", "taken"),
    [
        ([], [], (0, 0)),
        ([100], [], (1, 0)),
        ([100] * 50, [100] * 100, (50, 100)),
        ([100] * 51, [100] * 101, (50, 100)),
        ([65_000] * 50, [], (15, 0)),
        ([], [65_000] * 50, (0, 15)),
        ([65_000] * 50, [65_000] * 50, (12, 3)),
        ([65_000], [65_000] * 50, (1, 14)),
        ([2_000_000, 100], [100], (1, 0)),
        ([], [2_000_000, 100], (0, 1)),
        ([100], [2_000_000, 100], (1, 0)),
        ([999_000], [500] * 3, (1, 0)),
        ([900_000], [200_000, 500], (1, 0)),
    ],
)  # fmt: skip
def test_what_goes_into_the_next_transaction(
    pdus: list[int], edus: list[int], taken: tuple[int, int]
) -> None:
    assert next_transaction(pdus, edus) == taken


@given(pdus=SIZES, edus=SIZES)
def test_everything_goes_in_the_end_within_the_bounds(pdus: list[int], edus: list[int]) -> None:
    while pdus or edus:
        taken = next_transaction(pdus, edus)
        assert taken.pdus <= 50
        assert taken.edus <= 100
        assert taken != (0, 0)
        # Neither kind waits until the other is done.
        assert bool(taken.pdus) == bool(pdus)
        assert bool(taken.edus) == bool(edus)
        body = {
            "origin": "a" * 255,
            "origin_server_ts": 2**53 - 1,
            "pdus": ["x" * (size - 2) for size in pdus[: taken.pdus]],
            "edus": ["x" * (size - 2) for size in edus[: taken.edus]],
        }
        assert len(encode_canonical_json(body)) <= LARGEST_BODY
        pdus, edus = pdus[taken.pdus :], edus[taken.edus :]
