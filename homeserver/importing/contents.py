# SPDX-License-Identifier: Apache-2.0
"""The contents that the state of a room has had, each once, in a tree of differences.

What differs between two of them costs as much as the changes on the way, however large the states are.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TypeAlias

Key: TypeAlias = tuple[int, int]
"""The numbers of a type and of a state key."""

Changes: TypeAlias = dict[Key, tuple[int | None, int | None]]
"""What each key was and what it becomes: the numbers of state events; None: it has no value."""

EMPTY = 0
"""The content without any key, the root of the tree."""


class Contents:
    """Contents by number.

    Two are equal when they hold the same events, since an event tells its key: a content's print is the
    exclusive or of random numbers of 128 bits, one for each of its events, so that nobody can aim at a clash.
    """

    def __init__(self) -> None:
        self._parents = [EMPTY]
        self._depths = [0]
        self._changes: list[Changes] = [{}]
        self._prints = [0]
        self._by_print = {0: EMPTY}
        self._bits: dict[int, int] = {}
        self._keys: dict[int, Key] = {}

    def changed(self, content: int, changes: Changes) -> int:
        """The content that `changes`, which are kept, make of `content`."""
        mark = self._prints[content]
        for old, new in changes.values():
            mark ^= self._bits_of(old) ^ self._bits_of(new)
        found = self._by_print.get(mark)
        if found is not None:
            return found
        self._keys.update((new, key) for key, (_, new) in changes.items() if new is not None)
        self._parents.append(content)
        self._depths.append(self._depths[content] + 1)
        self._changes.append(changes)
        self._prints.append(mark)
        self._by_print[mark] = number = len(self._prints) - 1
        return number

    def find(self, state: Mapping[Key, int]) -> int | None:
        """The content that is `state`, if it is there."""
        mark = 0
        for event in state.values():
            mark ^= self._bits_of(event)
        return self._by_print.get(mark)

    def may_have(self, key: Key, event: int) -> bool:
        """Whether `event` can be a value of `key`: it is not known as that of another."""
        return self._keys.get(event, key) == key

    def parent(self, content: int) -> int:
        """The content that this one was first seen as a change of; that of `EMPTY` is itself."""
        return self._parents[content]

    def value(self, content: int, key: Key) -> int | None:
        """The event that is the value of a key. Usually it is among the latest changes."""
        while content != EMPTY:
            change = self._changes[content].get(key)
            if change is not None:
                return change[1]
            content = self._parents[content]
        return None

    def is_one_change(self, before: int, after: int, key: Key, event: int) -> bool:
        """Whether the two differ in this alone, that the value of `key` became `event`."""
        rest = self._prints[before] ^ self._prints[after] ^ self._bits_of(event)
        return rest == 0 or rest == self._bits_of(self.value(before, key))

    def difference(self, one: int, other: int) -> Changes:
        """What must change to make `other` of `one`."""
        up, down = self._way(one, other)
        first: dict[Key, int | None] = {}
        last: dict[Key, int | None] = {}
        for content in up:
            for key, (old, new) in self._changes[content].items():
                first.setdefault(key, new)
                last[key] = old
        for content in reversed(down):
            for key, (old, new) in self._changes[content].items():
                first.setdefault(key, old)
                last[key] = new
        return {key: (first[key], new) for key, new in last.items() if first[key] != new}

    def _way(self, one: int, other: int) -> tuple[list[int], list[int]]:
        """The contents from each of the two up to where their ways meet, without that."""
        up, down = [], []
        while one != other:
            if self._depths[one] >= self._depths[other]:
                up.append(one)
                one = self._parents[one]
            else:
                down.append(other)
                other = self._parents[other]
        return up, down

    def _bits_of(self, event: int | None) -> int:
        if event is None:
            return 0
        bits = self._bits.get(event)
        if bits is None:
            bits = self._bits[event] = secrets.randbits(128)
        return bits
