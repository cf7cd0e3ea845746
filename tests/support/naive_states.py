# SPDX-License-Identifier: Apache-2.0
"""States of one room by the records that make them, as plain as the contract says it; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from storage.event import StateAt
from storage.state_records import ALWAYS, GivenRow, NewBranch, NewRevision, StateChange

Key = tuple[int, int]


class NaiveStates:
    """What records of one room say. Raises AssertionError where they break the contract."""

    def __init__(self, records: Iterable[Any]) -> None:
        self.parents: dict[int, StateAt] = {}
        self.revisions: dict[int, int] = {}
        self._values: dict[int, dict[Key, list[tuple[int, int | None]]]] = {0: {}}
        for record in records:
            self._add(record)

    def _add(self, record: Any) -> None:
        if isinstance(record, NewBranch):
            assert record.branch not in self._values
            assert record.parent.branch in self._values
            self.parents[record.branch] = record.parent
            self._values[record.branch] = {}
        elif isinstance(record, NewRevision):
            self.revisions[record.revision] = record.index
        elif isinstance(record, GivenRow):
            self._begin(record, ALWAYS)
        else:
            assert isinstance(record, StateChange)
            assert record.revision > 0
            self._begin(record, record.revision)

    def _begin(self, record: GivenRow | StateChange, revision: int) -> None:
        values = self._values[record.branch].setdefault((record.type, record.state_key), [])
        assert not values or values[-1][0] < revision
        values.append((revision, record.event))

    def level(self, branch: int) -> int:
        """How many branches lie below this one."""
        return 0 if branch == 0 else 1 + self.level(self.parents[branch].branch)

    def at(self, state: StateAt) -> dict[Key, int]:
        """The whole state."""
        whole = {} if state.branch == 0 else self.at(self.parents[state.branch])
        for key, values in self._values[state.branch].items():
            held = [event for revision, event in values if revision <= state.revision]
            if held and held[-1] is None:
                whole.pop(key, None)
            elif held:
                whole[key] = held[-1]
        return whole
