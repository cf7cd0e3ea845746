# SPDX-License-Identifier: Apache-2.0
"""What is written of the states of rooms: branches, and the values that their keys take.

A batch may hold several records of one key; they become rows in memory, and each kind of statement runs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from storage.engine.statement import INTEGER, Batch
from storage.event import StateAt
from storage.writing import Indexed, Writing, each, each_positioned

OPEN = 2**62
"""The end of a value that still holds."""

ALWAYS = -(2**62)
"""The beginning of a value that held before anything that is known."""

MEMBERSHIPS = ("leave", "join", "invite", "ban", "knock")
"""What the column `membership` counts."""

_KEY_COLUMNS = ("room", "branch", "type", "state_key")
_ROW_COLUMNS = (*_KEY_COLUMNS, "from_revision", "to_revision", "event", "membership")
_INSERT_BRANCH = Batch(
    "INSERT INTO state_branches (room, branch, parent_branch, parent_revision)"
    " SELECT room, branch, parent_branch, parent_revision FROM v",
    columns=dict.fromkeys(("room", "branch", "parent_branch", "parent_revision"), INTEGER),
)
_CLOSE = Batch(
    "UPDATE state_rows SET to_revision = v.revision FROM v WHERE state_rows.room = v.room"
    " AND state_rows.branch = v.branch AND state_rows.type = v.type AND state_rows.state_key = v.state_key"
    f" AND state_rows.to_revision = {OPEN}",
    columns=dict.fromkeys((*_KEY_COLUMNS, "revision"), INTEGER),
)
_BEGIN_LATER = Batch(
    "UPDATE state_rows SET from_revision = v.revision FROM v WHERE state_rows.room = v.room"
    " AND state_rows.branch = v.branch AND state_rows.type = v.type AND state_rows.state_key = v.state_key"
    f" AND state_rows.from_revision = {ALWAYS}",
    columns=dict.fromkeys((*_KEY_COLUMNS, "revision"), INTEGER),
)
_INSERT = Batch(
    f"INSERT INTO state_rows ({', '.join(_ROW_COLUMNS)}) SELECT {', '.join(_ROW_COLUMNS)} FROM v",
    columns=dict.fromkeys(_ROW_COLUMNS, INTEGER),
)
_INSERT_REVISION = Batch(
    "INSERT INTO state_revisions (room, revision, position)"
    " SELECT v.room, v.revision, base.value + v.i FROM base, v",
    columns=dict.fromkeys(("i", "room", "revision"), INTEGER),
)


@attrs.frozen
class NewBranch:
    """A branch that lies over the state `parent`: a key without a value on it has the one there."""

    room: int
    branch: int
    parent: StateAt


@attrs.frozen
class StateChange:
    """A key of a branch takes another value at `revision`; `event` None: the key is removed.

    The changes of a key come in ascending revisions.
    """

    room: int
    branch: int
    type: int
    state_key: int
    revision: int
    event: int | None
    membership: str | None = None


@attrs.frozen
class GivenRow:
    """A value of a state that was given from outside: it holds since before anything that is known.

    The key has no value on the branch yet; changes of it may follow in the same unit.
    """

    room: int
    branch: int
    type: int
    state_key: int
    event: int | None
    membership: str | None = None


@attrs.frozen
class EarlierChange:
    """It is learnt that a key of a branch changed at `revision`, which lies below all that was known.

    `event` and `membership` are the value that the key had before; None: it had none. The earlier changes
    of a key come in descending revisions.
    """

    room: int
    branch: int
    type: int
    state_key: int
    revision: int
    event: int | None
    membership: str | None = None


@attrs.frozen
class NewRevision:
    """A revision of branch 0; `index` gives its position."""

    room: int
    revision: int
    index: int


_Change: TypeAlias = StateChange | GivenRow | EarlierChange


@attrs.define
class _Timeline:
    """What a batch says of one key of a branch."""

    given: GivenRow | None = None
    later: list[StateChange] = attrs.field(factory=list)
    earlier: list[EarlierChange] = attrs.field(factory=list)

    def add(self, record: _Change) -> None:
        if isinstance(record, StateChange):
            self.later.append(record)
        elif isinstance(record, EarlierChange):
            self.earlier.append(record)
        else:
            self.given = record

    def rows(self) -> list[tuple[int, int, _Change]]:
        """Each new value with the revisions from which and until before which it holds."""
        later = [change.revision for change in self.later]
        if not self.given and not self.earlier:
            return _in_a_row(later, self.later, OPEN)
        below = self.earlier[::-1]
        starts = [ALWAYS, *(change.revision for change in below)]
        if self.given:
            return _in_a_row([*starts, *later], [*below, self.given, *self.later], OPEN)
        return _in_a_row(starts[:-1], below, starts[-1]) + _in_a_row(later, self.later, OPEN)


def _in_a_row(starts: Sequence[int], values: Sequence[_Change], end: int) -> list[tuple[int, int, _Change]]:
    """Values of which each holds until the next begins, the last until before `end`."""
    return list(zip(starts, [*starts[1:], end], values, strict=True)) if values else []


def _timelines(records: Sequence[Indexed[_Change]]) -> dict[tuple[int, ...], _Timeline]:
    timelines: dict[tuple[int, ...], _Timeline] = {}
    for _, record in records:
        key = (record.room, record.branch, record.type, record.state_key)
        timeline = timelines.get(key)
        if timeline is None:
            timeline = timelines[key] = _Timeline()
        timeline.add(record)
    return timelines


def _closed(records: Sequence[Indexed[_Change]]) -> list[tuple[Any, ...]]:
    return [
        (*key, timeline.later[0].revision)
        for key, timeline in _timelines(records).items()
        if timeline.later and not timeline.given
    ]


def _begun_later(records: Sequence[Indexed[_Change]]) -> list[tuple[Any, ...]]:
    return [
        (*key, timeline.earlier[0].revision)
        for key, timeline in _timelines(records).items()
        if timeline.earlier and not timeline.given
    ]


def _inserted(records: Sequence[Indexed[_Change]]) -> list[tuple[Any, ...]]:
    return [
        (*key, start, end, record.event, _number(record.membership))
        for key, timeline in _timelines(records).items()
        for start, end, record in timeline.rows()
        if not _is_needless(record)
    ]


def _is_needless(record: _Change) -> bool:
    """Whether the row would say what its absence says: below branch 0 there is nothing to hide."""
    return isinstance(record, EarlierChange) and record.branch == 0 and record.event is None


def _number(membership: str | None) -> int | None:
    return None if membership is None else MEMBERSHIPS.index(membership)


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(
        NewBranch,
        _INSERT_BRANCH,
        each(lambda r: (r.room, r.branch, r.parent.branch, r.parent.revision)),
    ),
    Writing(StateChange, _CLOSE, _closed, also=(GivenRow,)),
    Writing(EarlierChange, _BEGIN_LATER, _begun_later, also=(GivenRow,)),
    Writing(StateChange, _INSERT, _inserted, also=(GivenRow, EarlierChange)),
    Writing(
        NewRevision, _INSERT_REVISION, each_positioned(lambda i, r: (i, r.room, r.revision)), positioned=True
    ),
)
