# SPDX-License-Identifier: Apache-2.0
"""What a sync tells of rooms that the user is in or has left, gathered for many rooms at once.

spec: client-server-api, "Syncing".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from homeserver.push.unread import UnreadCounts
from homeserver.rooms.history import History, RoomView
from homeserver.rooms.presentation import LookedUp, Presentation
from homeserver.sync.ephemeral import Ephemeral, Heard
from homeserver.sync.reader import Reader
from homeserver.sync.removed_keys import RemovedKeys
from homeserver.sync.room_json import Told
from homeserver.sync.state_sections import Settled, StateOf, StateSections
from homeserver.sync.summary import Summaries, Summary
from homeserver.sync.timelines import Timeline, TimelineOf, Timelines
from storage.event import StoredEvent

_NO_STATE: Sequence[StoredEvent] = ()


@attrs.frozen
class JoinedRoom:
    """A room to report to one of its members. `is_new`: the client has to take it in afresh.

    `known`: the client had it as joined where the sync begins.
    `account_data` are the events of the member's own data of it that are to be told.
    """

    room: int
    room_id: str
    is_new: bool
    known: bool
    account_data: Sequence[dict[str, Any]] = ()


@attrs.frozen(kw_only=True)
class LeftRoom:
    """A room that the user has left, or was banned from, by the event `own`, at the position `until`.

    `known`: the client had it as joined where the sync begins. `was_in`: the user was in it after that.
    Where neither is so, there is nothing to tell but the event itself. `is_outlier`: that came without the
    room, and has no place in it.
    """

    room: int
    room_id: str
    own: int
    until: int
    known: bool
    was_in: bool
    is_outlier: bool = False
    account_data: Sequence[dict[str, Any]] = ()


class Sections:
    """Gathers what is told of rooms."""

    def __init__(
        self,
        *,
        history: History,
        presentation: Presentation,
        timelines: Timelines,
        state_sections: StateSections,
        removed_keys: RemovedKeys,
        summaries: Summaries,
        ephemeral: Ephemeral,
        unread: UnreadCounts,
    ) -> None:
        self._history = history
        self._presentation = presentation
        self._timelines = timelines
        self._state_sections = state_sections
        self._removed_keys = removed_keys
        self._summaries = summaries
        self._ephemeral = ephemeral
        self._unread = unread

    async def joined(self, rooms: Sequence[JoinedRoom], reader: Reader) -> tuple[list[Told], LookedUp]:
        """What is told of each room that has something to tell, and what writing it needs."""
        views = await self._views([one.room for one in rooms], reader)
        timelines = await self._timelines.read(
            [_timeline_of_joined(one, views[one.room], reader) for one in rooms], reader
        )
        settled = await self._state_sections.settle(
            [_state_of_joined(one, timelines[one.room], reader) for one in rooms]
        )
        summaries = await self._summaries_of(settled.values())
        heroes = {room: summary.heroes(reader.requester.user_id) for room, summary in summaries.items()}
        states = await self._state_sections.read(list(settled.values()), heroes, reader)
        removed = await self._removed_keys.told(settled.values(), reader)
        heard = await self._ephemeral.read(
            {one.room: 0 if one.is_new else reader.after for one in rooms}, reader
        )
        rooms = [one for one in rooms if _has_news(one, settled[one.room], states, heard, reader)]
        unread = await self._unread.unread(reader.requester.user, [one.room for one in rooms])
        told = [
            Told(
                room=one.room,
                room_id=one.room_id,
                timeline=_shown(settled[one.room].timeline, one.is_new, reader),
                state=states[one.room],
                removed=removed.get(one.room, ()),
                account_data=one.account_data,
                ephemeral=heard.events.get(one.room, ()),
                unread=unread.get(one.room),
                summary=summaries.get(one.room),
            )
            for one in rooms
        ]
        return told, await self._look_up(told, views, reader)

    async def left(self, rooms: Sequence[LeftRoom], reader: Reader) -> tuple[list[Told], LookedUp]:
        """What is told of each room, and what writing it needs."""
        views = await self._views([one.room for one in rooms], reader)
        timelines = await self._timelines.read(
            [_timeline_of_left(one, views[one.room], reader) for one in rooms], reader
        )
        settled = await self._state_sections.settle(
            [
                StateOf(
                    one.room, not one.known, reader.after if one.known else 0, one.until, timelines[one.room]
                )
                for one in rooms
                if one.known or one.was_in
            ]
        )
        states = await self._state_sections.read(list(settled.values()), {}, reader)
        removed = await self._removed_keys.told(settled.values(), reader)
        told = [
            Told(
                room=one.room,
                room_id=one.room_id,
                timeline=_shown(
                    settled[one.room].timeline if one.room in settled else timelines[one.room],
                    one.was_in and not one.known,
                    reader,
                ),
                state=states.get(one.room, _NO_STATE),
                removed=removed.get(one.room, ()),
                account_data=one.account_data,
            )
            for one in rooms
        ]
        return told, await self._look_up(told, views, reader)

    async def _views(self, rooms: Sequence[int], reader: Reader) -> dict[int, RoomView]:
        requester = reader.requester
        return await self._history.views(rooms, requester.user, requester.user_id)

    async def _summaries_of(self, settled: Iterable[Settled]) -> dict[int, Summary]:
        """The summaries that are new to the client or may have changed."""
        types = await self._summaries.types()
        wanted = [
            one.one.room
            for one in settled
            if one.one.whole
            or any(change.row.type in types for change in one.changes)
            or any(stored.event.type == "m.room.redaction" for stored in one.timeline.events)
        ]
        return await self._summaries.of(wanted) if wanted else {}

    async def _look_up(self, told: Sequence[Told], views: Mapping[int, RoomView], reader: Reader) -> LookedUp:
        events = {one.room: [*one.timeline.events, *one.state] for one in told}
        return await self._presentation.look_up(events, views, reader.requester)


def _timeline_of_joined(one: JoinedRoom, view: RoomView, reader: Reader) -> TimelineOf:
    after = 0 if one.is_new else reader.after
    return TimelineOf(one.room, after, reader.upto.position, view)


def _timeline_of_left(one: LeftRoom, view: RoomView, reader: Reader) -> TimelineOf:
    after = 0 if one.was_in and not one.known else reader.after
    if not (one.known or one.was_in):
        after = max(after, one.until - 1)
    is_outlier = one.is_outlier and not (one.known or one.was_in)
    return TimelineOf(one.room, after, one.until, view, own=one.own, is_outlier=is_outlier)


def _state_of_joined(one: JoinedRoom, timeline: Timeline, reader: Reader) -> StateOf:
    whole = one.is_new or reader.full_state
    return StateOf(one.room, whole, reader.after if one.known else 0, reader.upto.position, timeline)


def _shown(timeline: Timeline, is_new: bool, reader: Reader) -> Timeline:
    """The timeline; that of a room that the client has to take in afresh, while it goes on, is limited."""
    if is_new and reader.since is not None:
        return attrs.evolve(timeline, limited=True)
    return timeline


def _has_news(
    one: JoinedRoom,
    settled: Settled,
    states: Mapping[int, Sequence[StoredEvent]],
    heard: Heard,
    reader: Reader,
) -> bool:
    """Whether the room is told of. Counts that others' events change are no news without these events."""
    return bool(
        one.is_new
        or reader.full_state
        or settled.timeline.events
        or settled.timeline.limited
        or settled.takes_away
        or one.account_data
        or states[one.room]
        or one.room in heard.events
        or one.room in heard.read_on
    )
