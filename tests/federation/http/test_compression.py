# SPDX-License-Identifier: Apache-2.0
"""Who takes gzip, and what it gives."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.http.compression import accepts_gzip, compress


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br", True),
        (b"br,gzip", True),
        (b"GZIP;q=0.5", True),
        (b"gzip;q=1.0, identity; q=0.5, *;q=0", True),
        (b"deflate, gzip;q=0.001", True),
        (b"*", True),
        (b"x-gzip", True),
        (b"", False),
        (b"identity", False),
        (b"deflate, br", False),
        (b"gzip;q=0", False),
        (b"br, gzip; q=0.000", False),
        (b"*;q=0", False),
    ],
)
def test_accepted(header: bytes, accepted: bool) -> None:
    assert accepts_gzip([header]) is accepted


def test_several_headers() -> None:
    assert accepts_gzip([b"br", b"gzip"])
    assert not accepts_gzip([])


@given(st.binary(max_size=100), st.sampled_from([1, 50, 400, 5000]))
@settings(max_examples=40)
def test_it_unpacks(part: bytes, times: int) -> None:
    assert gzip.decompress(compress(part * times)) == part * times
