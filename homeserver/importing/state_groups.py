# SPDX-License-Identifier: Apache-2.0
"""Synapse's state groups of a room as states of our own; nothing is resolved.

Branch 0 runs along the states that lead to the current one, from the first that is known. What goes off from
them is a branch over the state it goes off from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from homeserver.importing.branches import Branches, Step, lay_branches
from homeserver.importing.contents import EMPTY, Contents, Key
from homeserver.importing.groups import StateGroup, contents_of_groups
from homeserver.importing.succession import EventContents, GroupedEvent, in_succession
from storage.event import StateAt
from storage.state_records import GivenRow, NewBranch, NewRevision, StateChange

__all__ = ["EventStates", "GroupedEvent", "RoomStates", "StateGroup", "states_of_room"]

Record: TypeAlias = GivenRow | NewBranch | StateChange | NewRevision


@attrs.frozen
class EventStates:
    """An event with the index that gives its position, and the states before it and after it.

    `before` None: unknown. `after` is set for accepted state events alone.
    """

    event: int
    index: int
    before: StateAt | None
    after: StateAt | None


@attrs.frozen
class RoomStates:
    """What a room's groups become: records to write, the events in order, and the current state.

    Events and the revisions that no event made take the indexes from 1 to `positions`.
    """

    records: list[Record]
    events: list[EventStates]
    current: StateAt
    positions: int


def states_of_room(
    *,
    room: int,
    groups: Iterable[StateGroup],
    events: Sequence[GroupedEvent],
    current: Mapping[Key, int] | None,
    memberships: Mapping[int, str],
) -> RoomStates:
    """Map the groups of a room onto branches.

    `groups` may be read from a cursor: they are gone through once, and only what differs between them is
    kept. `events` are all that have a place in the room (`events.outlier` is false), each after those that it
    builds on: those with a negative `stream_ordering` by depth, then the others by `stream_ordering`.
    `current` is `current_state_events`; None where the server is not in the room, whose state is then that
    after the last event. `memberships` gives the membership of each `m.room.member` event.
    """
    contents = Contents()
    succession, placed = in_succession(contents, contents_of_groups(groups, contents), events)
    last = succession.end_with(current)
    branches = lay_branches(succession.bases, succession.changes, last, contents.difference)
    given = contents.difference(EMPTY, branches.line[0])
    records = _records(
        room, [attrs.evolve(branches.steps[0], changes=given), *branches.steps[1:]], memberships
    )
    order = _Order(room, branches)
    states = [order.place(event) for event in placed]
    order.end()
    return RoomStates(records + order.revisions, states, branches.places[last], order.index)


def _records(room: int, steps: Iterable[Step], memberships: Mapping[int, str]) -> list[Record]:
    records: list[Record] = []
    for step in steps:
        branch, revision = step.at
        if step.opens is not None:
            records.append(NewBranch(room, branch, step.opens))
        for (type_, state_key), (_, event) in step.changes.items():
            membership = None if event is None else memberships.get(event)
            if step.at == (0, 0):
                records.append(GivenRow(room, branch, type_, state_key, event, membership))
            else:
                records.append(StateChange(room, branch, type_, state_key, revision, event, membership))
    return records


class _Order:
    """Gives events and revisions of branch 0 their indexes.

    A revision has that of the event which makes it, or one of its own before the event that first has it.
    """

    def __init__(self, room: int, branches: Branches) -> None:
        self.index = 0
        self.revisions: list[Record] = []
        self._room = room
        self._branches = branches

    def place(self, event: EventContents) -> EventStates:
        """Go on to the next event."""
        places = self._branches.places
        if self._is_next(event.before):
            self._begin_revision()
        if self._is_next(event.after):
            self._begin_revision()
        else:
            self.index += 1
        before = None if event.before is None else places[event.before]
        after = None if event.after is None else places[event.after]
        return EventStates(event.event, self.index, before, after)

    def end(self) -> None:
        """Begin the revision of the current state if no event has it."""
        while len(self.revisions) + 1 < len(self._branches.line):
            self._begin_revision()

    def _is_next(self, content: int | None) -> bool:
        revision = len(self.revisions) + 1
        line = self._branches.line
        return content is not None and revision < len(line) and line[revision] == content

    def _begin_revision(self) -> None:
        self.index += 1
        self.revisions.append(NewRevision(self._room, len(self.revisions) + 1, self.index))
