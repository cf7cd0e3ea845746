# SPDX-License-Identifier: Apache-2.0
"""Who types where. spec: client-server-api, "Typing Notifications"."""

from __future__ import annotations

from twisted.internet.task import Clock

from homeserver.feed.typing import TypingNotifications


def typing_at(seconds: float, *, limit: int = 10) -> tuple[TypingNotifications, Clock, list[int]]:
    clock = Clock()
    clock.advance(seconds)
    changed: list[int] = []
    return TypingNotifications(clock=clock, changed=changed.append, limit=limit), clock, changed


def test_typing_ends_by_itself() -> None:
    typing, clock, changed = typing_at(1_000)
    start = typing.stamp
    typing.start(1, "@a:b", 10)
    typing.start(1, "@c:b", 30)
    assert typing.users(1) == ["@a:b", "@c:b"]
    assert typing.is_anybody([1, 2])
    assert not typing.is_anybody([2])
    clock.advance(5)
    typing.start(1, "@a:b", 10)  # goes on: nothing new to tell
    assert changed == [1, 1]
    clock.advance(9)
    assert typing.users(1) == ["@a:b", "@c:b"]
    clock.advance(1)
    assert typing.users(1) == ["@c:b"]
    assert changed == [1, 1, 1]
    assert typing.rooms_since(start, [1, 2]) == [1]
    assert typing.rooms_since(typing.stamp, [1, 2]) == []
    typing.stop(1, "@nobody:b")
    assert changed == [1, 1, 1]
    typing.close()
    assert typing.users(1) == []
    assert changed == [1, 1, 1, 1]
    assert not clock.getDelayedCalls()
    assert not typing.is_anybody([1])


def test_stamps_of_a_new_process_exceed_those_of_the_old_one() -> None:
    old, _, _ = typing_at(1_000)
    old.start(1, "@a:b", 10)
    new, _, _ = typing_at(1_001)
    assert new.stamp > old.stamp
    assert not new.remembers(old.stamp)
    assert new.remembers(new.stamp)
    assert old.remembers(old.stamp)


def test_rooms_are_forgotten_where_there_are_too_many() -> None:
    typing, _, _ = typing_at(1_000, limit=2)
    start = typing.stamp
    for room in range(3):
        typing.start(room, "@a:b", 10)
    assert not typing.remembers(start)
    assert typing.rooms_since(start, range(3)) == [2, 1]
