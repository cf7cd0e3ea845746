# SPDX-License-Identifier: Apache-2.0
"""Rings of the latest events, and where the latest change of each room stands."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from homeserver.feed.room_changes import RecentEvents, RoomChanges, placed
from storage.events import Placed


def numbers(events: Sequence[Placed] | None) -> list[int] | None:
    return None if events is None else [event.number for event in events]


def appended(recent: RecentEvents, room: int, *positions: int, before: int = 0) -> None:
    for position in positions:
        recent.appended(room, placed(position, position, position), before=before)
        before = position


def test_what_came_since_the_first_event() -> None:
    recent = RecentEvents(depth=3)
    assert recent.between(1, after=0, upto=100, limit=5) is None
    appended(recent, 1, 5, 7, before=4)
    assert numbers(recent.between(1, after=4, upto=100, limit=5)) == [7, 5]
    assert numbers(recent.between(1, after=3, upto=100, limit=5)) is None
    assert numbers(recent.between(1, after=3, upto=100, limit=2)) == [7, 5]
    assert numbers(recent.between(1, after=5, upto=6, limit=5)) == []
    appended(recent, 1, 8, 9, before=7)
    assert numbers(recent.between(1, after=4, upto=100, limit=5)) is None
    assert numbers(recent.between(1, after=5, upto=8, limit=5)) == [8, 7]


def test_what_was_read() -> None:
    recent = RecentEvents(depth=4)
    read = [placed(n, n, n) for n in (6, 4)]
    recent.learn(1, read, floor=3, upto=6, last=7)  # something happened meanwhile
    assert recent.between(1, after=5, upto=6, limit=1) is None
    recent.learn(1, read, floor=3, upto=6, last=6)
    assert numbers(recent.between(1, after=3, upto=9, limit=5)) == [6, 4]
    assert recent.between(1, after=2, upto=9, limit=5) is None
    appended(recent, 1, 9, before=6)
    assert numbers(recent.between(1, after=3, upto=9, limit=5)) == [9, 6, 4]
    recent.learn(1, [placed(6, 6, 6), placed(4, 4, 4), placed(2, 2, 2)], floor=0, upto=6, last=9)
    assert numbers(recent.between(1, after=0, upto=9, limit=5)) == [9, 6, 4, 2]
    recent.learn(1, [], floor=0, upto=1, last=9)
    assert numbers(recent.between(1, after=0, upto=9, limit=5)) == [9, 6, 4, 2]


@pytest.mark.parametrize("seed", range(20))
def test_memory_never_tells_anything_else_than_the_database(seed: int) -> None:
    rng = random.Random(seed)
    recent = RecentEvents(depth=4, limit=3)
    stored: dict[int, list[int]] = {room: [] for room in range(5)}
    position = 0

    def latest(room: int, after: int, upto: int, limit: int) -> list[int]:
        return [p for p in reversed(stored[room]) if after < p <= upto][:limit]

    for _ in range(400):
        room, after, limit = rng.randrange(5), rng.randrange(position + 1), rng.randrange(1, 6)
        upto = rng.choice((position, rng.randrange(position + 1)))
        if rng.random() < 0.4:
            position += rng.randrange(1, 3)
            before = stored[room][-1] if stored[room] else 0
            stored[room].append(position)
            recent.appended(room, placed(position, position, position), before=before)
            continue
        found = numbers(recent.between(room, after=after, upto=upto, limit=limit))
        wanted = latest(room, after, upto, limit)
        if found is None:
            floor = after if len(wanted) < limit else wanted[-1] - 1
            last = stored[room][-1] if stored[room] else 0
            recent.learn(room, [placed(p, p, p) for p in wanted], floor=floor, upto=upto, last=last)
        else:
            assert found == wanted


def test_rooms_that_changed() -> None:
    rooms = RoomChanges()
    rooms.fill({1: 5, 2: 3, 3: 9})
    rooms.changed(2, 10)
    assert rooms.last(2) == 10
    assert rooms.last(7) == 0
    assert sorted(rooms.since(4, {1, 2, 3, 7})) == [1, 2, 3]
    assert rooms.since(9, {1, 2, 3}) == [2]
    assert rooms.since(10, {1, 2, 3}) == []
    assert rooms.since(0, {1}) == [1]
