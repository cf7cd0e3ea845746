# SPDX-License-Identifier: Apache-2.0
"""The state of rooms over time: branches, each a timeline of values by key. Branch 0 is the current state.

Every change is stored once. A value holds from one revision of its branch until before another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    "EarlierChange",
    "GivenRow",
    "NewBranch",
    "NewRevision",
    "Replacing",
    "Span",
    "StateChange",
    "StateRow",
    "States",
]

_SELECT_ROWS = (
    "SELECT s.type, s.state_key, s.event, e.event_id, s.membership"
    " FROM state_rows s LEFT JOIN events e ON e.event = s.event"
)
_CURRENT = f"{_SELECT_ROWS} WHERE s.room = ? AND s.branch = 0 AND s.to_revision = {OPEN}"
# The plus keeps the planner on the index by end: few values ended after a late revision.
_AT = f"{_SELECT_ROWS} WHERE s.room = ? AND s.branch = ? AND +s.from_revision <= ? AND s.to_revision > ?"
_CURRENT_OF_ROOMS = Batch(
    "SELECT s.room, s.type, s.state_key, s.event, s.membership FROM v JOIN state_rows s ON s.room = v.room"
    f" AND s.branch = 0 AND s.to_revision = {OPEN} WHERE s.event IS NOT NULL",
    columns={"room": INTEGER},
)
_AT_OF_ROOMS = Batch(
    "SELECT s.room, s.type, s.state_key, s.event, s.membership FROM v JOIN state_rows s ON s.room = v.room"
    " AND s.branch = 0 AND +s.from_revision <= v.revision AND s.to_revision > v.revision"
    " WHERE s.event IS NOT NULL",
    columns={"room": INTEGER, "revision": INTEGER},
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
_KEYS_AT = Batch(
    "SELECT s.type, s.state_key, s.event, s.membership, v.revision FROM v JOIN state_rows s"
    " ON s.room = v.room AND s.branch = v.branch AND s.type = v.type AND s.state_key = v.state_key"
    " AND s.from_revision <= v.revision AND s.to_revision > v.revision",
    columns=dict.fromkeys(("room", "branch", "type", "state_key", "revision"), INTEGER),
)
_KEY_HISTORIES = Batch(
    "SELECT s.room, s.state_key, s.from_revision, s.to_revision, s.event, s.membership FROM v"
    " JOIN state_rows s ON s.room = v.room AND s.branch = 0 AND s.type = v.type"
    " AND s.state_key = v.state_key",
    columns=dict.fromkeys(("room", "type", "state_key"), INTEGER),
)
_REPLACED = Batch(
    "SELECT v.event, s.event FROM v JOIN state_rows s ON s.room = v.room AND s.branch = v.branch"
    " AND s.type = v.type AND s.state_key = v.state_key AND s.from_revision <= v.revision"
    " AND s.to_revision > v.revision",
    columns=dict.fromkeys(("event", "room", "branch", "type", "state_key", "revision"), INTEGER),
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

    def current_txn(self, txn: Transaction, room: int) -> list[StateRow]:
        """The current state."""
        return _state_rows(txn.rows(_CURRENT, (room,)))

    def at_txn(self, txn: Transaction, room: int, state: StateAt) -> list[StateRow]:
        """The whole state of the room at `state`."""
        return _state_rows(txn.rows(_AT, (room, state.branch, state.revision, state.revision)))

    def current_of_rooms_txn(self, txn: Transaction, rooms: Iterable[int]) -> dict[int, list[StateRow]]:
        """The current states of several rooms, by room; rows come without `event_id`."""
        found: dict[int, list[StateRow]] = {room: [] for room in rooms}
        for room, *row in txn.batch(_CURRENT_OF_ROOMS, [(room,) for room in found]):
            found[room].append(_bare_row(row))
        return found

    def at_each_txn(
        self, txn: Transaction, wanted: Iterable[tuple[int, StateAt]]
    ) -> dict[tuple[int, StateAt], list[StateRow]]:
        """A whole state of each of several rooms, by room and state; rows come without `event_id`."""
        found: dict[tuple[int, StateAt], list[StateRow]] = {key: [] for key in wanted}
        once: dict[int, StateAt] = {}
        for room, state in found:
            if state.branch == 0 and room not in once:
                once[room] = state
            else:
                found[room, state] = [row for row in self.at_txn(txn, room, state) if row.event is not None]
        rows = [(room, state.revision) for room, state in once.items()]
        for room, *row in txn.batch(_AT_OF_ROOMS, rows):
            found[room, once[room]].append(_bare_row(row))
        return found

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
        rows = [(room, state.branch, type_, state_key, state.revision) for type_, state_key in keys]
        return {
            (row[0], row[1]): StateRow(row[0], row[1], row[2], None, _membership(row[3]))
            for row in txn.batch(_KEYS_AT, rows)
            if row[2] is not None
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
        rows = [(e.event, e.room, e.before.branch, e.type, e.state_key, e.before.revision) for e in events]
        return {event: old for event, old in txn.batch(_REPLACED, rows) if old is not None}

    def changes_txn(self, txn: Transaction, room: int, after: int, upto: int) -> list[StateRow]:
        """The values that keys of branch 0 took in revisions `after` < r <= `upto`, the last of each key."""
        last = {
            (row.type, row.state_key): row for row in _state_rows(txn.rows(_CHANGES, (room, after, upto)))
        }
        return list(last.values())


def _membership(number: int | None) -> str | None:
    return None if number is None else MEMBERSHIPS[number]


def _bare_row(row: Sequence[Any]) -> StateRow:
    type_, state_key, event, membership = row
    return StateRow(type_, state_key, event, None, _membership(membership))


def _state_rows(rows: Sequence[tuple[Any, ...]]) -> list[StateRow]:
    return [
        StateRow(type_, state_key, event, None if packed is None else unpack_event_id(packed), _membership(m))
        for type_, state_key, event, packed, m in rows
    ]
