# SPDX-License-Identifier: Apache-2.0
"""Gathers what becomes of a room into the records of one unit, and advances the room in memory by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from federation.graph.building import Extremity
from federation.graph.contributors import (
    Appended,
    Contribution,
    Contributor,
    EventCounts,
    Resolved,
    StateKeyChange,
)
from federation.graph.current_state import Key, StateEntry
from federation.graph.hot_room import HotRoom
from storage.event import Event, StoredEvent
from storage.event_records import (
    NewBackfilledEvent,
    NewEvent,
    OutlierBackfilled,
    OutlierPlaced,
    StateLearnt,
)
from storage.rooms import ExtremitiesRemoved, ExtremityChange
from storage.state_records import ALWAYS, EarlierChange, GivenRow, NewBranch, NewRevision, StateChange
from storage.strings import Strings

_NO_COUNTS = EventCounts(thread=None, notify_count=0, highlight_count=0)


@attrs.define(eq=False)
class Recording:
    """One unit of a room in the making: its records, its events, and how many positions it needs.

    `older`: its events are from before what was known, so their positions are negative.

    Every string that the records name must have a number in memory. What was advanced in memory is lost with
    `hot` where the unit is not written.
    """

    hot: HotRoom
    room: int
    strings: Strings
    contributors: Sequence[Contributor]
    records: list[Any] = attrs.field(factory=list)
    stored: list[StoredEvent] = attrs.field(factory=list)
    indexes: list[int] = attrs.field(factory=list)
    positions: int = 0
    older: bool = False
    learnt: list[StoredEvent] = attrs.field(factory=list)

    def place(
        self,
        stored: StoredEvent,
        *,
        changes: Mapping[Key, StateEntry | None],
        is_extremity: bool = True,
        replaced: tuple[int, ...] = (),
        was_outlier: bool = False,
    ) -> StoredEvent:
        """An event takes its place; `changes` are those that it makes to the current state."""
        event, hot = stored.event, self.hot
        self.positions += 1
        index = self.positions
        made = self._change(changes, {event.event_id: event}, index) if changes else ()
        if is_extremity:
            hot.extremities = [e for e in hot.extremities if e.number not in replaced]
            hot.extremities.append(Extremity.of(stored))
            self.records.append(ExtremityChange(self.room, added=stored.number, removed=replaced))
        type_, sender = self.number(event.type), self.number(event.sender)
        state_key = None if event.state_key is None else self.number(event.state_key)
        counts = self._told(Appended(stored, self.room, type_, state_key, sender, index, made, hot.state))
        stored = stored.counted(counts.thread, counts.notify_count, counts.highlight_count)
        self.records.append(
            OutlierPlaced(stored, self.room, index)
            if was_outlier
            else NewEvent(stored, self.room, type_, state_key, sender, index)
        )
        self.stored.append(stored)
        self.indexes.append(index)
        hot.top = max(hot.top, stored.topo or 0)
        hot.note_reference_hash(event)
        return stored

    def remove_extremities(self, numbers: tuple[int, ...]) -> None:
        """These events are no forward extremities any longer."""
        if numbers:
            self.records.append(ExtremitiesRemoved(self.room, numbers))
            self.hot.extremities = [e for e in self.hot.extremities if e.number not in numbers]

    def at(self, base: int) -> list[StoredEvent]:
        """The stored events with their positions, where the unit's first is the one after `base`."""
        sign = -1 if self.older else 1
        placed = [s.at(sign * (base + i)) for s, i in zip(self.stored, self.indexes, strict=True)]
        return placed + self.learnt

    def learn_state(self, stored: StoredEvent) -> None:
        """The state before an event that has its place is known from now on."""
        self.records.append(StateLearnt(stored))
        self.learnt.append(stored)

    def place_older(self, stored: StoredEvent, *, index: int, was_outlier: bool) -> None:
        """An event from before what was known takes its place; it is no news to anybody."""
        event = stored.event
        state_key = None if event.state_key is None else self.number(event.state_key)
        self.records.append(
            OutlierBackfilled(stored, self.room, index)
            if was_outlier
            else NewBackfilledEvent(
                stored, self.room, self.number(event.type), state_key, self.number(event.sender), index
            )
        )
        self.stored.append(stored)
        self.indexes.append(index)
        self.hot.note_reference_hash(event)

    def change_state(self, changes: Mapping[Key, StateEntry | None], events: Mapping[str, Event]) -> None:
        """The current state changes without an event; `events` are those that memory keeps whole, by id."""
        self.positions += 1
        # A state with which a room begins was given from outside, and held before.
        made = self._change(changes, events, self.positions, given=self.hot.timelines.head == 0)
        resolved = Resolved(self.room, self.positions, made, self.hot.state)
        for contributor, memory in zip(self.contributors, self.hot.memory, strict=True):
            self.records.extend(contributor.resolved(memory, resolved).records)

    def branch(self, number: int, *, after: int, is_new: bool) -> None:
        """Write what a branch got after its revision `after`."""
        branch = self.hot.timelines.branch(number)
        assert branch is not None, "a branch that was just written to is in memory"
        if is_new:
            self.records.append(NewBranch(self.room, number, branch.parent))
        rows = [
            (begun.first, key, begun.value)
            for key, of_key in branch.rows.items()
            for begun in of_key
            if begun.first > after
        ]
        for revision, key, value in sorted(rows, key=lambda row: row[0]):
            self.records.append(self._state_change(number, revision, key, value))
        for key, of_key in branch.rows.items() if is_new else ():
            if of_key[0].first == ALWAYS:
                self.records.append(self._given_row(number, key, of_key[0].value))

    def _change(
        self,
        changes: Mapping[Key, StateEntry | None],
        events: Mapping[str, Event],
        index: int,
        *,
        given: bool = False,
    ) -> tuple[StateKeyChange, ...]:
        """The next revision of branch 0."""
        hot = self.hot
        olds = {
            key: hot.state.change(key, value, None if value is None else events.get(value.event_id))
            for key, value in changes.items()
        }
        revision = hot.timelines.begin() if given else hot.timelines.advance(olds)
        self.records.append(NewRevision(self.room, revision, index))
        for key, value in changes.items():
            self.records.append(
                self._given_row(0, key, value) if given else self._state_change(0, revision, key, value)
            )
        return tuple(StateKeyChange(*key, olds[key], value) for key, value in changes.items())

    def _state_change(self, branch: int, revision: int, key: Key, value: StateEntry | None) -> StateChange:
        type_, state_key, event, membership = self._columns(key, value)
        return StateChange(self.room, branch, type_, state_key, revision, event, membership)

    def _given_row(self, branch: int, key: Key, value: StateEntry | None) -> GivenRow:
        return GivenRow(self.room, branch, *self._columns(key, value))

    def change_earlier(self, branch: int, revision: int, key: Key, old: StateEntry | None) -> None:
        """A key of a branch changed at a revision below what was known; `old` is what it was before."""
        type_, state_key, event, membership = self._columns(key, old)
        self.records.append(EarlierChange(self.room, branch, type_, state_key, revision, event, membership))

    def _columns(self, key: Key, value: StateEntry | None) -> tuple[int, int, int | None, str | None]:
        """The numbers of type and state key, and the event and membership of the value."""
        event, membership = (None, None) if value is None else (value.number, value.membership)
        return self.number(key[0]), self.number(key[1]), event, membership

    def _told(self, appended: Appended) -> EventCounts:
        """Have the contributors add their rows; returns the event's counts."""
        counts = _NO_COUNTS
        for contributor, memory in zip(self.contributors, self.hot.memory, strict=True):
            contribution: Contribution = contributor.contribute(memory, appended)
            self.records.extend(contribution.records)
            counts = contribution.counts or counts
        return counts

    def number(self, string: str) -> int:
        """The number of a string."""
        number = self.strings.known(string)
        assert number is not None, "strings are numbered before they are recorded"
        return number
