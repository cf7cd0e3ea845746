# SPDX-License-Identifier: Apache-2.0
"""The rooms of a sync as JSON: `join`, `leave`, `invite` and `knock`.

spec: client-server-api, "Syncing".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from homeserver.push.unread import RoomUnread, UnreadCounts
from homeserver.rooms.client_event import stripped
from homeserver.rooms.history import History, RoomView
from homeserver.rooms.presentation import Presentation
from homeserver.rooms.states import RoomStates
from homeserver.rooms.tokens import SyncToken
from homeserver.sync.ephemeral import Ephemeral
from homeserver.sync.filter.schema import EventFormat
from homeserver.sync.reader import Reader
from homeserver.sync.state_sections import StateOf, StateSections
from homeserver.sync.summary import Summaries, Summary
from homeserver.sync.timelines import Timeline, TimelineOf, Timelines
from storage.event import StoredEvent
from storage.memberships import Membership
from storage.stores import Storage

_encode = msgspec.json.encode
_SUMMARISED = frozenset({"m.room.member", "m.room.name", "m.room.canonical_alias"})
_STRIPPED_TYPES = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)


@attrs.frozen
class JoinedRoom:
    """A room to report to one of its members. `is_new`: the client has it not, or not any more.

    `account_data` are the events of the member's own data of it that are to be told.
    """

    room: int
    room_id: str
    is_new: bool
    account_data: Sequence[dict[str, Any]] = ()


@attrs.frozen
class LeftRoom:
    """A room that the user has left, or was banned from, at `membership.position`.

    `known`: the client had it as joined at the position where the sync begins.
    """

    room_id: str
    membership: Membership
    known: bool


class Sections:
    """Writes the rooms of a sync."""

    def __init__(
        self,
        *,
        storage: Storage,
        states: RoomStates,
        history: History,
        presentation: Presentation,
        timelines: Timelines,
        state_sections: StateSections,
        summaries: Summaries,
        ephemeral: Ephemeral,
        unread: UnreadCounts,
    ) -> None:
        self._storage = storage
        self._states = states
        self._history = history
        self._presentation = presentation
        self._timelines = timelines
        self._state_sections = state_sections
        self._summaries = summaries
        self._ephemeral = ephemeral
        self._unread = unread

    async def joined(self, rooms: Sequence[JoinedRoom], reader: Reader) -> list[bytes]:
        """A member of `rooms.join` for each room that has something to tell."""
        numbers = [one.room for one in rooms]
        views = await self._history.views(numbers, reader.requester.user, reader.requester.user_id)
        timelines = await self._timelines.read(
            [
                TimelineOf(
                    room=one.room,
                    after=0 if one.is_new else reader.after,
                    upto=reader.upto.position,
                    view=views[one.room],
                    sees_all=not one.is_new,
                )
                for one in rooms
            ],
            reader,
        )
        summaries = {one.room: await self._summary_of(one, timelines[one.room], reader) for one in rooms}
        states = await self._state_sections.read(
            [self._state_of(one, timelines, summaries, reader) for one in rooms], reader
        )
        ephemeral = await self._ephemeral.read(
            {one.room: 0 if one.is_new else reader.after for one in rooms}, reader
        )
        told = [
            one
            for one in rooms
            if one.is_new
            or reader.full_state
            or timelines[one.room].events
            or timelines[one.room].limited
            or states[one.room]
            or one.room in ephemeral
            or one.account_data
        ]
        unread = await self._unread.unread(reader.requester.user, [one.room for one in told])
        written = []
        for one in told:
            summary = summaries[one.room]
            if summary is None and any(e.event.type in _SUMMARISED for e in states[one.room]):
                summary = await self._summaries.of(one.room)
            written.append(
                await self._write_joined(
                    one,
                    reader,
                    views[one.room],
                    timelines[one.room],
                    states[one.room],
                    ephemeral.get(one.room, []),
                    unread.get(one.room, RoomUnread()),
                    summary,
                )
            )
        return written

    async def left(self, rooms: Sequence[LeftRoom], reader: Reader) -> list[bytes]:
        """A member of `rooms.leave` for each room."""
        written = []
        for one in rooms:
            room = one.membership.room
            until = attrs.evolve(reader, upto=SyncToken(one.membership.position, reader.upto.typing))
            view = await self._history.view(room, reader.requester.user, reader.requester.user_id)
            after = reader.after if one.known else 0
            timeline = (
                await self._timelines.read([TimelineOf(room, after, until.upto.position, view)], until)
            )[room]
            state: list[StoredEvent] = []
            if view.was_joined:
                asked = StateOf(room, whole=not one.known, known_at=after, timeline=timeline)
                state = (await self._state_sections.read([asked], until))[room]
            events = await self._events(room, timeline.events, reader, view)
            state_events = await self._events(room, state, reader, view)
            written.append(
                b'%b:{"timeline":%b,"state":{"events":[%b]},"account_data":{"events":[]}}'
                % (
                    _encode(one.room_id),
                    _timeline(timeline, events, reader),
                    b",".join(state_events),
                )
            )
        return written

    async def invited(self, rooms: Sequence[tuple[str, Membership]], kind: str) -> list[bytes]:
        """A member of `rooms.invite` or `rooms.knock` for each room.

        `kind` is "invite_state" or "knock_state".
        """
        written = []
        for room_id, membership in rooms:
            events = await self._stripped_state(membership)
            body = {kind: {"events": [stripped(stored.event) for stored in events]}}
            written.append(b"%b:%b" % (_encode(room_id), _encode(body)))
        return written

    async def _stripped_state(self, membership: Membership) -> list[StoredEvent]:
        """The state that identifies the room, and the user's own member event and that of who sent it."""
        own = (await self._storage.events.get([membership.event])).get(membership.event)
        if own is None:
            return []
        names = await self._storage.strings.intern(["", "m.room.member", own.event.sender, *_STRIPPED_TYPES])
        state = await self._states.current(membership.room)
        keys = [(names[type_], names[""]) for type_ in _STRIPPED_TYPES]
        keys.append((names["m.room.member"], names[own.event.sender]))
        wanted = [row.event for key in keys if (row := state.get(key)) is not None and row.event is not None]
        events = await self._storage.events.get(wanted)
        shown = [events[number] for number in wanted if number in events and number != own.number]
        return [*shown, own]

    async def _summary_of(self, one: JoinedRoom, timeline: Timeline, reader: Reader) -> Summary | None:
        """The summary where it is new to the client or may have changed."""
        if one.is_new or reader.full_state or any(e.event.type in _SUMMARISED for e in timeline.scanned):
            return await self._summaries.of(one.room)
        return None

    def _state_of(
        self,
        one: JoinedRoom,
        timelines: Mapping[int, Timeline],
        summaries: Mapping[int, Summary | None],
        reader: Reader,
    ) -> StateOf:
        summary = summaries[one.room]
        return StateOf(
            room=one.room,
            whole=one.is_new or reader.full_state,
            known_at=reader.after,
            timeline=timelines[one.room],
            heroes=summary.heroes(reader.requester.user_id) if summary is not None else (),
        )

    async def _write_joined(
        self,
        one: JoinedRoom,
        reader: Reader,
        view: RoomView,
        timeline: Timeline,
        state: Sequence[StoredEvent],
        ephemeral: Sequence[dict[str, Any]],
        unread: RoomUnread,
        summary: Summary | None,
    ) -> bytes:
        events = await self._events(one.room, timeline.events, reader, view)
        state_events = await self._events(one.room, state, reader, view) if state else []
        parts = [
            b'%b:{"timeline":%b' % (_encode(one.room_id), _timeline(timeline, events, reader)),
            b'"state":{"events":[%b]}' % b",".join(state_events),
            b'"account_data":%b' % _encode({"events": one.account_data}),
            b'"ephemeral":%b' % _encode({"events": ephemeral}),
            _unread(unread, reader.filter.timeline.unread_thread_notifications),
            b'"summary":%b}' % (_encode(summary.json(reader.requester.user_id)) if summary else b"{}"),
        ]
        return b",".join(parts)

    async def _events(
        self, room: int, events: Sequence[StoredEvent], reader: Reader, view: RoomView
    ) -> list[bytes]:
        rendered = await self._presentation.render(
            room,
            events,
            reader.requester,
            view,
            with_room_id=False,
            federation_format=reader.filter.event_format is EventFormat.FEDERATION,
        )
        fields = reader.filter.event_fields
        if fields is None:
            return rendered
        return [_encode(fields.of(msgspec.json.decode(event))) for event in rendered]


def _timeline(timeline: Timeline, events: Sequence[bytes], reader: Reader) -> bytes:
    return b'{"events":[%b],"limited":%b,"prev_batch":"%b"}' % (
        b",".join(events),
        b"true" if timeline.limited else b"false",
        timeline.prev_batch(reader.since or reader.upto).encode(),
    )


def _unread(unread: RoomUnread, by_thread: bool) -> bytes:
    if not by_thread:
        notifications, highlights = unread.total()
        return b'"unread_notifications":{"notification_count":%d,"highlight_count":%d}' % (
            notifications,
            highlights,
        )
    threads = {
        root: {"notification_count": notifications, "highlight_count": highlights}
        for root, (notifications, highlights) in unread.threads.items()
    }
    return (
        b'"unread_notifications":{"notification_count":%d,"highlight_count":%d},"unread_thread_notifications":%b'
        % (unread.notification_count, unread.highlight_count, _encode(threads))
    )
