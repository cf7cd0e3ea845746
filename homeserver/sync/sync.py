# SPDX-License-Identifier: Apache-2.0
"""`/sync`: one face of the change feed.

spec: client-server-api, "Syncing".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from twisted.internet.task import deferLater

from federation.http.endpoint import Requester
from homeserver.feed.feed import Feed
from homeserver.rooms.history import History
from homeserver.rooms.tokens import SyncToken
from homeserver.sync.filter.filter import Filter
from homeserver.sync.reader import Reader
from homeserver.sync.sections import JoinedRoom, LeftRoom, Sections
from storage.account_data import GLOBAL, AccountData
from storage.memberships import Membership
from storage.runtime.clock import Clock
from storage.stores import Storage

_ROOMS_AT_ONCE = 20
"""So many rooms of an initial sync are computed before others get their turn."""

_LONGEST_CATCH_UP = 5.0
"""Seconds to wait for a position that another process has given."""

# What is not there yet, in its empty form.
_REST = (
    b'"presence":{"events":[]},"to_device":{"events":[]},"device_lists":{"changed":[],"left":[]},'
    b'"device_one_time_keys_count":{"signed_curve25519":0},"device_unused_fallback_key_types":[]}'
)
_NOTHING = (
    b'{"next_batch":"%b","account_data":{"events":[]},"rooms":{"join":{},"invite":{},"leave":{},"knock":{}},'
    + _REST
)


@attrs.frozen
class SyncRequest:
    """What a client asks for; `timeout` in seconds."""

    requester: Requester
    since: SyncToken | None
    filter: Filter
    timeout: float = 0.0
    full_state: bool = False


@attrs.frozen
class _Plan:
    """What a sync will tell: rooms by section, and global account data."""

    joined: Sequence[JoinedRoom] = ()
    invited: Sequence[tuple[str, Membership]] = ()
    knocked: Sequence[tuple[str, Membership]] = ()
    left: Sequence[LeftRoom] = ()
    account_data: Sequence[dict[str, Any]] = ()


class Sync:
    """Answers syncs. `push_rules` gives the content of a user's `m.push_rules`."""

    def __init__(
        self,
        *,
        storage: Storage,
        feed: Feed,
        history: History,
        sections: Sections,
        push_rules: Callable[[Requester], Awaitable[Mapping[str, Any]]],
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._feed = feed
        self._history = history
        self._sections = sections
        self._push_rules = push_rules
        self._clock = clock

    async def answer(self, request: SyncRequest) -> bytes | AsyncIterator[bytes]:
        """The JSON of the answer, at once or, where it may be long, in parts."""
        if request.since is None or request.full_state:
            return self._stream(request)
        since = request.since
        user = request.requester.user
        memberships = await self._feed.user_rooms.of_account(user)
        if since.position > self._feed.position:
            await self._catch_up(since.position)
        deadline = self._clock.seconds() + request.timeout
        while True:
            upto = self._now(since)
            if self._may_have_changed(user, since, memberships):
                reader = Reader(request.requester, request.filter, since, upto)
                written = await self._incremental(reader, memberships)
                if written is not None:
                    return written
            # Nothing was awaited since the feed was looked at, or it is looked at again.
            if upto != self._now(since):
                continue
            if not await self._feed.waiting.wait(user, deadline - self._clock.seconds()):
                return _NOTHING % str(self._now(since)).encode()

    def _now(self, since: SyncToken | None = None) -> SyncToken:
        """Where the feed stands; never before what the client has seen."""
        position, typing = self._feed.position, self._feed.typing.stamp
        if since is not None:
            position, typing = max(position, since.position), max(typing, since.typing)
        return SyncToken(position, typing)

    async def _catch_up(self, position: int) -> None:
        deadline = self._clock.seconds() + _LONGEST_CATCH_UP
        while self._feed.position < position and self._clock.seconds() < deadline:
            await deferLater(self._clock, 0.05)  # type: ignore[arg-type]

    def _may_have_changed(self, user: int, since: SyncToken, memberships: Mapping[int, Membership]) -> bool:
        feed = self._feed
        return (
            feed.account_changed_since(user, since.position)
            or bool(feed.changed_rooms(since.position, memberships))
            or bool(feed.typing.rooms_since(since.typing, memberships))
        )

    async def _incremental(self, reader: Reader, memberships: Mapping[int, Membership]) -> bytes | None:
        """The answer of what changed; None where it is nothing that this client is told."""
        plan = await self._plan_changes(reader, memberships)
        joined = await self._sections.joined(plan.joined, reader) if plan.joined else []
        invited = await self._sections.invited(plan.invited, "invite_state")
        knocked = await self._sections.invited(plan.knocked, "knock_state")
        left = await self._sections.left(plan.left, reader)
        if not (joined or invited or knocked or left or plan.account_data):
            return None
        return b"".join(
            (
                self._head(reader, plan),
                b'"rooms":{"join":{%b},"invite":{%b},"leave":{%b},"knock":{%b}},'
                % (b",".join(joined), b",".join(invited), b",".join(left), b",".join(knocked)),
                _REST,
            )
        )

    async def _stream(self, request: SyncRequest) -> AsyncIterator[bytes]:
        """An initial sync, or one with the full state, a few rooms at a time."""
        memberships = dict(await self._feed.user_rooms.of_account(request.requester.user))
        upto = self._now(request.since)
        reader = Reader(request.requester, request.filter, request.since, upto, request.full_state)
        plan = await self._plan_everything(reader, memberships)
        yield self._head(reader, plan) + b'"rooms":{"join":{'
        first = True
        for i in range(0, len(plan.joined), _ROOMS_AT_ONCE):
            part = b",".join(await self._sections.joined(plan.joined[i : i + _ROOMS_AT_ONCE], reader))
            if part:
                yield part if first else b"," + part
                first = False
                await deferLater(self._clock, 0)  # type: ignore[arg-type]
        invited = await self._sections.invited(plan.invited, "invite_state")
        knocked = await self._sections.invited(plan.knocked, "knock_state")
        left = await self._sections.left(plan.left, reader)
        yield b'},"invite":{%b},"leave":{%b},"knock":{%b}},%b' % (
            b",".join(invited),
            b",".join(left),
            b",".join(knocked),
            _REST,
        )

    def _head(self, reader: Reader, plan: _Plan) -> bytes:
        return b'{"next_batch":"%b","account_data":%b,' % (
            str(reader.upto).encode(),
            msgspec.json.encode({"events": plan.account_data}),
        )

    async def _plan_everything(self, reader: Reader, memberships: Mapping[int, Membership]) -> _Plan:
        plan = await self._plan_changes(reader, memberships)
        if reader.since is None:
            return plan
        # The full state: every joined room is told, changed or not.
        told = {one.room for one in plan.joined}
        rest = [m.room for m in memberships.values() if m.membership == "join" and m.room not in told]
        names = await self._wanted_rooms(rest, reader)
        more = [JoinedRoom(room, room_id, is_new=False) for room, room_id in names.items()]
        return attrs.evolve(plan, joined=[*plan.joined, *more])

    async def _plan_changes(self, reader: Reader, memberships: Mapping[int, Membership]) -> _Plan:
        since = reader.since
        user = reader.requester.user
        account_data: list[AccountData] = []
        rooms = set(memberships)
        moved: list[Membership] = []
        if since is not None:
            rooms = set(self._feed.changed_rooms(since.position, memberships))
            rooms.update(self._feed.typing.rooms_since(since.typing, memberships))
        if since is None or self._feed.account_changed_since(user, since.position):
            account_data = [
                data
                for data in await self._storage.account_data.since(user, reader.after)
                if data.position <= reader.upto.position
            ]
            moved = [m for m in memberships.values() if m.position > reader.after]
            rooms.update(m.room for m in moved)
            rooms.update(data.room for data in account_data if data.room in memberships)
        names = await self._wanted_rooms(rooms, reader)
        known = await self._known_as_joined([m for m in moved if m.room in names], reader)
        return _Plan(
            joined=await self._joined(names, memberships, known, account_data, moved, reader),
            invited=_standing(moved, names, "invite"),
            knocked=_standing(moved, names, "knock"),
            left=[
                LeftRoom(names[m.room], m, known=m.room in known)
                for m in moved
                if m.room in names and m.membership in ("leave", "ban") and not m.forgotten
                if since is not None or reader.filter.include_leave
            ],
            account_data=await self._global_account_data(account_data, reader),
        )

    async def _joined(
        self,
        names: Mapping[int, str],
        memberships: Mapping[int, Membership],
        known: set[int],
        account_data: Sequence[AccountData],
        moved: Sequence[Membership],
        reader: Reader,
    ) -> list[JoinedRoom]:
        of_rooms: dict[int, list[AccountData]] = {}
        for data in account_data:
            of_rooms.setdefault(data.room, []).append(data)
        moved_rooms = {m.room for m in moved}
        joined = []
        for room, room_id in names.items():
            if memberships[room].membership != "join":
                continue
            is_new = reader.since is None or (room in moved_rooms and room not in known)
            own = of_rooms.get(room, [])
            if is_new and reader.since is not None:
                own = await self._storage.account_data.of_room(reader.requester.user, room)
            joined.append(JoinedRoom(room, room_id, is_new, _account_data_events(own, reader)))
        return joined

    async def _wanted_rooms(self, rooms: set[int] | Sequence[int], reader: Reader) -> dict[int, str]:
        """The ids of those of the rooms that the filter wants."""
        if not rooms or reader.filter.wants_no_room:
            return {}
        names = await self._storage.strings.values(rooms)
        if reader.filter.wants_all_rooms:
            return names
        return {room: room_id for room, room_id in names.items() if reader.filter.wants_room(room_id)}

    async def _known_as_joined(self, moved: Sequence[Membership], reader: Reader) -> set[int]:
        """Those of the rooms that the client had as joined where the sync begins."""
        if reader.since is None or not moved:
            return set()
        rooms = [m.room for m in moved]
        requester = reader.requester
        views = await self._history.views(rooms, requester.user, requester.user_id)
        states, after = self._storage.states, reader.after
        revisions = await self._storage.database.read(
            "revisions", lambda txn: [states.revision_at_txn(txn, room, after) for room in rooms]
        )
        return {
            room
            for room, revision in zip(rooms, revisions, strict=True)
            if views[room].memberships.at(revision) == "join"
        }

    async def _global_account_data(
        self, account_data: Sequence[AccountData], reader: Reader
    ) -> list[dict[str, Any]]:
        predicate = reader.filter.account_data
        events: list[dict[str, Any]] = [
            {"type": data.type, "content": msgspec.Raw(data.content)}
            for data in account_data
            if data.room == GLOBAL and predicate.wants_type(data.type)
        ]
        if reader.since is None and predicate.wants_type("m.push_rules"):
            rules = await self._push_rules(reader.requester)
            events.append({"type": "m.push_rules", "content": rules})
        return events


def _standing(
    moved: Sequence[Membership], names: Mapping[int, str], membership: str
) -> list[tuple[str, Membership]]:
    return [(names[m.room], m) for m in moved if m.room in names and m.membership == membership]


def _account_data_events(account_data: Sequence[AccountData], reader: Reader) -> list[dict[str, Any]]:
    predicate = reader.filter.room_account_data
    return [
        {"type": data.type, "content": msgspec.Raw(data.content)}
        for data in account_data
        if predicate.wants_type(data.type)
    ]
