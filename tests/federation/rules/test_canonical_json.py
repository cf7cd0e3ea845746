# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON, held to the specification's examples and to the `canonicaljson` library."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import canonicaljson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.canonical_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    check_canonical,
    check_lenient,
    decode_json,
    depth_of,
    encode_canonical,
    encode_lenient,
)
from federation.rules.errors import NotCanonicalJson, NotJson, TooDeep

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


# spec: appendices, "Canonical JSON", "Examples"
EXAMPLES = [
    ("{}", "{}"),
    ('{\n    "one": 1,\n    "two": "Two"\n}', '{"one":1,"two":"Two"}'),
    ('{\n    "b": "2",\n    "a": "1"\n}', '{"a":"1","b":"2"}'),
    ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
    (
        """{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {
            "display_name": "John Doe", "three_pids": [
                {"medium": "email", "address": "john.doe@example.org"},
                {"medium": "msisdn", "address": "123456789"}]}}}""",
        '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
        '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]}'
        ',"success":true}}',
    ),
    ('{"a": "日本語"}', '{"a":"日本語"}'),
    ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
    ('{"a": "\\u65E5"}', '{"a":"日"}'),
    ('{"a": null}', '{"a":null}'),
    ('{"a": -0}', '{"a":0}'),
]


@pytest.mark.parametrize(("text", "canonical"), EXAMPLES)
def test_examples_of_the_specification(text: str, canonical: str) -> None:
    value = decode_json(text.encode())
    check_canonical(value)
    assert encode_canonical(value) == canonical.encode()


def test_the_largest_integer_of_the_specification() -> None:
    assert MAX_INTEGER == 9_007_199_254_740_991


def test_exponents_are_no_integers() -> None:
    """The last example of the specification writes 1e10; what servers exchange may hold no such number."""
    value = decode_json(b'{"a": -0, "b": 1e10}')
    with pytest.raises(NotCanonicalJson, match="no integer"):
        check_canonical(value)
    assert encode_canonical({"a": -0, "b": int(value["b"])}) == b'{"a":0,"b":10000000000}'


@given(VALUES)
@settings(max_examples=200)
def test_bytes_are_those_of_canonicaljson(value: Any) -> None:
    check_canonical(value)
    encoded = encode_canonical(value)
    assert encoded == canonicaljson.encode_canonical_json(value)
    assert decode_json(encoded) == value


ANY_NUMBERS = (
    st.integers() | st.integers(-(2**300), 2**300) | st.floats(allow_nan=False, allow_infinity=False)
)
LENIENT_VALUES = st.recursive(
    LEAVES | ANY_NUMBERS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@given(LENIENT_VALUES)
@settings(max_examples=200)
def test_lenient_bytes_are_those_of_canonicaljson(value: Any) -> None:
    """And reading them keeps each number, and its kind, so that they hash to the same again."""
    check_lenient(value)
    encoded = encode_lenient(value)
    assert encoded == canonicaljson.encode_canonical_json(value)
    decoded = decode_json(encoded)
    assert repr(decoded) == repr(json.loads(encoded))
    assert encode_lenient(decoded) == encoded


@given(VALUES)
@settings(max_examples=100)
def test_what_has_a_canonical_form_has_it_leniently(value: Any) -> None:
    check_lenient(value)
    assert encode_lenient(value) == encode_canonical(value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (b"1.0", b"1.0"),
        (b"1e2", b"100.0"),
        (b"1E16", b"1e+16"),
        (b"1e-7", b"1e-07"),
        (b"-0.0", b"-0.0"),
        (b"-0", b"0"),
        (b"0.10", b"0.1"),
        (b"123456789012345678901234567890", b"123456789012345678901234567890"),
        (b"123456789012345678901234567890.5", b"1.2345678901234568e+29"),
        (b"1e-400", b"0.0"),
    ],
)
def test_numbers_as_other_servers_write_them(text: bytes, canonical: bytes) -> None:
    assert encode_lenient(decode_json(text)) == canonical
    assert canonicaljson.encode_canonical_json(json.loads(text)) == canonical


@pytest.mark.parametrize(
    "code_point", [*range(0x80), 0x80, 0x2028, 0xE000, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF]
)
def test_every_escape_is_that_of_canonicaljson(code_point: int) -> None:
    value = {chr(code_point): [chr(code_point)]}
    assert encode_canonical(value) == canonicaljson.encode_canonical_json(value)


def test_keys_are_sorted_by_code_point() -> None:
    """UTF-16 order would put U+10000 before U+FFFF."""
    assert (
        encode_canonical({"\U00010000": 1, "\uffff": 2, "a": 3})
        == '{"a":3,"\uffff":2,"\U00010000":1}'.encode()
    )


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\udfff": 1}, {1: 2}, {None: 1}, object()],
    ids=["surrogate", "surrogate key", "integer key", "null key", "object"],
)
def test_encoding_refuses_what_json_cannot_hold(value: Any) -> None:
    with pytest.raises(NotCanonicalJson):
        encode_canonical(value)


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\udfff": 1}, {b"a": 1}, object(), float("inf"), float("nan"), [10**5000]],
    ids=["surrogate", "surrogate key", "bytes key", "object", "infinity", "nan", "long integer"],
)
def test_lenient_encoding_refuses_what_json_cannot_hold(value: Any) -> None:
    with pytest.raises(NotCanonicalJson):
        encode_lenient(value)


@pytest.mark.parametrize("encode", [encode_canonical, encode_lenient])
def test_encoding_refuses_endless_nesting(encode: Callable[[Any], bytes]) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotCanonicalJson):
        encode(endless)


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        0.5,
        float("inf"),
        [1, [1.5]],
        {"a": {"b": 1e3}},
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        [2**63],
        {"a": -(2**64)},
        {1: "a"},
        {"a": {None: "a"}},
        (1, 2),
        b"bytes",
        {"a": object()},
    ],
)
def test_values_without_canonical_form(value: Any) -> None:
    with pytest.raises(NotCanonicalJson):
        check_canonical(value)


@pytest.mark.parametrize(
    "value",
    [
        float("inf"),
        [-float("inf")],
        {"a": {"b": float("nan")}},
        {1: "a"},
        {"a": [{None: "a"}]},
        (1, 2),
        b"bytes",
        {"a": object()},
    ],
)
def test_values_that_are_no_json(value: Any) -> None:
    with pytest.raises(NotCanonicalJson):
        check_lenient(value)


@pytest.mark.parametrize("value", [MAX_INTEGER, -MAX_INTEGER, [True, False, None, "", {}], {"": {"": [[]]}}])
def test_values_with_canonical_form(value: Any) -> None:
    check_canonical(value)


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"])
def test_depth_is_bounded(brackets: tuple[str, str]) -> None:
    opening, closing = brackets

    def text(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth).encode()

    deeper = decode_json(text(MAX_DEPTH + 1), max_depth=MAX_DEPTH + 1)
    for check in (check_canonical, check_lenient):
        check(decode_json(text(MAX_DEPTH)))
        with pytest.raises(TooDeep):
            check(deeper)
    with pytest.raises(TooDeep):
        decode_json(text(MAX_DEPTH + 1))


def test_depth_counts_nesting_and_not_brackets() -> None:
    deepest = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    check_canonical(decode_json(b"[{}," + deepest + b",[[]]]"))


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}"), ("[", "")])
def test_extreme_depth_is_refused(depth: int, brackets: tuple[str, str]) -> None:
    opening, closing = brackets
    with pytest.raises((TooDeep, NotJson)):
        decode_json((opening * depth + "1" + closing * depth).encode())


def test_brackets_in_strings_are_not_depth() -> None:
    value = {"a": "[{" * 1000, '"[': '\\"[' * 300, "b": ["\\", "]["]}
    assert decode_json(json.dumps(value).encode()) == value


@given(VALUES)
@settings(max_examples=100)
def test_depth_of_any_text(value: Any) -> None:
    def depth(part: Any) -> int:
        if isinstance(part, dict):
            return 1 + max(map(depth, part.values()), default=0)
        if isinstance(part, list):
            return 1 + max(map(depth, part), default=0)
        return 0

    assert depth_of(json.dumps(value).encode()) == depth(value)
    assert depth_of(encode_canonical(value)) == depth(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b'"\x01"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800a"',
        b'"\\ud800\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\udead":1}',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"1e999",
        b"1" * 10_000,
        b'"\\x00"',
    ],
)
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(NotJson):
        decode_json(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b' {"a" : [1, 2.5, true, null]} \n', {"a": [1, 2.5, True, None]}),
        (b'"\\u0000"', "\0"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"9223372036854775808", 2**63),
        (b"[]", []),
    ],
)
def test_what_is_json(text: bytes, value: Any) -> None:
    assert decode_json(text) == value
    assert decode_json(bytearray(text)) == value
    assert decode_json(memoryview(text)) == value


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass")))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        value = decode_json(text)
    except NotJson:
        return
    encode_canonical(value)
