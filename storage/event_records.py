# SPDX-License-Identifier: Apache-2.0
"""What is written of events: new ones, their places in the graph, and their redactions."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from storage.engine.statement import BYTES, INTEGER, Batch
from storage.event import StoredEvent
from storage.event_ids import pack_event_id
from storage.writing import Writing, each, each_positioned

REJECTED = 1
SOFT_FAILED = 2

# What an event gets with its place in the graph; an outlier has none of it.
_PLACE_COLUMNS = (
    "status", "topo", "before_branch", "before_revision", "after_branch", "after_revision", "thread",
    "notify_count", "highlight_count",
)  # fmt: skip
_EVENT_COLUMNS = ("event", "event_id", "room", "type", "state_key", "sender", *_PLACE_COLUMNS)
_COLUMN_TYPES = {c: BYTES if c in ("event_id", "thread") else INTEGER for c in _EVENT_COLUMNS}
_LIVE = "base.value + v.i"
_BACKFILLED = "-(base.value + v.i)"
_INSERT_JSON = Batch(
    "INSERT INTO event_json (event, json) SELECT event, json FROM v",
    columns={"event": INTEGER, "json": BYTES},
)
_INSERT_OUTLIER = Batch(
    f"INSERT INTO events ({', '.join(_EVENT_COLUMNS)}) SELECT {', '.join(_EVENT_COLUMNS)} FROM v",
    columns=_COLUMN_TYPES,
)


def _insert(position: str) -> Batch:
    return Batch(
        f"INSERT INTO events (position, {', '.join(_EVENT_COLUMNS)})"
        f" SELECT {position}, {', '.join('v.' + c for c in _EVENT_COLUMNS)} FROM base, v",
        columns={"i": INTEGER, **_COLUMN_TYPES},
    )


def _place(position: str) -> Batch:
    return Batch(
        f"UPDATE events SET position = {position}, {', '.join(f'{c} = v.{c}' for c in _PLACE_COLUMNS)}"
        " FROM base, v WHERE events.event = v.event",
        columns={"i": INTEGER, "event": INTEGER, **{c: _COLUMN_TYPES[c] for c in _PLACE_COLUMNS}},
    )


_LEARN_STATE = Batch(
    "UPDATE events SET status = v.status, before_branch = v.before_branch,"
    " before_revision = v.before_revision, after_branch = v.after_branch,"
    " after_revision = v.after_revision FROM v WHERE events.event = v.event",
    columns=dict.fromkeys(
        ("event", "status", "before_branch", "before_revision", "after_branch", "after_revision"), INTEGER
    ),
)
_INSERT_REDACTION = Batch(
    "INSERT INTO redactions (target, event, applied) SELECT target, event, applied FROM v WHERE true"
    " ON CONFLICT DO NOTHING",
    columns={"target": BYTES, "event": INTEGER, "applied": INTEGER},
)
_APPLY_REDACTION = Batch(
    "UPDATE redactions SET applied = 1 FROM v WHERE redactions.target = v.target"
    " AND redactions.event = v.event",
    columns={"target": BYTES, "event": INTEGER},
)


@attrs.frozen
class NewEvent:
    """An event to be stored, with the numbers of its strings; `index` gives its position."""

    stored: StoredEvent
    room: int
    type: int
    state_key: int | None
    sender: int
    index: int


@attrs.frozen
class NewOutlier:
    """An event to be stored that has no place in its room's graph: an auth event, or part of a given state.

    `stored` has neither position, topo nor states.
    """

    stored: StoredEvent
    room: int
    type: int
    state_key: int | None
    sender: int


@attrs.frozen
class OutlierPlaced:
    """An event that is stored as an outlier takes its place in the graph; `index` gives its position."""

    stored: StoredEvent
    room: int
    index: int


@attrs.frozen
class NewBackfilledEvent:
    """An event from before what was known, to be stored; its position is that of `index`, negative."""

    stored: StoredEvent
    room: int
    type: int
    state_key: int | None
    sender: int
    index: int


@attrs.frozen
class OutlierBackfilled:
    """An event that is stored as an outlier takes a place as `NewBackfilledEvent` does."""

    stored: StoredEvent
    room: int
    index: int


@attrs.frozen
class StateLearnt:
    """The state before an event that has its place was unknown; `stored` is the event with what is learnt."""

    stored: StoredEvent


@attrs.frozen
class RedactionApplied:
    """A redaction that waited for its target applies to it, now that the target is known."""

    target: str
    redaction: int
    redaction_id: str
    target_number: int


@attrs.frozen
class NewRedaction:
    """A redaction of the event `target`; `applied` where the target is known and may be redacted by it."""

    target: str
    redaction: int
    redaction_id: str
    target_number: int | None
    applied: bool


_Whole: TypeAlias = NewEvent | NewOutlier | NewBackfilledEvent


def _status(stored: StoredEvent) -> int:
    return (REJECTED if stored.rejected else 0) | (SOFT_FAILED if stored.soft_failed else 0)


def _learnt_row(record: StateLearnt) -> tuple[Any, ...]:
    stored = record.stored
    before, after = stored.before, stored.after
    return (
        stored.number, _status(stored),
        before and before.branch, before and before.revision,
        after and after.branch, after and after.revision,
    )  # fmt: skip


def _place_row(stored: StoredEvent) -> tuple[Any, ...]:
    before, after = stored.before, stored.after
    return (
        _status(stored), stored.topo,
        before and before.branch, before and before.revision,
        after and after.branch, after and after.revision,
        None if stored.thread is None else pack_event_id(stored.thread),
        stored.notify_count, stored.highlight_count,
    )  # fmt: skip


def _event_row(record: _Whole) -> tuple[Any, ...]:
    stored = record.stored
    return (
        stored.number, pack_event_id(stored.event.event_id), record.room, record.type, record.state_key,
        record.sender, *_place_row(stored),
    )  # fmt: skip


def _positioned_row(i: int, record: NewEvent | NewBackfilledEvent) -> tuple[Any, ...]:
    return (i, *_event_row(record))


def _placed_row(i: int, record: OutlierPlaced | OutlierBackfilled) -> tuple[Any, ...]:
    return (i, record.stored.number, *_place_row(record.stored))


def _json_row(record: _Whole) -> tuple[Any, ...]:
    return (record.stored.number, record.stored.event.json)


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(NewEvent, _INSERT_JSON, each(_json_row), also=(NewOutlier, NewBackfilledEvent)),
    Writing(NewOutlier, _INSERT_OUTLIER, each(_event_row)),
    Writing(NewEvent, _insert(_LIVE), each_positioned(_positioned_row), positioned=True),
    Writing(NewBackfilledEvent, _insert(_BACKFILLED), each_positioned(_positioned_row), positioned=True),
    Writing(OutlierPlaced, _place(_LIVE), each_positioned(_placed_row), positioned=True),
    Writing(OutlierBackfilled, _place(_BACKFILLED), each_positioned(_placed_row), positioned=True),
    Writing(StateLearnt, _LEARN_STATE, each(_learnt_row)),
    Writing(
        NewRedaction,
        _INSERT_REDACTION,
        each(lambda r: (pack_event_id(r.target), r.redaction, int(r.applied))),
    ),
    Writing(RedactionApplied, _APPLY_REDACTION, each(lambda r: (pack_event_id(r.target), r.redaction))),
)
