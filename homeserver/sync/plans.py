# SPDX-License-Identifier: Apache-2.0
"""Which rooms and which account data a sync has to tell, before anything of the rooms is looked at.

spec: client-server-api, "Syncing".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from federation.http.endpoint import Requester
from homeserver.feed.feed import Feed
from homeserver.filtering.event_predicate import EventPredicate
from homeserver.rooms.history import History, RoomView
from homeserver.rooms.tokens import SyncToken
from homeserver.sync.ephemeral import Ephemeral
from homeserver.sync.reader import Reader
from homeserver.sync.sections import JoinedRoom, LeftRoom
from storage.account_data import GLOBAL, AccountData
from storage.engine.database import Transaction
from storage.event import StoredEvent
from storage.memberships import Membership
from storage.stores import Storage

_PUSH_RULES = "m.push_rules"
_LEFT = frozenset({"leave", "ban"})
_LISTED = frozenset({"join", "invite", "knock"})


@attrs.frozen
class Touched:
    """What may have news for a user, as of one moment: memberships of rooms by room.

    `moved` are the rooms of which the membership itself changed. `account_data`: some of it may have changed.
    """

    rooms: Mapping[int, Membership]
    moved: frozenset[int]
    account_data: bool


@attrs.frozen
class Plan:
    """Rooms by section, and global account data as events."""

    joined: Sequence[JoinedRoom] = ()
    invited: Sequence[tuple[str, Membership]] = ()
    knocked: Sequence[tuple[str, Membership]] = ()
    left: Sequence[LeftRoom] = ()
    account_data: Sequence[dict[str, Any]] = ()


@attrs.frozen
class _Past:
    """How the user stood in a room between the beginning of the sync and now.

    `was_listed`: the client had it in one of its lists at the beginning, as joined, invited or knocked on.
    `known`: joined at the beginning. `stayed`: and never anything else since. `was_in`: joined at some
    time after the beginning. `left_at`: the position of the last leave, None where there was none.
    """

    was_listed: bool
    known: bool
    stayed: bool
    was_in: bool
    left_at: int | None


class Plans:
    """Makes plans. `push_rules` gives the content of a user's `m.push_rules`."""

    def __init__(
        self,
        *,
        storage: Storage,
        feed: Feed,
        history: History,
        ephemeral: Ephemeral,
        push_rules: Callable[[Requester], Awaitable[Mapping[str, Any]]],
    ) -> None:
        self._storage = storage
        self._feed = feed
        self._history = history
        self._ephemeral = ephemeral
        self._push_rules = push_rules

    def touched(
        self, account: int, since: SyncToken, memberships: Mapping[int, Membership]
    ) -> Touched | None:
        """What may have changed since a token; None where nothing has. Costs what has changed."""
        feed = self._feed
        account_data = feed.account_changed_since(account, since.position)
        rooms = feed.changed_rooms(since.position, memberships)
        if self._ephemeral.may_be_stale(since):
            rooms = list(memberships)
        else:
            rooms += feed.typing.rooms_since(since.typing, memberships)
        if not (account_data or rooms):
            return None
        moved: Iterable[int] = ()
        if account_data:
            moved = [m.room for m in memberships.values() if m.position > since.position]
        concerned = {room: memberships[room] for room in (*rooms, *moved)}
        return Touched(concerned, frozenset(moved), account_data)

    def everything(
        self, account: int, since: SyncToken | None, memberships: Mapping[int, Membership]
    ) -> Touched:
        """All rooms, for an initial sync or one that wants the full state."""
        if since is None:
            return Touched(dict(memberships), frozenset(memberships), account_data=True)
        touched = self.touched(account, since, memberships) or Touched({}, frozenset(), account_data=False)
        joined = {room: m for room, m in memberships.items() if m.membership == "join"}
        return attrs.evolve(touched, rooms={**joined, **touched.rooms})

    async def plan(self, reader: Reader, touched: Touched) -> Plan:
        """What the reader is to be told of what was touched."""
        account_data: Sequence[AccountData] = ()
        rooms = touched.rooms
        if touched.account_data:
            account_data = await self._account_data(reader)
            rooms = await self._with_rooms_of(account_data, reader, rooms)
        names = await self._wanted_rooms(rooms, reader)
        moved = [rooms[room] for room in names if room in touched.moved]
        past = await self._past(moved, reader)
        return Plan(
            joined=await self._joined(names, rooms, past, account_data, reader),
            invited=[(names[m.room], m) for m in moved if m.membership == "invite"],
            knocked=[(names[m.room], m) for m in moved if m.membership == "knock"],
            left=await self._left(names, moved, past, reader),
            account_data=await self._global_account_data(account_data, reader),
        )

    async def _account_data(self, reader: Reader) -> list[AccountData]:
        found = await self._storage.account_data.since(reader.requester.user, reader.after)
        return [data for data in found if data.position <= reader.upto.position]

    async def _with_rooms_of(
        self, account_data: Sequence[AccountData], reader: Reader, rooms: Mapping[int, Membership]
    ) -> Mapping[int, Membership]:
        """The rooms, and those of the account data."""
        more = {data.room for data in account_data} - {GLOBAL} - rooms.keys()
        if not more:
            return rooms
        memberships = await self._feed.user_rooms.of_account(reader.requester.user)
        # A membership that has changed meanwhile is the next sync's to tell.
        found = {room: memberships[room] for room in more if room in memberships}
        return {**rooms, **{r: m for r, m in found.items() if m.position <= reader.upto.position}}

    async def _wanted_rooms(self, rooms: Mapping[int, Membership], reader: Reader) -> dict[int, str]:
        """The ids of those of the rooms that the filter wants."""
        if not rooms or reader.filter.wants_no_room:
            return {}
        names = await self._storage.strings.values(rooms)
        if reader.filter.wants_all_rooms:
            return names
        return {room: room_id for room, room_id in names.items() if reader.filter.wants_room(room_id)}

    async def _past(self, moved: Sequence[Membership], reader: Reader) -> dict[int, _Past]:
        """How the user stood in the rooms where their membership changed and that need to know it."""
        rooms = [m.room for m in moved if m.membership in _LEFT or (m.membership == "join" and reader.since)]
        if not rooms:
            return {}
        requester, states = reader.requester, self._storage.states
        views = await self._history.views(rooms, requester.user, requester.user_id)
        left = {room: revision for room in rooms if (revision := views[room].left_at) is not None}
        after, upto = reader.after, reader.upto.position

        def read(
            txn: Transaction,
        ) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
            asked = [(room, position) for room in rooms for position in {after, upto}]
            return states.revisions_at_txn(txn, asked), states.positions_txn(txn, left.items())

        revisions, positions = await self._storage.database.read("memberships then", read)
        return {
            room: _past(
                views[room],
                revisions[room, after],
                revisions[room, upto],
                positions.get((room, left.get(room, -1))),
            )
            for room in rooms
        }

    async def _joined(
        self,
        names: Mapping[int, str],
        rooms: Mapping[int, Membership],
        past: Mapping[int, _Past],
        account_data: Sequence[AccountData],
        reader: Reader,
    ) -> list[JoinedRoom]:
        of_rooms: dict[int, list[AccountData]] = {}
        for data in account_data:
            of_rooms.setdefault(data.room, []).append(data)
        joined = []
        for room, room_id in names.items():
            if rooms[room].membership != "join":
                continue
            own: Sequence[AccountData] = of_rooms.get(room, ())
            is_new = reader.since is None or (room in past and not past[room].stayed)
            if is_new and reader.since is not None:
                own = await self._storage.account_data.of_room(reader.requester.user, room)
            known = reader.since is not None and (room not in past or past[room].known)
            joined.append(JoinedRoom(room, room_id, is_new, known, self._of_room(own, room_id, reader)))
        return joined

    async def _left(
        self,
        names: Mapping[int, str],
        moved: Sequence[Membership],
        past: Mapping[int, _Past],
        reader: Reader,
    ) -> list[LeftRoom]:
        left = []
        for m in moved:
            if m.membership not in _LEFT:
                continue
            then = past[m.room]
            if m.forgotten and not (then.was_listed or await self._has_left_since(m, reader)):
                continue
            if reader.since is None and not reader.filter.include_leave:
                continue
            own: Sequence[AccountData] = ()
            if then.known or then.was_in:
                own = await self._storage.account_data.of_room(reader.requester.user, m.room)
            event = (await self._storage.events.get([m.event])).get(m.event)
            left.append(
                LeftRoom(
                    room=m.room,
                    room_id=names[m.room],
                    own=m.event,
                    until=_until(m, then, event),
                    known=then.known,
                    was_in=then.was_in,
                    is_outlier=event is not None and event.position is None,
                    account_data=self._of_room(own, names[m.room], reader),
                )
            )
        return left

    async def _has_left_since(self, membership: Membership, reader: Reader) -> bool:
        """Whether the user has left a room that this server is not in after the sync begins."""
        if reader.since is None:
            return False
        found = await self._storage.out_of_band.of_rooms(membership.account, (membership.room,))
        left = found.get(membership.room)
        return left is not None and left.event == membership.event and left.position > reader.after

    def _of_room(
        self, account_data: Sequence[AccountData], room_id: str, reader: Reader
    ) -> list[dict[str, Any]]:
        predicate = reader.filter.room_account_data
        if not account_data or not predicate.wants_room(room_id):
            return []
        return [_event(data) for data in account_data if _wants(predicate, data.type)]

    async def _global_account_data(
        self, account_data: Sequence[AccountData], reader: Reader
    ) -> list[dict[str, Any]]:
        predicate = reader.filter.account_data
        of_user = [data for data in account_data if data.room == GLOBAL]
        events = [_event(d) for d in of_user if d.type != _PUSH_RULES and _wants(predicate, d.type)]
        changed = reader.since is None or any(data.type == _PUSH_RULES for data in of_user)
        if changed and _wants(predicate, _PUSH_RULES):
            rules = await self._push_rules(reader.requester)
            events.append({"type": _PUSH_RULES, "content": rules})
        return events


def _until(membership: Membership, past: _Past, event: StoredEvent | None) -> int:
    """The position up to which the user may be told of a room that they left by `event`."""
    if (past.known or past.was_in) and past.left_at is not None:
        return past.left_at
    return membership.position if event is None or event.position is None else event.position


def _wants(predicate: EventPredicate, type_: str) -> bool:
    return not predicate.is_nothing and predicate.wants_type(type_)


def _event(data: AccountData) -> dict[str, Any]:
    return {"type": data.type, "content": msgspec.Raw(data.content)}


def _past(view: RoomView, first: int, last: int, left_at: int | None) -> _Past:
    """`first` and `last` are the revisions of the room where the sync begins and ends."""
    before = view.memberships.at(first)
    # A room that is joined with a given state has had that state always, but nobody knew of it.
    known = before == "join" and first > 0
    return _Past(
        was_listed=before in _LISTED,
        known=known,
        stayed=known and view.memberships.between(first, last) == {"join"},
        was_in="join" in view.memberships.between(first + 1, last),
        left_at=left_at,
    )
