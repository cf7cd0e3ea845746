# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from federation.keys.pauses import Pauses


def test_whoever_fails_is_left_alone_ever_longer() -> None:
    pauses = Pauses(after_success=5, shortest=10, longest=35)
    now, lengths = 1000.0, []
    assert pauses.lets_ask("a", now)
    for _ in range(4):
        pauses.failed("a", now)
        length = next(n for n in range(100) if pauses.lets_ask("a", now + n))
        lengths.append(length)
        now += length
    assert lengths == [10, 20, 35, 35]
    assert pauses.lets_ask("b", now)


def test_a_success_ends_it() -> None:
    pauses = Pauses(after_success=5, shortest=10, longest=35)
    pauses.failed("a", 0)
    pauses.succeeded("a", 10)
    assert not pauses.lets_ask("a", 14)
    assert pauses.lets_ask("a", 15)
    pauses.failed("a", 15)
    assert pauses.lets_ask("a", 25)


def test_a_clock_that_is_set_back_does_not_prolong_it() -> None:
    pauses = Pauses(after_success=5, shortest=10, longest=35)
    pauses.failed("a", 1000)
    assert pauses.lets_ask("a", 900)
