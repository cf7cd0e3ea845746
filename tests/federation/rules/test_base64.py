# SPDX-License-Identifier: Apache-2.0
"""Unpadded base64, held to the specification's examples and to the `unpaddedbase64` library."""

from __future__ import annotations

import pytest
import unpaddedbase64
from hypothesis import given
from hypothesis import strategies as st

from federation.rules.base64 import decode_base64, encode_base64, encode_base64_url


# spec: appendices, "Unpadded Base64"
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
    ],
)
def test_examples_of_the_specification(data: bytes, text: str) -> None:
    assert encode_base64(data) == text
    assert decode_base64(text) == data


@given(st.binary(max_size=80))
def test_both_alphabets_with_and_without_padding(data: bytes) -> None:
    standard, url_safe = encode_base64(data), encode_base64_url(data)
    assert standard == unpaddedbase64.encode_base64(data)
    assert url_safe == unpaddedbase64.encode_base64(data, urlsafe=True)
    padding = "=" * (-len(standard) % 4)
    for text in (standard, url_safe, standard + padding, url_safe + padding):
        assert decode_base64(text) == data


@pytest.mark.parametrize("text", ["Z", "Zm9v Zg", "Zm9v\n", "Z=g", "é", "Zm9v!", "\0"])
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_base64(text)
