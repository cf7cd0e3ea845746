# SPDX-License-Identifier: Apache-2.0
"""States of a room as whole dicts, and the records that make storage hold the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from storage.event import StateAt
from storage.state import (
    MEMBERSHIPS,
    EarlierChange,
    GivenRow,
    NewBranch,
    NewRevision,
    StateChange,
)

Key: TypeAlias = tuple[int, int]
Value: TypeAlias = tuple[int, str | None]
"""An event's number, and the membership where it is a member event."""

MEMBER = 1
"""The number of the type whose values have memberships."""

DEEPEST = 4


@attrs.define
class _Branch:
    depth: int
    lowest: int = 0
    head: int = 0


class StateModel:
    """The states of one room. Every method that changes something returns the records for it."""

    def __init__(self, room: int, keys: Sequence[Key], rng: random.Random) -> None:
        self.room = room
        self.keys = keys
        self.states: dict[StateAt, dict[Key, Value]] = {StateAt(0, 0): {}}
        self.branches: dict[int, _Branch] = {0: _Branch(depth=0)}
        self.positions: list[int] = []
        self._rng = rng
        self._event = 0

    def value(self, key: Key) -> Value:
        """A value that the key never had."""
        self._event += 1
        return self._event, self._rng.choice(MEMBERSHIPS) if key[0] == MEMBER else None

    def some_values(self, *, removing: bool) -> dict[Key, Value | None]:
        """New values of some keys; None removes one."""
        keys = self._rng.sample(self.keys, self._rng.randint(1, min(3, len(self.keys))))
        removed = [removing and self._rng.random() < 0.3 for _ in keys]
        return {key: None if gone else self.value(key) for key, gone in zip(keys, removed, strict=True)}

    def given(self, branch: int, values: dict[Key, Value | None]) -> list[Any]:
        """The values of a branch from outside, before anything has changed on it."""
        self.states[StateAt(branch, 0)] = _changed(self.states[StateAt(branch, 0)], values)
        return [GivenRow(self.room, branch, *key, *_row(value)) for key, value in values.items()]

    def change(self, branch: int, values: dict[Key, Value | None], index: int = 1) -> list[Any]:
        """The next revision of a branch, in which some keys change."""
        timeline = self.branches[branch]
        state = self.states[StateAt(branch, timeline.head)]
        timeline.head += 1
        self.states[StateAt(branch, timeline.head)] = _changed(state, values)
        records: list[Any] = [
            StateChange(self.room, branch, *key, timeline.head, *_row(value)) for key, value in values.items()
        ]
        if branch == 0:
            records.insert(0, NewRevision(self.room, timeline.head, index))
        return records

    def earlier(self, branch: int, values: dict[Key, Value | None]) -> list[Any]:
        """The state below the lowest of a branch, told by what these keys were in it."""
        timeline = self.branches[branch]
        revision = timeline.lowest
        state = self.states[StateAt(branch, revision)]
        assert any(state.get(key) != value for key, value in values.items())
        timeline.lowest -= 1
        self.states[StateAt(branch, timeline.lowest)] = _changed(state, values)
        return [
            EarlierChange(self.room, branch, *key, revision, *_row(value)) for key, value in values.items()
        ]

    def open(self, parent: StateAt) -> tuple[int, list[Any]]:
        """A new branch over a state."""
        branch = max(self.branches) + 1
        self.branches[branch] = _Branch(depth=self.branches[parent.branch].depth + 1)
        self.states[StateAt(branch, 0)] = self.states[parent]
        return branch, [NewBranch(self.room, branch, parent)]

    def step(self, *, index: int) -> list[Any]:
        """Something random that has to do with the graph of a room; at most one position is taken."""
        branch = self._rng.choice(list(self.branches))
        action = self._rng.choice(("change", "change", "change", "earlier", "earlier", "open"))
        if action == "open":
            parents = [state for state in self.states if self.branches[state.branch].depth < DEEPEST]
            branch, records = self.open(self._rng.choice(parents))
            if self._rng.random() < 0.5:
                records += self.given(branch, self.some_values(removing=True))
            if self._rng.random() < 0.5:
                records += self.change(branch, self.some_values(removing=True))
            return records
        if action == "earlier":
            key = self._rng.choice(self.keys)  # something does change
            return self.earlier(branch, {**self.some_values(removing=True), key: self.value(key)})
        return self.change(branch, self.some_values(removing=True), index)


def _row(value: Value | None) -> tuple[int | None, str | None]:
    return (None, None) if value is None else value


def _changed(state: dict[Key, Value], values: dict[Key, Value | None]) -> dict[Key, Value]:
    merged = {**state, **values}
    return {key: value for key, value in merged.items() if value is not None}
