# SPDX-License-Identifier: Apache-2.0
"""Counts of one user out of a room's lines and their reading, and what memory may forget."""

from __future__ import annotations

import pytest

from homeserver.push.lines import Line
from homeserver.push.reading import Reading, RoomLines
from homeserver.push.unread import RoomUnread
from storage.notification_counts import LATEST_THREADS
from storage.notification_exceptions import NotificationException
from storage.threads import EVERY_THREAD, MAIN, NO_COUNTS, CountsAt


def mention(position: int, thread: str = MAIN) -> NotificationException:
    return NotificationException(1, 1, thread, notify=0, highlight=1, position=position)


def reading(floor: int = 10, as_of: int = 20) -> Reading:
    return Reading.of(as_of, {EVERY_THREAD: CountsAt(floor, 3, 0)}, [])


def test_a_line_remembers_its_latest_steps() -> None:
    line = Line([NO_COUNTS])
    for i in range(1, 201):
        line.advance(CountsAt(i * 10, i, 0))
    assert line.now == CountsAt(2000, 200, 0)
    assert line.at(1999) == CountsAt(1990, 199, 0)
    assert line.at(2005) == line.now
    assert line.at(15) is None


@pytest.mark.parametrize("counts", [CountsAt(20, 5, 0), CountsAt(10, 5, 0), CountsAt(30, 4, 0)])
def test_a_line_does_not_go_back_and_minds_only_what_counts(counts: CountsAt) -> None:
    line = Line([CountsAt(20, 4, 0)])
    line.advance(counts)
    assert line.now == CountsAt(20, 4, 0)


def test_an_exception_that_the_look_has_seen_is_not_added_again() -> None:
    mine = reading(as_of=20)
    for position in (19, 20, 21):
        mine.add(mention(position))
    assert mine.unread(RoomLines(CountsAt(21, 5, 0), {})) == RoomUnread(2, 1)


def test_a_thread_is_counted_from_where_the_room_was_read_last() -> None:
    lines = RoomLines(CountsAt(10, 3, 0), {})
    mine = reading()
    lines.advance("$root", CountsAt(21, 1, 0))
    lines.advance("$root", CountsAt(22, 2, 1))
    assert mine.unread(lines) == RoomUnread(threads={"$root": (2, 1)})
    mine.read(EVERY_THREAD, CountsAt(21, 3, 0))
    assert mine.unread(lines) == RoomUnread(threads={"$root": (1, 1)})
    mine.read("$root", CountsAt(22, 2, 1))
    lines.advance("$root", CountsAt(23, 3, 1))
    assert mine.unread(lines) == RoomUnread(threads={"$root": (1, 0)})
    mine.read(EVERY_THREAD, CountsAt(23, 3, 0))
    assert mine.unread(lines) == RoomUnread()


def test_counts_that_memory_lacks_are_asked_for() -> None:
    lines = RoomLines(CountsAt(10, 3, 0), {"$old": CountsAt(5, 7, 0), "$root": CountsAt(15, 7, 0)})
    mine = reading()
    assert mine.unread(lines) == ["$root"]
    mine.bases["$root"] = CountsAt(9, 6, 0)
    assert mine.unread(lines) == RoomUnread(threads={"$root": (1, 0)})


def test_a_thread_that_was_forgotten_is_not_taken_for_a_new_one() -> None:
    known = {f"$thread{i}": CountsAt(i, 1, 0) for i in range(11, 11 + LATEST_THREADS)}
    lines = RoomLines(CountsAt(10, 3, 0), known)
    lines.advance("$forgotten", CountsAt(5000, 9, 0))
    assert len(lines.threads) == LATEST_THREADS
    missing = reading().unread(lines)
    assert isinstance(missing, list)
    assert missing[0] == "$forgotten"
    assert "$thread11" not in missing


def test_nobody_owes_a_negative_count() -> None:
    mine = Reading.of(20, {EVERY_THREAD: CountsAt(10, 9, 9), "$root": CountsAt(11, 50, 0)}, [])
    lines = RoomLines(CountsAt(12, 8, 8), {})
    lines.advance("$root", CountsAt(21, 1, 0))
    assert mine.unread(lines) == RoomUnread()
