# SPDX-License-Identifier: Apache-2.0
"""A room of a running server into which records are written past its graph: what forks, gaps and resolutions
leave in the database, without the graph that makes them.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import attrs
import msgspec

from federation.graph.current_state import membership_of
from homeserver.composition.ground import Ground
from storage.event import Event, StateAt, StoredEvent
from storage.event_records import NewBackfilledEvent, NewEvent, NewOutlier
from storage.events import BEGINNING, END
from storage.memberships import Membership
from storage.numbers import EventNumbers
from storage.persist import Unit
from storage.state_records import NewBranch, NewRevision, StateChange

_NOW = StateAt(0, -1)
"""Stands for the state at the head of branch 0."""


@attrs.define
class RoomRecords:
    """A room; `revision` is the head of its branch 0, `branches` how many others it has.

    Whoever goes on in the room through the API afterwards makes it forget its graph first.
    """

    ground: Ground
    room_id: str
    room: int
    revision: int
    branches: int = 0
    topo: int = 0
    count: int = 0

    @classmethod
    async def of(cls, ground: Ground, room_id: str) -> RoomRecords:
        """The room that has this id."""
        storage = ground.storage
        room = (await storage.strings.find([room_id]))[room_id]
        revision = await storage.database.read("head", lambda txn: storage.states.head_txn(txn, room))
        records = cls(ground, room_id, room, revision)
        await records._read_top()
        return records

    async def _read_top(self) -> None:
        events = self.ground.storage.events
        [last] = await events.states_between(self.room, after=BEGINNING, before=END, backwards=True, limit=1)
        self.topo = last.place.topo

    @property
    def now(self) -> StateAt:
        """The head of branch 0."""
        return StateAt(0, self.revision)

    async def number(self, name: str) -> int:
        """The number of a string."""
        return (await self.ground.storage.strings.intern([name]))[name]

    async def event(
        self,
        sender: str,
        type_: str,
        content: Mapping[str, Any],
        *,
        state_key: str | None = None,
        topo: int | None = None,
        before: StateAt | None = _NOW,
        **fields: Any,
    ) -> StoredEvent:
        """An event that is not stored yet: at the end of the room, unless `topo` says otherwise.

        `fields` are further ones of `StoredEvent`.
        """
        self.count += 1
        if topo is None:
            topo = self.topo = self.topo + 1
        numbers = EventNumbers(self.ground.storage.database)
        await numbers.reserve(1)
        pdu = {
            "type": type_,
            "sender": sender,
            "content": content,
            "origin_server_ts": 1_700_000_000_000 + self.count,
            "depth": max(topo, 1),
            "prev_events": [],
            "auth_events": [],
            "room_id": self.room_id,
            **({} if state_key is None else {"state_key": state_key}),
        }
        json = msgspec.json.encode(pdu)
        event_id = "$" + urlsafe_b64encode(sha256(json).digest())[:43].decode()
        return StoredEvent(
            Event.decode(json, event_id, self.room_id),
            numbers.take(1)[0],
            position=None,
            topo=topo,
            before=self.now if before is _NOW else before,
            **fields,
        )

    async def message(self, sender: str, body: str, **options: Any) -> StoredEvent:
        """A text message that is not stored yet."""
        return await self.event(sender, "m.room.message", {"msgtype": "m.text", "body": body}, **options)

    async def outlier(
        self, sender: str, type_: str, content: Mapping[str, Any], *, state_key: str | None = None
    ) -> StoredEvent:
        """An outlier that is not stored yet."""
        stored = await self.event(sender, type_, content, state_key=state_key, topo=0, before=None)
        return attrs.evolve(stored, topo=None)

    async def new(self, stored: StoredEvent, index: int = 1) -> NewEvent:
        """The record of a live event."""
        return NewEvent(stored, self.room, *await self._names(stored), index)

    async def backfilled(self, stored: StoredEvent, index: int = 1) -> NewBackfilledEvent:
        """The record of a backfilled event."""
        return NewBackfilledEvent(stored, self.room, *await self._names(stored), index)

    async def as_outlier(self, stored: StoredEvent) -> NewOutlier:
        """The record of an outlier."""
        return NewOutlier(stored, self.room, *await self._names(stored))

    async def _names(self, stored: StoredEvent) -> tuple[int, int | None, int]:
        event = stored.event
        state_key = None if event.state_key is None else await self.number(event.state_key)
        return await self.number(event.type), state_key, await self.number(event.sender)

    def branch(self, parent: StateAt) -> NewBranch:
        """The record of another branch."""
        self.branches += 1
        return NewBranch(self.room, self.branches, parent)

    async def change(self, stored: StoredEvent, at: StateAt, *, removed: bool = False) -> StateChange:
        """The record of the event becoming the value of its key at a state, or of the key's end there."""
        event = stored.event
        assert event.state_key is not None
        membership = membership_of(event.content) if event.type == "m.room.member" and not removed else None
        return StateChange(
            self.room,
            at.branch,
            await self.number(event.type),
            await self.number(event.state_key),
            at.revision,
            None if removed else stored.number,
            membership,
        )

    async def revision_of(
        self, *changed: StoredEvent, removed: tuple[StoredEvent, ...] = (), index: int = 1
    ) -> list[Any]:
        """The records of a next revision of branch 0, in which these events are values and those are not.

        Rows of table memberships are among them.
        """
        self.revision += 1
        records: list[Any] = [NewRevision(self.room, self.revision, index)]
        for stored in (*changed, *removed):
            is_gone = stored in removed
            records.append(await self.change(stored, self.now, removed=is_gone))
            user = stored.event.state_key
            if stored.event.type == "m.room.member" and user is not None and self._is_local(user):
                membership = "leave" if is_gone else membership_of(stored.event.content)
                account = await self.number(user)
                records.append(Membership(account, self.room, membership, stored.number, index=index))
        return records

    def _is_local(self, user_id: str) -> bool:
        return user_id.endswith(":" + self.ground.config.server_name)

    async def write(self, *records: Any) -> int:
        """Write the records as one unit; returns the position before its first."""
        positions = max((getattr(record, "index", 0) for record in records), default=0)
        committed = await self.ground.write_queue.submit(Unit(records=records, positions=positions))
        return committed.base

    async def send(self, stored: StoredEvent) -> StoredEvent:
        """Write a live event alone; returns it with its position."""
        return stored.at(await self.write(await self.new(stored)) + 1)

    async def current(self, type_: str, state_key: str = "") -> StoredEvent:
        """The event that is the value of a key now."""
        state = await self.ground.states.currents([self.room])
        row = state[self.room][await self.number(type_), await self.number(state_key)]
        assert row.event is not None
        return (await self.ground.storage.events.get([row.event]))[row.event]
