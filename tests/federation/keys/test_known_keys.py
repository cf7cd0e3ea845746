# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from federation.keys.key_documents import KeyDocument
from federation.keys.known_keys import MOST_KEPT, KnownKeys, learn
from federation.rules.key_validity import PublishedKey


def key(until: int, fill: bytes = b"k") -> PublishedKey:
    return PublishedKey(fill * 32, until)


KNOWN = KnownKeys(100, {"a": key(100), "old": key(5)})


@pytest.mark.parametrize(
    ("wanted", "serves"),
    [
        ({}, True),
        ({"a": 100}, True),
        ({"a": 101}, False),
        ({"a": None}, True),
        ({"old": None, "a": 1}, True),
        ({"old": 6}, False),
        ({"b": None}, False),
    ],
)
def test_what_is_good_enough(wanted: dict[str, int | None], serves: bool) -> None:
    assert KNOWN.serves(wanted) is serves


@pytest.mark.parametrize(
    ("until", "direct", "expected"),
    [
        (200, False, {"a": key(50), "old": key(5), "b": key(200)}),
        (90, True, {"a": key(50), "old": key(5), "b": key(90)}),
        (90, False, {"a": key(100), "old": key(5), "b": key(90)}),
    ],
)
def test_an_older_answer_changes_nothing_that_is_known(
    until: int, direct: bool, expected: dict[str, PublishedKey]
) -> None:
    document = KeyDocument("s", until, {"a": key(50), "b": key(until)}, b"")
    learned = learn(KNOWN, document, direct=direct)
    assert learned.known.keys == expected
    assert {**KNOWN.keys, **learned.changed} == expected
    assert learned.is_latest is (direct or until == 200)


def test_keys_that_counted_longest_ago_are_forgotten() -> None:
    many = KnownKeys(10, {f"k{n}": key(n) for n in range(MOST_KEPT)})
    learned = learn(many, KeyDocument("s", 20, {"new": key(0), "k0": key(0)}, b""), direct=True)
    assert len(learned.known.keys) == MOST_KEPT
    assert learned.forgotten == {"k1"}
    assert {"new", "k0"} <= learned.known.keys.keys()
