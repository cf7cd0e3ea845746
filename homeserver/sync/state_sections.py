# SPDX-License-Identifier: Apache-2.0
"""The `state` of a room in a sync: from what the client knows to the start of the timeline.

spec: client-server-api, "Syncing" and "Lazy-loading room members".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

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
    """A room whose state is wanted; `whole` where the client knows none of it.

    `known_at` is the position as of which it knows the state; `heroes` are users whose members it needs.
    """

    room: int
    whole: bool
    known_at: int
    timeline: Timeline
    heroes: Sequence[str] = ()


class StateSections:
    """Finds out which state events a client must be given before a timeline."""

    def __init__(self, *, storage: Storage, states: RoomStates, sent: SentMembers) -> None:
        self._storage = storage
        self._states = states
        self._sent = sent

    async def read(self, wanted: Sequence[StateOf], reader: Reader) -> dict[int, list[StoredEvent]]:
        """The state events of each room, by room."""
        member = (await self._storage.strings.intern([MEMBER]))[MEMBER]
        starts = await self._at_start([one for one in wanted if one.whole], reader)
        chosen: dict[int, list[StateRow]] = {}
        for one in wanted:
            if one.whole:
                chosen[one.room] = await self._whole(one, starts[one.room], reader, member)
            else:
                chosen[one.room] = await self._delta(one, reader, member)
        stored = await self._storage.events.get(
            row.event for rows in chosen.values() for row in rows if row.event is not None
        )
        return {room: self._wanted(rows, stored, reader) for room, rows in chosen.items()}

    async def _at_start(self, wanted: Sequence[StateOf], reader: Reader) -> dict[int, StateMap]:
        """The state at the start of each timeline; where that is empty, the state now."""
        befores = [
            (one.room, before)
            for one in wanted
            if one.timeline.scanned and (before := one.timeline.scanned[0].before) is not None
        ]
        found = await self._states.at_each(befores)
        for one in wanted:
            if one.room not in found:
                found[one.room] = await self._states.at_position(one.room, reader.upto.position)
        return found

    async def _whole(self, one: StateOf, start: StateMap, reader: Reader, member: int) -> list[StateRow]:
        if not reader.filter.state.lazy_load_members:
            return list(start.values())
        rows = [row for key, row in start.items() if key[0] != member]
        wanted = {*self._senders(one), reader.requester.user_id, *one.heroes}
        rows += await self._members(start, wanted, member)
        self._sent.whole(reader.requester, one.room, rows, member)
        return rows

    async def _delta(self, one: StateOf, reader: Reader, member: int) -> list[StateRow]:
        timeline = one.timeline
        rows: list[StateRow] = []
        if timeline.limited or not reader.filter.timeline.is_everything or reader.timeline_limit == 0:
            rows = await self._missed(one, reader)
        if not reader.filter.state.lazy_load_members:
            return rows
        # Members that the client has not met: those who speak in the timeline.
        present = {row.state_key for row in rows if row.type == member}
        wanted = self._senders(one) | set(one.heroes)
        if wanted:
            numbers = await self._storage.strings.find(wanted)
            if not reader.filter.state.include_redundant_members:
                known = self._sent.known(reader.requester, one.room)
                wanted = {user for user in wanted if numbers.get(user) not in known}
        if wanted:
            state = await self._start_of(one, reader)
            rows += [
                row for row in await self._members(state, wanted, member) if row.state_key not in present
            ]
        self._sent.more(reader.requester, one.room, rows, member)
        return rows

    async def _start_of(self, one: StateOf, reader: Reader) -> StateMap:
        return (await self._at_start([one], reader))[one.room]

    async def _missed(self, one: StateOf, reader: Reader) -> list[StateRow]:
        """What changed between what the client knows and the timeline, and what the timeline left out."""
        scanned = one.timeline.scanned
        first = scanned[0].position if scanned else None
        end = reader.upto.position if first is None else first - 1
        rows = {}
        if end > one.known_at:
            changes = await self._states.changes(one.room, after=one.known_at, upto=end)
            rows = {(row.type, row.state_key): row for row in changes if row.event is not None}
        shown = {stored.number for stored in one.timeline.events}
        left_out = [e for e in scanned if e.number not in shown and e.event.state_key is not None]
        if left_out:
            states = [e.event for e in scanned if e.event.state_key is not None]
            names = await self._storage.strings.intern(
                [name for event in states for name in (event.type, event.state_key or "")]
            )
            for stored in scanned:
                if stored.event.state_key is None:
                    continue
                key = (names[stored.event.type], names[stored.event.state_key])
                if stored.number in shown:
                    rows.pop(key, None)
                else:
                    rows[key] = StateRow(*key, stored.number, None, None)
        return list(rows.values())

    @staticmethod
    def _senders(one: StateOf) -> set[str]:
        return {stored.event.sender for stored in one.timeline.events}

    async def _members(self, state: StateMap, users: Iterable[str], member: int) -> list[StateRow]:
        numbers = await self._storage.strings.find(users)
        return [row for number in numbers.values() if (row := state.get((member, number))) is not None]

    def _wanted(
        self, rows: Sequence[StateRow], stored: Mapping[int, StoredEvent], reader: Reader
    ) -> list[StoredEvent]:
        predicate = reader.filter.state
        events = [stored[row.event] for row in rows if row.event is not None and row.event in stored]
        if predicate.is_everything:
            return events
        return [
            e
            for e in events
            if predicate.wants(e.event.type, e.event.sender, e.event.room_id, e.event.content)
        ]
