# SPDX-License-Identifier: Apache-2.0
"""The state of rooms over time: branches, each a timeline of values by key. Branch 0 is the current state.

Every change is stored once. A value holds from one revision of its branch until before another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import attrs

from storage.engine.database import Transaction
from storage.engine.statement import INTEGER, Batch
from storage.event import StateAt
from storage.event_ids import unpack_event_id
from storage.state_records import (
    ALWAYS,
    MEMBERSHIPS,
    OPEN,
    EarlierChange,
    GivenRow,
    NewBranch,
    NewRevision,
    StateChange,
)

__all__ = [
    "ALWAYS",
    "MEMBERSHIPS",
    "OPEN",
    "BranchRows",
    "EarlierChange",
    "GivenRow",
    "NewBranch",
    "NewRevision",
    "Replacing",
    "Span",
    "StateChange",
    "StateRow",
    "States",
    "TimelineRow",
]

_DEPTH = itemgetter(0)
_EARLY = 4  # A state is early in the first so manieth part of its branch.

_SELECT_ROWS = (
    "SELECT s.type, s.state_key, s.event, e.event_id, s.membership"
    " FROM state_rows s LEFT JOIN events e ON e.event = s.event"
)
_CURRENT = (
    f"{_SELECT_ROWS} WHERE s.room = ? AND s.branch = 0 AND s.to_revision = {OPEN} AND s.event IS NOT NULL"
)
_CURRENT_OF_ROOMS = Batch(
    "SELECT s.room, s.type, s.state_key, s.event, s.membership FROM v JOIN state_rows s ON s.room = v.room"
    f" AND s.branch = 0 AND s.to_revision = {OPEN} WHERE s.event IS NOT NULL",
    columns={"room": INTEGER},
)
# The branches that a state lies over, from its own (depth 0) down to branch 0, each at its revision. Few
# values ended after a late revision, few began before an early one: the plus keeps the planner on the right
# index.
_AT_COLUMNS = "l.depth, l.room, l.of_branch, l.of_revision, s.type, s.state_key, s.event, s.membership"
_AT = Batch(
    "WITH RECURSIVE levels(room, of_branch, of_revision, branch, revision, depth) AS ("
    "SELECT v.room, v.branch, v.revision, v.branch, v.revision, 0 FROM v UNION ALL"
    " SELECT l.room, l.of_branch, l.of_revision, b.parent_branch, b.parent_revision, l.depth + 1"
    " FROM levels l JOIN state_branches b ON b.room = l.room AND b.branch = l.branch),"
    " halves AS (SELECT l.*, (SELECT max(x.from_revision) FROM state_rows x WHERE x.room = l.room"
    f" AND x.branch = l.branch) / {_EARLY} >= l.revision AS early FROM levels l)"
    f" SELECT {_AT_COLUMNS} FROM halves l JOIN state_rows s ON s.room = l.room AND s.branch = l.branch"
    " AND +s.from_revision <= l.revision AND s.to_revision > l.revision WHERE NOT l.early"
    f" UNION ALL SELECT {_AT_COLUMNS} FROM halves l JOIN state_rows s ON s.room = l.room"
    " AND s.branch = l.branch AND s.from_revision <= l.revision AND +s.to_revision > l.revision"
    " WHERE l.early",
    columns=dict.fromkeys(("room", "branch", "revision"), INTEGER),
)
# Of each key the last row that begins early enough: one look-up per level, however often it has changed.
# Rows are compared whole, so that no other index than the primary key's serves; what it finds may be of
# another key.
_VALUES = Batch(
    "WITH RECURSIVE levels(room, of_branch, of_revision, type, state_key, branch, revision, depth) AS ("
    "SELECT v.room, v.branch, v.revision, v.type, v.state_key, v.branch, v.revision, 0 FROM v UNION ALL"
    " SELECT l.room, l.of_branch, l.of_revision, l.type, l.state_key, b.parent_branch, b.parent_revision,"
    " l.depth + 1 FROM levels l JOIN state_branches b ON b.room = l.room AND b.branch = l.branch)"
    " SELECT l.depth, l.room, l.of_branch, l.of_revision, s.type, s.state_key, s.event, s.membership"
    " FROM levels l JOIN state_rows s ON s.room = l.room AND s.branch = l.branch AND s.type = l.type"
    " AND s.state_key = l.state_key AND s.from_revision = (SELECT x.from_revision FROM state_rows x"
    " WHERE (x.room, x.branch, x.type, x.state_key, x.from_revision)"
    " <= (l.room, l.branch, l.type, l.state_key, l.revision)"
    " ORDER BY x.room DESC, x.branch DESC, x.type DESC, x.state_key DESC, x.from_revision DESC LIMIT 1)"
    " WHERE +s.from_revision <= l.revision AND s.to_revision > l.revision",
    columns=dict.fromkeys(("room", "branch", "revision", "type", "state_key"), INTEGER),
)
_REVISIONS_AT = Batch(
    "SELECT v.room, v.position, (SELECT r.revision FROM state_revisions r WHERE r.room = v.room"
    " AND r.position <= v.position ORDER BY r.position DESC LIMIT 1) FROM v",
    columns={"room": INTEGER, "position": INTEGER},
)
_POSITIONS = Batch(
    "SELECT v.room, v.revision, r.position FROM v JOIN state_revisions r ON r.room = v.room"
    " AND r.revision = v.revision",
    columns={"room": INTEGER, "revision": INTEGER},
)
_KEY_HISTORIES = Batch(
    "SELECT s.room, s.state_key, s.from_revision, s.to_revision, s.event, s.membership FROM v"
    " JOIN state_rows s ON s.room = v.room AND s.branch = 0 AND s.type = v.type"
    " AND s.state_key = v.state_key",
    columns=dict.fromkeys(("room", "type", "state_key"), INTEGER),
)
_HEAD = "SELECT coalesce(max(revision), 0) FROM state_revisions WHERE room = ?"
_REVISION_AT = (
    "SELECT revision FROM state_revisions WHERE room = ? AND position <= ? ORDER BY position DESC LIMIT 1"
)
_CHANGES_OF_ROOMS = Batch(
    "SELECT s.room, r.position, s.from_revision, s.type, s.state_key, s.event, s.membership FROM v"
    " JOIN state_revisions r ON r.room = v.room AND r.position > v.after AND r.position <= v.upto"
    " JOIN state_rows s ON s.room = r.room AND s.branch = 0 AND s.from_revision = r.revision"
    " ORDER BY s.room, s.from_revision",
    columns={"room": INTEGER, "after": INTEGER, "upto": INTEGER},
)
_CHANGES = (
    f"{_SELECT_ROWS} WHERE s.room = ? AND s.branch = 0 AND s.from_revision > ? AND s.from_revision <= ?"
    " ORDER BY s.from_revision"
)


_EVENT_IDS = Batch(
    "SELECT e.event, e.event_id FROM v JOIN events e ON e.event = v.event", columns={"event": INTEGER}
)
_LAST_BRANCH = "SELECT coalesce(max(branch), 0) FROM state_branches WHERE room = ?"
_PARENT = "SELECT parent_branch, parent_revision FROM state_branches WHERE room = ? AND branch = ?"
_FIRST_START = "SELECT min(from_revision) FROM state_rows WHERE room = ? AND branch = ? AND from_revision > ?"
_FIRST_END = "SELECT min(to_revision) FROM state_rows WHERE room = ? AND branch = ? AND to_revision < ?"
_LAST_START = "SELECT max(from_revision) FROM state_rows WHERE room = ? AND branch = ?"
_SELECT_TIMELINE = (
    "SELECT s.type, s.state_key, s.from_revision, s.to_revision, s.event, e.event_id, s.membership"
    " FROM state_rows s LEFT JOIN events e ON e.event = s.event WHERE s.room = ? AND s.branch = ?"
)
_BEGUN_AFTER = f"{_SELECT_TIMELINE} AND s.from_revision > ?"
_ENDED_AFTER = (
    f"{_SELECT_TIMELINE} AND +s.from_revision <= ? AND s.to_revision > ? AND s.to_revision < {OPEN}"
)
_LAST_POSITIONS = (
    "SELECT r.room, (SELECT max(x.position) FROM state_revisions x WHERE x.room = r.room) FROM rooms r"
)


@attrs.frozen
class StateRow:
    """One key of a state: the numbers of its type and state key, and the event that is its value.

    `event` is None where the key was removed. `membership` is set for `m.room.member`.
    """

    type: int
    state_key: int
    event: int | None
    event_id: str | None
    membership: str | None


@attrs.frozen
class Span:
    """What a key of branch 0 was from revision `first` until before `end`; `event` None: it had no value."""

    first: int
    end: int
    event: int | None
    membership: str | None


@attrs.frozen
class TimelineRow:
    """What a key of a branch was from revision `first` (`ALWAYS`, too) until before `end` (`OPEN`, too).

    `event` None: it was removed.
    """

    type: int
    state_key: int
    first: int
    end: int
    event: int | None
    event_id: str | None
    membership: str | None


@attrs.frozen
class BranchRows:
    """A branch: the state that it lies over, None for branch 0, and the values on it, in no order."""

    parent: StateAt | None
    rows: list[TimelineRow]


@attrs.frozen
class Replacing:
    """A state event, its key, and the state before it: what is needed to find the event that it replaced."""

    event: int
    room: int
    type: int
    state_key: int
    before: StateAt


class States:
    """Reads states of rooms."""

    def head_txn(self, txn: Transaction, room: int) -> int:
        """The latest revision of branch 0; 0 before the first."""
        row = txn.row(_HEAD, (room,))
        return row[0] if row else 0

    def revision_at_txn(self, txn: Transaction, room: int, position: int) -> int:
        """The revision of branch 0 that held at `position`; 0 before the first."""
        row = txn.row(_REVISION_AT, (room, position))
        return row[0] if row else 0

    def last_positions_txn(self, txn: Transaction) -> dict[int, int]:
        """For every room that has a state, the position of its latest revision."""
        return {room: position for room, position in txn.rows(_LAST_POSITIONS) if position is not None}

    def last_branch_txn(self, txn: Transaction, room: int) -> int:
        """The highest number of a branch of the room; 0 where the current state is the only one."""
        row = txn.row(_LAST_BRANCH, (room,))
        return row[0] if row else 0

    def branch_head_txn(self, txn: Transaction, room: int, branch: int) -> int:
        """The latest revision of a branch; 0 where nothing has changed on it."""
        if branch == 0:
            return self.head_txn(txn, room)
        row = txn.row(_LAST_START, (room, branch))
        return 0 if row is None or row[0] is None else max(row[0], 0)

    def lowest_txn(self, txn: Transaction, room: int, branch: int) -> int:
        """The revision of a branch below which nothing is known: that before its first known change."""
        # Where a value of the state below is hidden, nothing begins: something only ends.
        changes = (
            *txn.rows(_FIRST_START, (room, branch, ALWAYS)),
            *txn.rows(_FIRST_END, (room, branch, OPEN)),
        )
        known = [revision for (revision,) in changes if revision is not None]
        return min(known) - 1 if known else self.branch_head_txn(txn, room, branch)

    def branch_txn(self, txn: Transaction, room: int, branch: int) -> BranchRows:
        """The whole branch; nothing where there is no such branch."""
        parent = txn.row(_PARENT, (room, branch))
        rows = txn.rows(_SELECT_TIMELINE, (room, branch))
        return BranchRows(None if parent is None else StateAt(*parent), [_timeline_row(row) for row in rows])

    def timeline_txn(self, txn: Transaction, room: int, after: int) -> list[TimelineRow]:
        """The values of branch 0 that began or ended after the revision `after`, in no order.

        With the current state they tell every state since then.
        """
        rows = txn.rows(_BEGUN_AFTER, (room, 0, after))
        rows += txn.rows(_ENDED_AFTER, (room, 0, after, after))
        return [_timeline_row(row) for row in rows]

    def current_txn(self, txn: Transaction, room: int) -> list[StateRow]:
        """The current state."""
        return _state_rows(txn.rows(_CURRENT, (room,)))

    def at_txn(self, txn: Transaction, room: int, state: StateAt) -> list[StateRow]:
        """The whole state of the room at `state`, which may be on any branch."""
        rows = self.at_each_txn(txn, [(room, state)])[room, state]
        packed: dict[int | None, bytes] = dict(txn.batch(_EVENT_IDS, [(row.event,) for row in rows]))
        return [
            StateRow(r.type, r.state_key, r.event, _event_id(packed.get(r.event)), r.membership) for r in rows
        ]

    def current_of_rooms_txn(self, txn: Transaction, rooms: Iterable[int]) -> dict[int, list[StateRow]]:
        """The current states of several rooms, by room; rows come without `event_id`."""
        found: dict[int, list[StateRow]] = {room: [] for room in rooms}
        for room, *row in txn.batch(_CURRENT_OF_ROOMS, [(room,) for room in found]):
            found[room].append(_bare_row(row))
        return found

    def at_each_txn(
        self, txn: Transaction, wanted: Iterable[tuple[int, StateAt]]
    ) -> dict[tuple[int, StateAt], list[StateRow]]:
        """Whole states, on any branch, by room and state; rows come without `event_id`."""
        asked = [(room, *state) for room, state in dict.fromkeys(wanted)]
        found: dict[tuple[int, StateAt], dict[tuple[int, int], tuple[Any, ...]]]
        found = {(room, StateAt(branch, revision)): {} for room, branch, revision in asked}
        for row in _nearest_last(txn.batch(_AT, asked)):
            found[row[1], (row[2], row[3])][row[4], row[5]] = row  # type: ignore[index]
        return {
            key: [_bare_row(row[4:]) for row in rows.values() if row[6] is not None]
            for key, rows in found.items()
        }

    def revisions_at_txn(
        self, txn: Transaction, wanted: Iterable[tuple[int, int]]
    ) -> dict[tuple[int, int], int]:
        """For each (room, position): the revision of branch 0 that held there; 0 before the first."""
        rows = txn.batch(_REVISIONS_AT, list(wanted))
        return {(room, position): revision or 0 for room, position, revision in rows}

    def positions_txn(
        self, txn: Transaction, wanted: Iterable[tuple[int, int]]
    ) -> dict[tuple[int, int], int]:
        """The position of each (room, revision) of branch 0; what is no revision is left out."""
        rows = txn.batch(_POSITIONS, list(wanted))
        return {(room, revision): position for room, revision, position in rows}

    def changes_of_rooms_txn(
        self, txn: Transaction, spans: Iterable[tuple[int, int, int]]
    ) -> dict[int, list[tuple[int, int, StateRow]]]:
        """For each (room, after, upto): what changed of branch 0 between these positions, in order, by room.

        Each change is its position, its revision and the row, which comes without `event_id`.
        """
        found: dict[int, list[tuple[int, int, StateRow]]] = {}
        for room, position, revision, *row in txn.batch(_CHANGES_OF_ROOMS, list(spans)):
            found.setdefault(room, []).append((position, revision, _bare_row(row)))
        return found

    def keys_at_txn(
        self, txn: Transaction, room: int, state: StateAt, keys: Iterable[tuple[int, int]]
    ) -> dict[tuple[int, int], StateRow]:
        """Those of `keys` (type, state key) that the state has; rows come without `event_id`."""
        found = self.keys_at_states_txn(txn, room, [(state, *key) for key in keys])
        return {(type_, state_key): row for (_, type_, state_key), row in found.items()}

    def keys_at_states_txn(
        self, txn: Transaction, room: int, wanted: Iterable[tuple[StateAt, int, int]]
    ) -> dict[tuple[StateAt, int, int], StateRow]:
        """For those of (state, type, state key) that have a value: it, without `event_id`.

        The states may be on any branches.
        """
        found = self.keys_of_rooms_txn(txn, [(room, *key) for key in wanted])
        return {(state, type_, state_key): row for (_, state, type_, state_key), row in found.items()}

    def keys_of_rooms_txn(
        self, txn: Transaction, wanted: Iterable[tuple[int, StateAt, int, int]]
    ) -> dict[tuple[int, StateAt, int, int], StateRow]:
        """As `keys_at_states_txn`, for keys (room, state, type, state key) of several rooms."""
        asked = {(room, *state, type_, state_key) for room, state, type_, state_key in wanted}
        rows = {row[1:6]: row for row in _nearest_last(txn.batch(_VALUES, list(asked)))}
        return {
            (room, StateAt(branch, revision), type_, state_key): _bare_row(row[4:])
            for (room, branch, revision, type_, state_key), row in rows.items()
            if row[6] is not None
        }

    def key_histories_txn(
        self, txn: Transaction, keys: Iterable[tuple[int, int, int]]
    ) -> dict[tuple[int, int], list[Span]]:
        """For each key (room, type, state key) its values on branch 0 in order, by (room, state key)."""
        histories: dict[tuple[int, int], list[Span]] = {}
        for room, state_key, first, end, event, membership in txn.batch(_KEY_HISTORIES, list(keys)):
            span = Span(first, end, event, _membership(membership))
            histories.setdefault((room, state_key), []).append(span)
        for spans in histories.values():
            spans.sort(key=lambda span: span.first)
        return histories

    def replaced_txn(self, txn: Transaction, events: Iterable[Replacing]) -> dict[int, int]:
        """For those of `events` that replaced another state event, its number."""
        keys = {e.event: (e.room, e.before, e.type, e.state_key) for e in events}
        found = self.keys_of_rooms_txn(txn, keys.values())
        replaced = ((event, found[key].event) for event, key in keys.items() if key in found)
        return {event: old for event, old in replaced if old is not None}

    def changes_txn(self, txn: Transaction, room: int, after: int, upto: int) -> list[StateRow]:
        """The values that keys of branch 0 took in revisions `after` < r <= `upto`, the last of each key."""
        last = {
            (row.type, row.state_key): row for row in _state_rows(txn.rows(_CHANGES, (room, after, upto)))
        }
        return list(last.values())


def _nearest_last(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of several levels such that what is nearest to the state overwrites what it lies over."""
    rows.sort(key=_DEPTH, reverse=True)
    return rows


def _timeline_row(row: tuple[Any, ...]) -> TimelineRow:
    type_, state_key, first, end, event, packed, membership = row
    return TimelineRow(type_, state_key, first, end, event, _event_id(packed), _membership(membership))


def _event_id(packed: bytes | None) -> str | None:
    return None if packed is None else unpack_event_id(packed)


def _membership(number: int | None) -> str | None:
    return None if number is None else MEMBERSHIPS[number]


def _bare_row(row: Sequence[Any]) -> StateRow:
    type_, state_key, event, membership = row
    return StateRow(type_, state_key, event, None, _membership(membership))


def _state_rows(rows: Sequence[tuple[Any, ...]]) -> list[StateRow]:
    return [
        StateRow(type_, state_key, event, _event_id(packed), _membership(m))
        for type_, state_key, event, packed, m in rows
    ]
