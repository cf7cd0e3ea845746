# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.push.rules.glob import LONGEST_WORDS, SEARCH_LIMIT, compile_glob, contains_words, fold


def whole(pattern: str, text: str) -> bool:
    return compile_glob(pattern).matches(fold(text))


def words(pattern: str, text: str) -> bool:
    return compile_glob(pattern).matches_words(fold(text))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("lunc?*", "Lunch plans", True),
        ("lunc?*", "LUNCH", True),
        ("lunc?*", " lunch", False),
        ("lunc?*", "lunc", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("?", "", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*", "abc", True),
        ("*b*b*", "abc", False),
        ("a*b*c", "a\nb\nc", True),
        ("a?c", "a\nc", True),
        ("m.room.*", "m.room.member", True),
        ("m.room.*", "mxroom.member", False),
        ("[a-z]", "b", False),
        ("[a-z]", "[A-Z]", True),
        ("gro\u00df", "GRO\u00df", True),
        ("\u03a3\u03a4\u03a3", "\u03c3\u03c4\u03c2", True),
        ("stra?e", "Stra\u00dfe", True),
        ("k", "\N{KELVIN SIGN}", False),
    ],
)
def test_whole_value(pattern: str, text: str, expected: bool) -> None:
    assert whole(pattern, text) is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("ex*ple", "complex triple", False),
        ("ex*ple", "examples", False),
        ("cake*lie", "the cake is a lie", True),
        ("tea", "It's tea time", True),
        ("tea", "TEA", True),
        ("tea", "steam, tea", True),
        ("tea", "team", False),
        ("tea", "tea_time", False),
        ("tea", "tea-time", True),
        ("tea", "\u00e9tea\u00e9", True),
        ("@room", "hey @room!", True),
        ("t?a", "a tea", True),
        ("t?a", "a teak", False),
        ("?", "ab", False),
        ("?", "a b", True),
        ("*", "anything", True),
        ("tea*", "steam tea", True),
        ("tea*", "steam", False),
        ("*tea", "steam", False),
        ("*tea", "a tea pot", True),
        ("", "a", False),
        ("", "", True),
    ],
)
def test_words_of_a_body(pattern: str, text: str, expected: bool) -> None:
    assert words(pattern, text) is expected


def reference(pattern: str) -> str:
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)


patterns = st.text(alphabet="ab_ *?", max_size=6)
texts = st.text(alphabet="ab_ \n", max_size=10)


@given(patterns, texts)
def test_whole_value_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    assert whole(pattern, text) is bool(re.fullmatch(reference(pattern), text, re.DOTALL))


@given(patterns.filter(bool), texts)
def test_words_agree_with_a_regular_expression(pattern: str, text: str) -> None:
    boundary = r"(?:(?<![A-Za-z0-9_])|(?![A-Za-z0-9_]))"

    assert words(pattern, text) is bool(re.search(boundary + reference(pattern) + boundary, text, re.DOTALL))


@given(st.text())
def test_folding_keeps_lengths_and_boundaries(text: str) -> None:
    folded = fold(text)

    assert len(folded) == len(text)
    assert fold(folded) == folded
    assert [c.isascii() for c in folded] == [c.isascii() for c in text]


def test_hostile_patterns_take_no_time() -> None:
    text = "a" * 65_000
    started = time.process_time()

    for pattern in ("*a" * 120 + "b", "a*" * 120 + "b?", "*" * 1000 + "b", "?a" * 60 + "b", "a" * 500 + "b"):
        assert not whole(pattern, text)
        assert not words(pattern, text)

    assert time.process_time() - started < 2


def test_search_ends_at_the_limit() -> None:
    text = "x " * SEARCH_LIMIT + "tea"

    assert not words("tea", text)
    assert whole("x*tea", text)


def test_literal_words() -> None:
    longest = "a" * LONGEST_WORDS

    assert contains_words("who is *? he said", "*?")
    assert contains_words(f"so {longest}!", longest)
    assert not contains_words(longest + "a", longest + "a")
    assert not contains_words("", "")
