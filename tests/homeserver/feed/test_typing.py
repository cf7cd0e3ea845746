# SPDX-License-Identifier: Apache-2.0
"""Who types where. spec: client-server-api, "Typing Notifications"."""

from __future__ import annotations

from twisted.internet.task import Clock

from homeserver.feed.typing import TypingNotifications
from homeserver.feed.typists import ADOPTED_SECONDS, Typists, announce_here
from storage.runtime.background import BackgroundTasks


def typing_at(seconds: float, *, limit: int = 10) -> tuple[TypingNotifications, Clock, list[int]]:
    clock = Clock()
    clock.advance(seconds)
    changed: list[int] = []
    return TypingNotifications(clock=clock, changed=changed.append, limit=limit), clock, changed


def typists_of(typing: TypingNotifications, clock: Clock) -> Typists:
    return Typists(typing=typing, announce=announce_here(typing), clock=clock, background=BackgroundTasks())


async def test_typing_ends_by_itself() -> None:
    typing, clock, changed = typing_at(1_000)
    typists = typists_of(typing, clock)
    start = typing.stamp
    await typists.start(1, "@a:b", 10)
    await typists.start(1, "@c:b", 30)
    assert typing.users(1) == ["@a:b", "@c:b"]
    assert typing.is_anybody([1, 2])
    assert not typing.is_anybody([2])
    clock.advance(5)
    await typists.start(1, "@a:b", 10)  # goes on: nothing new to tell
    assert changed == [1, 1]
    clock.advance(9)
    assert typing.users(1) == ["@a:b", "@c:b"]
    clock.advance(1)
    assert typing.users(1) == ["@c:b"]
    assert changed == [1, 1, 1]
    assert typing.rooms_since(start, [1, 2]) == [1]
    assert typing.rooms_since(typing.stamp, [1, 2]) == []
    await typists.stop(1, "@nobody:b")
    assert changed == [1, 1, 1]
    await typists.end()
    assert typing.users(1) == []
    assert changed == [1, 1, 1, 1]
    assert not clock.getDelayedCalls()
    assert not typing.is_anybody([1])


async def test_whoever_takes_a_room_over_times_those_who_type_there() -> None:
    typing, clock, _ = typing_at(1_000)
    before, after = typists_of(typing, clock), typists_of(typing, clock)
    await before.start(1, "@a:b", 10)
    await before.start(2, "@a:b", 10)
    before.adopt({2}.__contains__)
    after.adopt({1}.__contains__)
    clock.advance(10)
    assert typing.everybody() == [(1, "@a:b")]
    clock.advance(ADOPTED_SECONDS)
    assert typing.everybody() == []


def test_stamps_of_a_new_process_exceed_those_of_the_old_one() -> None:
    old, _, _ = typing_at(1_000)
    old.apply(1, "@a:b", True)
    new, _, _ = typing_at(1_001)
    assert new.stamp > old.stamp
    assert not new.remembers(old.stamp)
    assert new.remembers(new.stamp)
    assert old.remembers(old.stamp)


def test_stamps_are_positions_where_several_processes_serve() -> None:
    typing, _, changed = typing_at(1_000)
    alone = typing.stamp
    typing.begin_at(40)
    assert not typing.remembers(alone), "from when one process served alone"
    typing.apply(1, "@a:b", True, position=41)
    typing.apply(1, "@a:b", True, position=43)  # told twice: it is the later change that counts
    typing.apply(2, "@c:b", False, position=44)  # somebody of whom this process has not heard
    typing.reached(50)
    assert changed == [1, 1, 2]
    assert typing.rooms_since(42, [1, 2]) == [2, 1]
    assert typing.stamp == 50
    assert typing.remembers(41)
    assert not typing.remembers(40), "whoever typed then was known to another process"
    assert not typing.remembers(51)


def test_rooms_are_forgotten_where_there_are_too_many() -> None:
    typing, _, _ = typing_at(1_000, limit=2)
    start = typing.stamp
    for room in range(3):
        typing.apply(room, "@a:b", True)
    assert not typing.remembers(start)
    assert typing.rooms_since(start, range(3)) == [2, 1]
