# SPDX-License-Identifier: Apache-2.0
"""A room as one user may read it: who may, as of when, and its events one by one.

spec: client-server-api, "Getting events for a room".
"""

from __future__ import annotations

import attrs

from federation.errors import Forbidden, NotFound
from federation.http.endpoint import Requester
from homeserver.feed.feed import Feed
from homeserver.rooms.checks import not_in_room
from homeserver.rooms.history import History, RoomView, states_on_branches
from homeserver.rooms.states import RoomStates, StateMap
from homeserver.rooms.visibility import Visibility
from storage.event import StateAt, StoredEvent
from storage.stores import Storage


@attrs.frozen
class ReadableRoom:
    """A room that a user may read.

    For one who reads what there was while they were in it, `left_at` is the state in which they left, and
    `until` a position after which there is nothing for them, if there is such; None while they may read on.
    """

    room: int
    room_id: str
    view: RoomView
    until: int | None = None
    left_at: StateAt | None = None


class RoomReading:
    """Reads rooms on behalf of users."""

    def __init__(self, *, storage: Storage, feed: Feed, history: History, states: RoomStates) -> None:
        self._storage = storage
        self._feed = feed
        self._history = history
        self._states = states

    async def access_room(self, requester: Requester, room_id: str) -> ReadableRoom:
        """The room for one who is in it, was in it, or may read it because anybody may.

        Raises `Forbidden` for everybody else, and where there is no such room, alike.
        """
        room = await self._room(room_id)
        if room is None:
            raise not_in_room(requester.user_id)
        membership = (await self._feed.user_rooms.of_account(requester.user)).get(room)
        view = await self._history.view(room, requester.user, requester.user_id)
        if (membership is not None and membership.membership == "join") or view.is_world_readable:
            return ReadableRoom(room, room_id, view)
        left_at = view.left_at
        if membership is None or left_at is None or membership.forgotten:
            raise not_in_room(requester.user_id)
        # Invites may show what comes after them, and so may a time when anybody could read the room.
        ended = membership.membership in ("leave", "ban") and not _was_open_since(view, left_at)
        until = membership.position if ended else None
        return ReadableRoom(room, room_id, view, until, StateAt(0, left_at))

    async def access_joined(self, requester: Requester, room_id: str) -> int:
        """The number of a room that the user is joined to. Raises `Forbidden`."""
        room = await self._room(room_id)
        if room is not None:
            membership = (await self._feed.user_rooms.of_account(requester.user)).get(room)
            if membership is not None and membership.membership == "join":
                return room
        raise not_in_room(requester.user_id)

    async def state(self, room: ReadableRoom) -> StateMap:
        """The state of the room now, or as the user left it."""
        if room.left_at is None:
            return (await self._states.currents([room.room]))[room.room]
        return await self._at(room, room.left_at)

    async def state_at(self, room: ReadableRoom, state: StateAt) -> StateMap:
        """The state of the room at an earlier point, or as the user left it if that was before.

        Raises `Forbidden` where the history visibility keeps that point from the user.
        """
        if room.left_at is not None and not state.branch and state.revision >= room.left_at.revision:
            return await self._at(room, room.left_at)
        if not (await self._history.extended_view(room.view, [state])).sees_state(state):
            raise Forbidden("You may not see the room as it was then")
        return await self._at(room, state)

    async def _at(self, room: ReadableRoom, state: StateAt) -> StateMap:
        return (await self._states.at_each([(room.room, state)]))[room.room]

    async def event(
        self, requester: Requester, room_id: str, event_id: str
    ) -> tuple[ReadableRoom, StoredEvent]:
        """An event of a room, and the room as the user sees it.

        It may be one that was sent when the user could read the room, though they cannot any longer. Raises
        `NotFound` where there is none that the user may see.
        """
        number = await self._room(room_id)
        if number is None:
            raise _no_such_event()
        membership = (await self._feed.user_rooms.of_account(requester.user)).get(number)
        view = await self._history.view(number, requester.user, requester.user_id)
        if membership is not None and membership.forgotten and not view.is_world_readable:
            raise _no_such_event()
        room = ReadableRoom(number, room_id, view)
        stored = (await self._storage.events.by_id([event_id])).get(event_id)
        return room, await self.check_visible(room, stored)

    async def check_visible(self, room: ReadableRoom, stored: StoredEvent | None) -> StoredEvent:
        """The event that was looked for.

        Raises `NotFound` unless it is one of the room that the user may see.
        """
        if stored is None or stored.event.room_id != room.room_id:
            raise _no_such_event()
        view = await self._history.extended_view(room.view, states_on_branches([stored]))
        if not view.sees(stored):
            raise _no_such_event()
        return stored

    async def _room(self, room_id: str) -> int | None:
        """The number of a room that is stored."""
        room = self._storage.strings.known(room_id)
        if room is None:
            room = (await self._storage.strings.find([room_id])).get(room_id)
        return room if room is not None and self._feed.rooms.last(room) else None


def _no_such_event() -> NotFound:
    """The same for an event that there is not and for one that may not be seen."""
    return NotFound("There is no such event in the room, or you may not see it")


def _was_open_since(view: RoomView, revision: int) -> bool:
    """Whether anybody could read the room at any time after this revision."""
    line = view.visibilities
    return any(
        value == Visibility.WORLD_READABLE and end > revision
        for value, end in zip(line.values, line.ends, strict=True)
    )
