# SPDX-License-Identifier: Apache-2.0
"""Resolves states of a hot room: finds what is in conflict, reads what its resolution needs, and resolves it.

Conflicts come from the differences of the states; the auth difference is that of the whole states.
spec: rooms, "State resolution".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Final

import attrs

from federation.graph.auth_chains.auth_chains import AuthChains
from federation.graph.auth_chains.slices import pause
from federation.graph.current_state import Key, StateEntry
from federation.graph.graph_counts import GraphCounts
from federation.graph.timelines import StateTimelines
from federation.rules.room_versions import RoomVersion, StateResolution
from federation.rules.state_resolution.conflict import Conflict
from federation.rules.state_resolution.gathering import Gathering
from federation.rules.state_resolution.resolution import resolve
from federation.workers import Workers
from storage.event import Event, StateAt, StoredEvent
from storage.events import Events
from storage.runtime.clock import Clock

HEAVY: Final = 500
"""A conflict of more events is resolved beside the reactor."""

Resolved = Mapping[Key, StateEntry | None]
"""The resolved values of the keys in conflict; every other key has the value that all the states agree on."""


@attrs.frozen
class Unstored:
    """An event of the room that is not on disk yet."""

    event: Event
    number: int
    rejected: bool


@attrs.frozen
class StatesToResolve:
    """Some states of a room, all at hand in `timelines`; `unstored` are events that they may hold, by id."""

    room: int
    version: RoomVersion
    timelines: StateTimelines
    states: Sequence[StateAt]
    unstored: Mapping[str, Unstored]


@attrs.frozen
class Resolver:
    """Resolves states, with turns of the reactor in between. `workers` are processes for heavy conflicts."""

    events: Events
    auth_chains: AuthChains
    workers: Workers
    clock: Clock
    counts: GraphCounts = attrs.field(factory=GraphCounts)

    async def resolve(self, asked: StatesToResolve) -> Resolved:
        """The resolution of the states. Raises `DatabaseUnavailable`."""
        differences = asked.timelines.differences(asked.states)
        if not differences:
            return {}
        began = perf_counter()
        try:
            return await self._resolution(asked, differences)
        finally:
            self.counts.resolutions.add(perf_counter() - began)

    async def _resolution(
        self, asked: StatesToResolve, differences: Mapping[Key, Sequence[StateEntry | None]]
    ) -> Resolved:
        await pause(self.clock)
        looked_up = _LookUp(self.events, asked.unstored)
        gathering = await self._begin(asked, differences, looked_up)
        await pause(self.clock)
        await self._gather(gathering, looked_up)
        unconflicted = _unconflicted(asked, gathering, differences)
        looked_up.note(unconflicted.values())
        gathering.set_unconflicted({key: entry.event_id for key, entry in unconflicted.items()})
        await self._gather(gathering, looked_up)
        resolved = await self._resolve(gathering.conflict())
        await pause(self.clock)
        return {
            key: None if event_id is None else looked_up.entry(event_id) for key, event_id in resolved.items()
        }

    async def _begin(
        self,
        asked: StatesToResolve,
        differences: Mapping[Key, Sequence[StateEntry | None]],
        looked_up: _LookUp,
    ) -> Gathering:
        """Find the full conflicted set."""
        conflicted = {
            key: {entry.event_id: entry for entry in entries if entry is not None}
            for key, entries in differences.items()
        }
        for of_key in conflicted.values():
            looked_up.note(of_key.values())
        if asked.version.state_resolution is StateResolution.V1:
            return Gathering(asked.version, conflicted)
        edges = await looked_up.edges_of_unstored()
        numbers = [
            {entry.number for entries in differences.values() if (entry := entries[i]) is not None}
            for i in range(len(asked.states))
        ]
        unconflicted = _UnconflictedNumbers(asked, differences.keys())
        difference = await self.auth_chains.difference(
            asked.room,
            numbers,
            unconflicted=unconflicted.all,
            is_unconflicted=unconflicted.has,
            unstored=edges,
        )
        everything: set[int] = set().union(*numbers)
        subgraph = await self.auth_chains.subgraph(asked.room, everything, unstored=edges)
        return Gathering(
            asked.version,
            conflicted,
            auth_difference=await looked_up.ids(difference),
            subgraph=await looked_up.ids(subgraph),
        )

    async def _gather(self, gathering: Gathering, looked_up: _LookUp) -> None:
        while missing := gathering.missing():
            events, rejected = await looked_up.events_of(missing)
            if not events:
                raise LookupError(f"events of a room's auth chains are not stored: {sorted(missing)[:3]}")
            gathering.learn(events, rejected)
            await pause(self.clock)

    async def _resolve(self, conflict: Conflict) -> Mapping[Key, str | None]:
        self.counts.sizes.observe(conflict.size)
        is_heavy = conflict.size > HEAVY
        began = perf_counter()
        try:
            return await self.workers.run(resolve, conflict) if is_heavy else resolve(conflict)
        finally:
            (self.counts.beside if is_heavy else self.counts.here).add(perf_counter() - began)


class _UnconflictedNumbers:
    """The events of the unconflicted state map by number, gathered when first asked for."""

    def __init__(self, asked: StatesToResolve, conflicted: Collection[Key]) -> None:
        self._asked = asked
        self._conflicted = conflicted
        self._numbers: set[int] | None = None

    def all(self) -> Collection[int]:
        """All of them."""
        if self._numbers is None:
            timelines, one = self._asked.timelines, self._asked.states[0]
            changed = timelines.differences((StateAt(0, timelines.head), one))
            numbers = set(timelines.current.numbers)
            numbers.difference_update(now.number for now, _ in changed.values() if now is not None)
            numbers.update(
                value.number
                for key, (_, value) in changed.items()
                if value is not None and key not in self._conflicted
            )
            numbers.difference_update(
                value.number
                for key in self._conflicted
                if key not in changed and (value := timelines.value(one, key)) is not None
            )
            self._numbers = numbers
        return self._numbers

    def has(self, number: int) -> bool:
        """Whether an event is one of them."""
        return number in (self._numbers if self._numbers is not None else self.all())


class _LookUp:
    """Events by id and by number, from the database and from what is not there yet."""

    def __init__(self, events: Events, unstored: Mapping[str, Unstored]) -> None:
        self._events = events
        self._unstored = unstored
        self._ids = {u.number: event_id for event_id, u in unstored.items()}
        self._numbers = {event_id: u.number for event_id, u in unstored.items()}
        self._entries: dict[str, StateEntry] = {}
        self._events_by_id: dict[str, Event] = {event_id: u.event for event_id, u in unstored.items()}

    def note(self, entries: Iterable[StateEntry]) -> None:
        """Values of keys: they say which number an id has."""
        for entry in entries:
            self._entries[entry.event_id] = entry
            self._numbers[entry.event_id] = entry.number
            self._ids[entry.number] = entry.event_id

    async def ids(self, numbers: Iterable[int]) -> set[str]:
        """The ids of events."""
        unknown = [number for number in numbers if number not in self._ids]
        for stored in (await self._events.get(unknown)).values():
            self._learn(stored)
        return {self._ids[number] for number in numbers if number in self._ids}

    async def events_of(self, event_ids: Iterable[str]) -> tuple[list[Event], set[str]]:
        """Events by id, and the ids of those that are rejected."""
        found = [self._unstored[event_id] for event_id in event_ids if event_id in self._unstored]
        events = [unstored.event for unstored in found]
        rejected = {unstored.event.event_id for unstored in found if unstored.rejected}
        others = [event_id for event_id in event_ids if event_id not in self._unstored]
        numbers = [self._numbers[event_id] for event_id in others if event_id in self._numbers]
        stored = list((await self._events.get(numbers)).values())
        unnumbered = [event_id for event_id in others if event_id not in self._numbers]
        if unnumbered:
            stored.extend((await self._events.by_id(unnumbered)).values())
        for one in stored:
            self._learn(one)
            events.append(one.event)
            if one.rejected:
                rejected.add(one.event.event_id)
        return events, rejected

    async def edges_of_unstored(self) -> dict[int, list[int]]:
        """The auth events of what is not stored, by number."""
        cited = {event_id for u in self._unstored.values() for event_id in u.event.auth_events}
        unknown = [event_id for event_id in cited if event_id not in self._numbers]
        if unknown:
            self._numbers |= await self._events.numbers(unknown)
        return {
            u.number: [self._numbers[e] for e in u.event.auth_events if e in self._numbers]
            for u in self._unstored.values()
        }

    def entry(self, event_id: str) -> StateEntry:
        """An event as the value of its key."""
        known = self._entries.get(event_id)
        return known or StateEntry.of(self._events_by_id[event_id], self._numbers[event_id])

    def _learn(self, stored: StoredEvent) -> None:
        event_id = stored.event.event_id
        self._ids[stored.number] = event_id
        self._numbers[event_id] = stored.number
        self._events_by_id[event_id] = stored.event


def _unconflicted(
    asked: StatesToResolve, gathering: Gathering, differences: Mapping[Key, object]
) -> dict[Key, StateEntry]:
    """The unconflicted state map as far as it matters."""
    first = asked.states[0]
    return {
        key: value
        for key in gathering.unconflicted_keys()
        if key not in differences and (value := asked.timelines.value(first, key)) is not None
    }
