# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.backoff import FIRST_INTERVAL, LONGEST_INTERVAL, after_failure, is_due
from storage.destinations import Retry

NOW = 1_700_000_000_000
CHANCES = st.floats(0, 1, exclude_max=True)


def test_each_failure_doubles_the_wait_up_to_an_hour() -> None:
    retry, now, waits = None, NOW, []
    for _ in range(13):
        retry = after_failure(retry, now, chance=0)
        waits.append((retry.next_try - now) // 1000)
        now = retry.next_try
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]
    assert retry is not None
    assert retry.failing_since == NOW


@pytest.mark.parametrize(
    ("next_try", "due"),
    [(NOW - 1, True), (NOW, True), (NOW + 1, False), (NOW + 3_600_000, False), (NOW + 3_600_001, True)],
    ids=["past", "now", "soon", "in an hour", "the clock was put back"],
)
def test_when_a_server_is_tried(next_try: int, due: bool) -> None:
    assert is_due(Retry(NOW - 10_000, next_try, 5_000), NOW) == due


def test_one_that_can_be_reached_is_always_tried() -> None:
    assert is_due(None, NOW)


def test_of_tries_that_fail_together_the_first_counts() -> None:
    first = after_failure(None, NOW, chance=0)
    assert after_failure(first, NOW + 4_999, chance=0) is first
    assert after_failure(first, NOW + 5_000, chance=0) == Retry(NOW, NOW + 15_000, 10_000)


def test_a_clock_that_was_put_back_puts_the_beginning_back() -> None:
    later = after_failure(Retry(NOW, NOW + 7_200_000, 5_000), NOW - 60_000, chance=0)
    assert later == Retry(NOW - 60_000, NOW - 50_000, 10_000)


@given(failures=st.integers(1, 40), chances=st.lists(CHANCES, min_size=40, max_size=40))
def test_no_wait_is_beyond_the_bounds(failures: int, chances: list[float]) -> None:
    retry, now = None, NOW
    for chance in chances[:failures]:
        before, retry = retry, after_failure(retry, now, chance=chance)
        wait = retry.next_try - now
        assert 0.8 * FIRST_INTERVAL <= wait <= LONGEST_INTERVAL
        assert 0.8 * retry.interval <= wait <= retry.interval
        assert before is None or retry.interval >= before.interval
        now = retry.next_try
    assert retry is not None
    assert is_due(retry, now)
