# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time

import pytest

from storage.engine.warm_queue import WarmQueue


def until_idle(queue: WarmQueue[int], threads: int) -> None:
    """Return once so many threads wait, in ten seconds at most."""
    deadline = time.monotonic() + 10
    while len(queue._idle) < threads:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def queue() -> WarmQueue[int]:
    return WarmQueue()


class Taker:
    """A thread that takes one item."""

    def __init__(self, queue: WarmQueue[int]) -> None:
        self.taken: list[int] = []
        self._thread = threading.Thread(target=lambda: self.taken.append(queue.get()))
        self._thread.start()

    def end(self) -> list[int]:
        self._thread.join(10)
        return self.taken


def waiting(queue: WarmQueue[int], count: int) -> list[Taker]:
    """Threads that wait, the one that has waited longest first."""
    takers = []
    for number in range(1, count + 1):
        takers.append(Taker(queue))
        until_idle(queue, number)
    return takers


def test_the_thread_that_has_waited_shortest_is_next(queue: WarmQueue[int]) -> None:
    first, second, third = waiting(queue, 3)
    queue.put(1)
    assert third.end() == [1]
    assert first.taken == second.taken == []
    queue.put(2)
    assert second.end() == [2]
    queue.put(3)
    assert first.end() == [3]


def test_items_wait_in_their_order(queue: WarmQueue[int]) -> None:
    for number in range(3):
        queue.put(number)
    assert len(queue) == 3
    assert [queue.get() for _ in range(3)] == [0, 1, 2]
    assert len(queue) == 0


def test_what_was_taken_back_is_not_given_out(queue: WarmQueue[int]) -> None:
    queue.put(1)
    queue.put(2)
    assert queue.take_all() == [1, 2]
    assert queue.take_all() == []
    (taker,) = waiting(queue, 1)
    queue.put(3)
    assert taker.end() == [3]


def test_nothing_is_lost_or_given_twice_between_many_threads(queue: WarmQueue[int]) -> None:
    taken: list[list[int]] = [[] for _ in range(4)]

    def take(mine: list[int]) -> None:
        while (item := queue.get()) >= 0:
            mine.append(item)

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for number in range(5_000):
        queue.put(number)
        if number % 100 == 0:
            time.sleep(0)
    for _ in threads:
        queue.put(-1)
    for thread in threads:
        thread.join(30)
    assert sorted(number for mine in taken for number in mine) == list(range(5_000))
    assert all(mine == sorted(mine) for mine in taken)
