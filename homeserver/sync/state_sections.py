# SPDX-License-Identifier: Apache-2.0
"""The `state` of a room in a sync: from what the client knows to the start of the timeline.

It follows the changes of the room's current state, which need not come with an event of the timeline: what
a client makes of `state` and then of the timeline is the current state at the end.

spec: client-server-api, "Syncing" and "Lazy-loading room members".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from homeserver.rooms.state_changes import Change
from homeserver.rooms.states import RoomStates, StateMap
from homeserver.sync.lazy_members import SentMembers
from homeserver.sync.reader import Reader
from homeserver.sync.timelines import Timeline
from storage.event import StoredEvent
from storage.state import StateRow
from storage.stores import Storage

MEMBER = "m.room.member"


@attrs.frozen
class StateOf:
    """A room whose state is wanted, all of it where `whole`.

    The client knows the state as of the position `known_at`, 0 where it knows nothing of it, and is to know
    it as of `upto` in the end.
    """

    room: int
    whole: bool
    known_at: int
    upto: int
    timeline: Timeline


@attrs.frozen
class Settled:
    """A room's timeline, and what changed of the state from what the client knows to the end of it.

    `start` is the position at which the timeline starts, `base` the whole state there where it is wanted.
    `shown` is the last event of each key in the timeline.
    """

    one: StateOf
    timeline: Timeline
    start: int
    changes: Sequence[Change]
    shown: Mapping[tuple[int, int], int]
    base: StateMap | None = None

    @property
    def takes_away(self) -> bool:
        """Whether keys were removed; what is told of them is found in `removed_keys.py`."""
        return any(change.row.event is None for change in self.changes)

    def rows(self) -> dict[tuple[int, int], StateRow]:
        """What the client must be told before the timeline."""
        rows = dict(self.base) if self.base is not None else {}
        final: dict[tuple[int, int], StateRow] = {}
        for position, _, row in self.changes:
            key = (row.type, row.state_key)
            if position <= self.start:
                rows[key] = row
            final[key] = row
        for key, row in final.items():
            # The timeline says nothing of it: its value at the end is told in advance.
            if row.event is None or self.shown.get(key) != row.event:
                rows[key] = row
        return {key: row for key, row in rows.items() if row.event is not None}


class StateSections:
    """Finds out which state events a client must be given before a timeline."""

    def __init__(self, *, storage: Storage, states: RoomStates, sent: SentMembers) -> None:
        self._storage = storage
        self._states = states
        self._sent = sent

    async def settle(self, wanted: Sequence[StateOf]) -> dict[int, Settled]:
        """The timelines as they can be shown, by room, and the changes that belong to them."""
        changes = await self._states.changes(
            {one.room: (one.known_at, one.upto) for one in wanted if not one.whole}
        )
        bases = await self._states.starts(
            {one.room: (_start(one.timeline, one.upto), one.upto) for one in wanted if one.whole}
        )
        names = await self._names(wanted)
        settled = {}
        for one in wanted:
            base, changed = bases[one.room] if one.whole else (None, changes[one.room])
            last = last_events(one.timeline, names) if names else {}
            final = {(row.type, row.state_key): row.event for _, _, row in changed} if last else {}
            if not last.keys() <= final.keys():
                # Of a fork that the state did not follow, or in the state before it took its place.
                before = base if base is not None else await self._at(one.room, one.upto)
                final = {key: row.event for key in last if (row := before.get(key)) is not None} | final
            timeline, shown = consistent(one.timeline, last, final)
            start = _start(timeline, one.upto)
            if one.whole and timeline is not one.timeline:
                base = (await self._states.starts({one.room: (start, one.upto)}))[one.room][0]
                changed = [change for change in changed if change.position > start]
            settled[one.room] = Settled(one, timeline, start, changed, shown, base)
        return settled

    async def read(
        self, wanted: Sequence[Settled], heroes: Mapping[int, Sequence[str]], reader: Reader
    ) -> dict[int, list[StoredEvent]]:
        """The state events of each room, by room; `heroes` are users whose members are needed."""
        if reader.filter.state.is_nothing:
            return {settled.one.room: [] for settled in wanted}
        rows = {settled.one.room: settled.rows() for settled in wanted}
        if reader.filter.state.lazy_load_members:
            member = (await self._storage.strings.intern([MEMBER]))[MEMBER]
            for settled in wanted:
                room = settled.one.room
                rows[room] = await self._lazily(settled, rows[room], heroes.get(room, ()), reader, member)
        stored = await self._storage.events.get(
            row.event for of_room in rows.values() for row in of_room.values() if row.event is not None
        )
        return {room: _wanted(of_room.values(), stored, reader) for room, of_room in rows.items()}

    async def _lazily(
        self,
        settled: Settled,
        rows: dict[tuple[int, int], StateRow],
        heroes: Sequence[str],
        reader: Reader,
        member: int,
    ) -> dict[tuple[int, int], StateRow]:
        """Of the members only those that the client needs: who speaks, heroes, and what it would miss."""
        room, whole = settled.one.room, settled.one.whole
        senders = {stored.event.sender for stored in settled.timeline.events}
        wanted = {*senders, *heroes, *((reader.requester.user_id,) if whole else ())}
        users = set((await self._storage.strings.find(wanted)).values())
        if whole:
            users |= await self._changed_members(settled, member)
            members = {key: row for key, row in rows.items() if key[0] != member or key[1] in users}
        else:
            if not reader.filter.state.include_redundant_members:
                users -= self._sent.known(reader.requester, room)
            users -= {key[1] for key in rows if key[0] == member}
            members = rows | await self._members(settled, users, member)
        in_timeline = {key[1] for key in settled.shown if key[0] == member}
        known = in_timeline | {key[1] for key in members if key[0] == member}
        (self._sent.whole if whole else self._sent.more)(reader.requester, room, known)
        return members

    async def _changed_members(self, settled: Settled, member: int) -> set[int]:
        """Those whose members the client may hold from an earlier time, and who have changed since."""
        one = settled.one
        if not one.known_at:
            return set()
        changes = await self._states.changes({one.room: (one.known_at, one.upto)})
        return {row.state_key for _, _, row in changes[one.room] if row.type == member}

    async def _members(
        self, settled: Settled, users: set[int], member: int
    ) -> dict[tuple[int, int], StateRow]:
        """The members of these users as they are where the timeline starts."""
        if not users:
            return {}
        room = settled.one.room
        state = (await self._states.currents([room]))[room]
        late = {row.state_key for _, _, row in settled.changes if row.type == member}
        if late & users:
            state = await self._at(room, settled.start)
        keys = [(member, user) for user in users]
        return {key: state[key] for key in keys if key in state}

    async def _at(self, room: int, position: int) -> StateMap:
        """The state of the room at a position."""
        return (await self._states.at_positions([(room, position)]))[room]

    async def _names(self, wanted: Sequence[StateOf]) -> Mapping[str, int]:
        """The numbers of the keys of the state events in the timelines."""
        names = {
            name
            for one in wanted
            for stored in one.timeline.events
            if stored.event.state_key is not None
            for name in (stored.event.type, stored.event.state_key)
        }
        return await self._storage.strings.intern(names) if names else {}


def _start(timeline: Timeline, upto: int) -> int:
    """The position at which the timeline starts; where it is empty, `upto`."""
    start = timeline.start
    return upto if start is None else start


def last_events(timeline: Timeline, names: Mapping[str, int]) -> dict[tuple[int, int], tuple[int, int]]:
    """The last event of each key in the timeline: its place there, and its number."""
    return {
        (names[stored.event.type], names[stored.event.state_key]): (i, stored.number)
        for i, stored in enumerate(timeline.events)
        if stored.event.state_key is not None
    }


def consistent(
    timeline: Timeline,
    last: Mapping[tuple[int, int], tuple[int, int]],
    final: Mapping[tuple[int, int], int | None],
) -> tuple[Timeline, dict[tuple[int, int], int]]:
    """The timeline, and the last event of each key in it; `final` are the values of these keys at its end.

    Clients apply what comes last. So where that is not the value of its key at the end (it is of a fork that
    the state did not follow, or a resolution gave the key another one) the timeline starts after it.
    """
    wrong = [i for key, (i, number) in last.items() if final.get(key) != number]
    first = max(wrong) + 1 if wrong else 0
    return timeline.without_first(first), {key: number for key, (i, number) in last.items() if i >= first}


def _wanted(rows: Iterable[StateRow], stored: Mapping[int, StoredEvent], reader: Reader) -> list[StoredEvent]:
    predicate = reader.filter.state
    events = [stored[row.event] for row in rows if row.event is not None and row.event in stored]
    if predicate.is_everything:
        return events
    return [
        e for e in events if predicate.wants(e.event.type, e.event.sender, e.event.room_id, e.event.content)
    ]
