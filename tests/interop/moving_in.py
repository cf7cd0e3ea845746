# SPDX-License-Identifier: Apache-2.0
"""A room of Synapse's database, its state groups mapped, written into our own database."""

from __future__ import annotations

import json
from typing import Any

import attrs

from homeserver.importing.state_groups import GroupedEvent, RoomStates, StateGroup, states_of_room
from storage.event import Event, StateAt, StoredEvent
from storage.event_records import NewBackfilledEvent, NewEvent, NewOutlier
from storage.numbers import EventNumbers
from storage.persist import Unit
from storage.rooms import NewRoom
from tests.interop.synapse_tables import Key, SynapseEvent, SynapseRoom
from tests.support.storing import Storing


@attrs.frozen
class Numbers:
    """Our numbers for what a room of Synapse names."""

    room: int
    strings: dict[str, int]
    events: dict[str, int]

    def key(self, key: Key) -> tuple[int, int]:
        return self.strings[key[0]], self.strings[key[1]]

    def state(self, state: dict[Key, str]) -> dict[tuple[int, int], int]:
        return {self.key(key): self.events[event_id] for key, event_id in state.items()}


async def numbers_for(room: SynapseRoom, storing: Storing) -> Numbers:
    """Numbers for all of it, also for events that are known by their id alone."""
    every = [*room.events, *room.outliers]
    strings = {room.room_id} | {
        text for e in every for text in (e.type, e.state_key, e.sender) if text is not None
    }
    strings |= {text for group in room.groups.values() for key in group.delta for text in key}
    ids = {e.event_id for e in every} | {i for group in room.groups.values() for i in group.delta.values()}
    ids |= set((room.current or {}).values())
    numbers = EventNumbers(storing.storage.database)
    await numbers.reserve(len(ids))
    interned = await storing.storage.strings.intern(strings)
    return Numbers(
        interned[room.room_id], interned, dict(zip(sorted(ids), numbers.take(len(ids)), strict=True))
    )


def mapped(room: SynapseRoom, numbers: Numbers) -> RoomStates:
    """What becomes of the room's groups."""
    events = numbers.events
    groups = (
        StateGroup(g.number, g.parent, numbers.state(g.delta), events.get(g.event_id))
        for g in room.groups.values()
    )
    members = [e for e in [*room.events, *room.outliers] if e.type == "m.room.member"]
    return states_of_room(
        room=numbers.room,
        groups=groups,
        events=[grouped(event, numbers) for event in room.events],
        current=None if room.current is None else numbers.state(room.current),
        memberships={events[e.event_id]: e.pdu["content"]["membership"] for e in members},
    )


def grouped(event: SynapseEvent, numbers: Numbers) -> GroupedEvent:
    return GroupedEvent(
        event=numbers.events[event.event_id],
        key=None if event.key is None else numbers.key(event.key),
        group=event.group,
        rejected=event.rejected,
        replaces=None if event.replaces is None else numbers.events[event.replaces],
        previous=[numbers.events[i] for i in event.pdu["prev_events"] if i in numbers.events],
    )


async def write(room: SynapseRoom, numbers: Numbers, states: RoomStates, storing: Storing) -> None:
    """Put the room into our database."""
    records: list[Any] = [NewRoom(numbers.room, "11"), *states.records]
    for event, placed in zip(room.events, states.events, strict=True):
        kind = NewEvent if event.stream_ordering > 0 else NewBackfilledEvent
        stored = stored_event(
            room, event, numbers, topo=event.depth, before=placed.before, after=placed.after
        )
        records.append(kind(stored, *strings_of(event, numbers), index=placed.index))
    for event in room.outliers:
        stored = stored_event(room, event, numbers, topo=None, before=None, after=None)
        records.append(NewOutlier(stored, *strings_of(event, numbers)))
    await storing.queue.submit(Unit(records=records, positions=states.positions))


def strings_of(event: SynapseEvent, numbers: Numbers) -> tuple[int, int, int | None, int]:
    state_key = None if event.state_key is None else numbers.strings[event.state_key]
    return numbers.room, numbers.strings[event.type], state_key, numbers.strings[event.sender]


def stored_event(
    room: SynapseRoom,
    event: SynapseEvent,
    numbers: Numbers,
    *,
    topo: int | None,
    before: StateAt | None,
    after: StateAt | None,
) -> StoredEvent:
    return StoredEvent(
        event=Event.decode(json.dumps(event.pdu).encode(), event.event_id, room.room_id),
        number=numbers.events[event.event_id],
        position=None,
        topo=topo,
        before=before,
        after=after,
        rejected=event.rejected,
        soft_failed=event.soft_failed,
    )
