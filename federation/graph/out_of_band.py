# SPDX-License-Identifier: Apache-2.0
"""Memberships of rooms that this server is not in: the second entry beside the one door into a room's graph.

An invite or a knock concerns a room of which there is no graph here, or one that is not kept up to date.
What is kept of it is the member event as an outlier and the stripped state that came along. It ends by a
leave (the user's own, which always works, or one of those who invited) or by a join, whose membership takes
its place.

spec: server-server-api, "Inviting to a room", "Knocking upon a room", "Leaving Rooms (Rejecting Invites)".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import DeferredLock

from federation.errors import Forbidden, InvalidParam
from federation.graph.stripped_state import prune_stripped_state, senders_of
from federation.rules.canonical_json import decode_json
from federation.rules.errors import InvalidIdentifier
from federation.rules.event_json import largest_integer
from federation.rules.hashing import reference_hash
from federation.rules.identifiers import server_of
from federation.rules.room_versions import RoomVersion, room_version
from federation.rules.signing import SigningKey, build_event
from storage.engine.database import Transaction
from storage.engine.errors import DataError
from storage.event import Event, StoredEvent
from storage.event_records import NewOutlier
from storage.memberships import Membership
from storage.numbers import EventNumbers
from storage.out_of_band import OutOfBandMembership
from storage.persist import Unit
from storage.runtime.clock import Clock, milliseconds
from storage.stores import Storage
from storage.write_queue import WriteQueue

Vet: TypeAlias = Callable[[Event], Awaitable[None]]
"""Refuses a membership by raising a domain error, as the user's own settings demand."""

_MEMBER = "m.room.member"
_BEGINS = ("invite", "knock")
_ENDS = ("leave", "ban")
_NO_STATE = b"[]"
_TRIES = 3


class ServerInRoom(Exception):
    """This server is in the room `room_id`: its events enter through the room's graph."""

    def __init__(self, room_id: str) -> None:
        super().__init__(f"this server is in the room {room_id}")
        self.room_id = room_id


@attrs.frozen
class OutOfBand:
    """How a local user stands in a room that this server is not in, and by which event."""

    membership: str
    stored: StoredEvent
    version: RoomVersion
    stripped_state: bytes


@attrs.frozen
class _Known:
    """What is known before a change: the numbers of the event's strings, and how the user stands."""

    room: int
    account: int
    membership: Membership | None
    row: OutOfBandMembership | None
    is_in_room: bool

    @property
    def is_out_of_band(self) -> bool:
        """Whether the user's membership came without the room."""
        return (
            self.row is not None and self.membership is not None and self.row.event == self.membership.event
        )


class OutOfBandMemberships:
    """The one writer of such memberships, for the process that owns the rooms.

    `turn_of` gives the lock of a room id. Whoever takes this server into a room holds it, too, from before
    the join until it is committed. With `forget_on_leave` a room is forgotten as soon as it is left.
    """

    def __init__(
        self,
        *,
        server_name: str,
        key: SigningKey,
        clock: Clock,
        storage: Storage,
        numbers: EventNumbers,
        queue: WriteQueue,
        turn_of: Callable[[str], DeferredLock],
        forget_on_leave: bool = False,
    ) -> None:
        self._server_name = server_name
        self._key = key
        self._clock = clock
        self._storage = storage
        self._numbers = numbers
        self._queue = queue
        self._turn_of = turn_of
        self._forget_on_leave = forget_on_leave

    def turn(self, room_id: str) -> DeferredLock:
        """The room's lock: `async with memberships.turn(room_id):` around a join of this server."""
        return self._turn_of(room_id)

    async def current(self, user_id: str, room_id: str) -> OutOfBand | None:
        """How the local user stands in the room, if that came from outside of it; a leave stays known."""
        known = await self._known(user_id, room_id)
        return None if known is None else await self._out_of_band(known)

    async def remember(
        self, event: Event, version: RoomVersion, stripped_state: Sequence[Any], vet: Vet
    ) -> StoredEvent:
        """Keep the invite or knock of a local user with what it says of the room; returns it as an outlier.

        It takes the place of an earlier membership. An event that is known already changes nothing. Its
        format and its signatures have been checked before.
        Raises `InvalidParam` for any other event, `ServerInRoom`, what `vet` raises and what
        `WriteQueue.submit` does.
        """
        user_id = self._subject(event, _BEGINS)
        if event.content["membership"] == "knock" and event.sender != user_id:
            raise InvalidParam(f"{event.sender} cannot knock for {user_id}")
        await vet(event)
        shown = prune_stripped_state(stripped_state, leave_out=(_MEMBER, user_id))
        async with self._turn_of(event.room_id):
            known = await self._interned(event)
            if known.is_in_room:
                raise ServerInRoom(event.room_id)
            stored = await self._stored(event)
            if stored is not None and (known.membership is not None or stored.position is not None):
                return stored
            return await self._write(event, known, version.identifier, shown)

    async def leave(
        self,
        user_id: str,
        room_id: str,
        *,
        content: Mapping[str, Any] | None = None,
        event: Event | None = None,
        leaving: int | None = None,
    ) -> StoredEvent | None:
        """The local user leaves: rejects the invite, retracts the knock. Returns the leave.

        `event` is the leave that a server in the room has accepted. Where none has, this server makes one
        with `content`, which goes nowhere. `leaving` is the number of the member event that the user has
        seen: a newer invite stays. Who has left already stays so. None: the user has no membership of this
        kind, and leaving is for the room's graph.
        Raises `InvalidParam` where `event` is no leave of theirs, and what `WriteQueue.submit` raises.
        """
        if event is not None and not (
            self._subject(event, ("leave",)) == user_id == event.sender and event.room_id == room_id
        ):
            raise InvalidParam(f"{event.event_id} is no leave of {user_id} from {room_id}")
        async with self._turn_of(room_id):
            current = await self.current(user_id, room_id)
            if current is None:
                return None
            if current.membership in _ENDS or leaving not in (None, current.stored.number):
                return current.stored
            left = event or self._own_leave(current, user_id, content or {"membership": "leave"})
            return await self._end(left, current)

    async def rescind(self, event: Event) -> StoredEvent | None:
        """Take in the leave or ban by which others end a local user's invite or knock; returns it.

        Only those may who could: the server that invited, or one of those that the stripped state of the room
        speaks of. The event names the membership that it ends among its auth events; where that is not the
        user's current one, there is nothing to end and None is returned. Its format and its signatures have
        been checked before. Raises `InvalidParam`, `Forbidden`, and what `WriteQueue.submit` raises.
        """
        user_id = self._subject(event, _ENDS)
        async with self._turn_of(event.room_id):
            current = await self.current(user_id, event.room_id)
            if current is None or current.stored.event.event_id not in event.auth_events:
                return None
            if current.membership in _ENDS:
                return None
            if server_of(event.sender) not in _servers_that_may_end(current, self._server_name):
                raise Forbidden(f"{event.sender} cannot end the {current.membership} of {user_id}")
            return await self._end(event, current)

    def _subject(self, event: Event, memberships: tuple[str, ...]) -> str:
        """The local user whom the member event is about. Raises `InvalidParam`."""
        user_id = event.state_key
        if event.type != _MEMBER or user_id is None:
            raise InvalidParam(f"{event.event_id} is no membership")
        if event.content.get("membership") not in memberships:
            raise InvalidParam(f"membership: must be {' or '.join(memberships)}")
        if not user_id.startswith("@") or user_id.partition(":")[2] != self._server_name:
            raise InvalidParam(f"state_key: {user_id[:300]!r} is no user of this server")
        return user_id

    async def _interned(self, event: Event) -> _Known:
        """What is known, with numbers for all strings of the event."""
        await self._storage.strings.intern(_strings_of(event))
        known = await self._known(event.state_key or "", event.room_id)
        assert known is not None, "the strings were interned"
        return known

    async def _known(self, user_id: str, room_id: str) -> _Known | None:
        """What is known of the user and the room; None where either was never heard of."""
        storage = self._storage
        numbers = await storage.strings.find((user_id, room_id))
        room, account = numbers.get(room_id), numbers.get(user_id)
        if room is None or account is None:
            return None

        def read(txn: Transaction) -> _Known:
            return _Known(
                room=room,
                account=account,
                membership=storage.memberships.get_txn(txn, account, room),
                row=storage.out_of_band.of_rooms_txn(txn, account, (room,)).get(room),
                is_in_room=storage.memberships.is_anybody_joined_txn(txn, room),
            )

        return await storage.database.read("out-of-band membership", read)

    async def _out_of_band(self, known: _Known) -> OutOfBand | None:
        if known.row is None or known.membership is None or not known.is_out_of_band:
            return None
        stored = (await self._storage.events.get((known.row.event,)))[known.row.event]
        version = room_version(known.row.version)
        return OutOfBand(known.membership.membership, stored, version, known.row.stripped_state)

    async def _stored(self, event: Event) -> StoredEvent | None:
        """The event if it is known. Raises `InvalidParam` where another one has its id."""
        stored = (await self._storage.events.by_id((event.event_id,))).get(event.event_id)
        if stored is not None and stored.event.json != event.json:
            same = stored.event
            if (same.room_id, same.type, same.state_key) != (event.room_id, event.type, event.state_key):
                raise InvalidParam(f"{event.event_id} is the id of another event")
        return stored

    async def _end(self, event: Event, current: OutOfBand) -> StoredEvent:
        known = await self._interned(event)
        return await self._write(event, known, current.version.identifier, _NO_STATE)

    async def _write(self, event: Event, known: _Known, version: str, stripped_state: bytes) -> StoredEvent:
        """The membership as one unit. The event may become known by another way meanwhile."""
        for _ in range(_TRIES - 1):
            try:
                return await self._write_once(event, known, version, stripped_state)
            except DataError:
                if await self._stored(event) is None:
                    raise
        return await self._write_once(event, known, version, stripped_state)

    async def _write_once(
        self, event: Event, known: _Known, version: str, stripped_state: bytes
    ) -> StoredEvent:
        records: list[Any] = []
        stored = await self._stored(event)
        if stored is None:
            await self._numbers.reserve(1)
            numbers = await self._storage.strings.intern(_strings_of(event))
            stored = StoredEvent(event, self._numbers.take(1)[0], position=None, topo=None, before=None)
            records.append(
                NewOutlier(
                    stored,
                    known.room,
                    numbers[event.type],
                    known.account,
                    numbers[event.sender],
                )
            )
        membership = str(event.content["membership"])
        forgotten = self._forget_on_leave and membership in _ENDS
        records += (
            Membership(known.account, known.room, membership, stored.number, forgotten, index=1),
            OutOfBandMembership(known.account, known.room, stored.number, version, stripped_state, index=1),
        )
        await self._queue.submit(Unit(records, positions=1))
        return stored

    def _own_leave(self, current: OutOfBand, user_id: str, content: Mapping[str, Any]) -> Event:
        """A leave that follows the event which it ends. It is shown to the user and sent to nobody."""
        ended = current.stored.event
        fields = {
            "type": _MEMBER,
            "sender": user_id,
            "state_key": user_id,
            "room_id": ended.room_id,
            "content": content,
            "origin_server_ts": milliseconds(self._clock),
            "depth": min(ended.depth + 1, largest_integer(current.version)),
            "prev_events": [ended.event_id],
            "auth_events": [ended.event_id],
        }
        version = current.version
        hashes = None
        if version.references_have_hashes:
            hashes = {ended.event_id: reference_hash(decode_json(ended.json), version)}
        return build_event(fields, version, self._server_name, self._key, reference_hashes=hashes)


def _strings_of(event: Event) -> tuple[str, ...]:
    return (event.room_id, event.type, event.sender, event.state_key or "")


def _servers_that_may_end(current: OutOfBand, server_name: str) -> frozenset[str]:
    """The server of who invited; for a knock those of everybody whom the room's stripped state names."""
    if current.membership == "invite":
        return frozenset({server_of(current.stored.event.sender)})
    servers = set()
    for sender in senders_of(current.stripped_state):
        try:
            servers.add(server_of(sender))
        except InvalidIdentifier:  # pruned state holds user ids only
            continue
    return frozenset(servers - {server_name})
