# SPDX-License-Identifier: Apache-2.0
"""The change feed of one process: every commit passes through it, and every reader of changes asks it.

Readers see the homeserver as of `position`: whatever a later position bears is left to their next request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from homeserver.feed.room_changes import RecentEvents, RoomChanges, placed
from homeserver.feed.timeline_gaps import TimelineGaps
from homeserver.feed.typing import TypingNotifications
from homeserver.feed.user_rooms import UserRooms
from homeserver.feed.waiting import Waiting
from storage.account_data import AccountData
from storage.engine.database import Transaction
from storage.ephemeral import TypingChange
from storage.event import StoredEvent
from storage.event_records import NewEvent, OutlierPlaced
from storage.events import Placed
from storage.gaps import NewGap
from storage.memberships import Membership
from storage.receipts import Receipt
from storage.runtime.clock import Clock
from storage.state_records import NewRevision
from storage.stores import Storage
from storage.write_queue import Committed

_POSITION = "SELECT value FROM counters WHERE name = 'position'"


@attrs.define
class _Touched:
    rooms: set[int] = attrs.field(factory=set)
    accounts: set[int] = attrs.field(factory=set)
    gone: list[tuple[int, int]] = attrs.field(factory=list)
    """Rooms, and users who are in them no longer."""


_Advance: TypeAlias = Callable[[Any, Committed, _Touched], None]


class Feed:
    """What has changed since a position, for a room or for a user.

    `start` must have returned before anything is committed or asked.
    """

    def __init__(self, *, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self.position = 0
        self.user_rooms = UserRooms(storage.database, storage.memberships)
        self.rooms = RoomChanges()
        self.recent = RecentEvents()
        self.waiting = Waiting(clock=clock, user_rooms=self.user_rooms)
        self.typing = TypingNotifications(clock=clock, changed=self._typing_changed)
        self._accounts: dict[int, int] = {}
        self._receipts: dict[int, int] = {}
        self._started_at = 0
        self._shared = False
        self.gaps = TimelineGaps()
        self._advance: dict[type[Any], _Advance] = {
            NewEvent: self._event,
            OutlierPlaced: self._event,
            Membership: self._membership,
            AccountData: self._account_data,
            Receipt: self._receipt,
            TypingChange: self._typing,
        }
        # What says something of the events of its unit.
        self._advance_then: dict[type[Any], _Advance] = {
            NewRevision: self._revision,
            NewGap: self._gap,
        }

    async def start(self, *, shared: bool = False) -> None:
        """Read where everything stands. `shared`: other processes commit, too."""
        storage = self._storage

        def read(txn: Transaction) -> tuple[int, Sequence[Mapping[int, int]], dict[int, list[int]]]:
            row = txn.row(_POSITION)
            streams = (
                storage.receipts.last_positions_txn(txn),
                storage.events.last_positions_txn(txn),
                storage.states.last_positions_txn(txn),
            )
            return (row[0] if row else 0), streams, storage.timeline_gaps.positions_txn(txn)

        self.position, streams, gaps = await storage.database.read("start the feed", read)
        self._receipts = dict(streams[0])
        self._started_at = self.position
        self._shared = shared
        if shared:
            self.typing.begin_at(self.position)
        rooms = {room for stream in streams for room in stream}
        self.rooms.fill({room: max(stream.get(room, 0) for stream in streams) for room in rooms})
        self.gaps.fill(gaps)

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Take in a batch (of the write queue's, in the order of positions) and wake those concerned."""
        touched = _Touched()
        for committed in batch:
            then = []
            for record in committed.unit.records:
                advance = self._advance.get(type(record))
                if advance is not None:
                    advance(record, committed, touched)
                elif type(record) in self._advance_then:
                    then.append(record)
            for record in then:
                self._advance_then[type(record)](record, committed, touched)
            self.position = max(self.position, committed.base + committed.unit.positions)
        if self._shared:
            self.typing.reached(self.position)
        self.waiting.wake(touched.rooms, touched.accounts)
        for room, account in touched.gone:
            user_id = self._storage.strings.known_value(account) or ""
            if self.typing.is_typing(room, user_id):
                self.typing.apply(room, user_id, False, position=self.position if self._shared else None)

    def account_changed_since(self, account: int, position: int) -> bool:
        """Whether the user's account data or memberships may have changed after `position`."""
        last = self._accounts.get(account)
        if last is not None:
            return last > position
        return position < self._started_at

    async def events_between(self, room: int, *, after: int, upto: int, limit: int) -> Sequence[Placed]:
        """The latest `limit` events of the room with `after` < position <= `upto`, the latest first."""
        if self.rooms.last(room) <= after:
            return ()
        recent = self.recent.between(room, after=after, upto=upto, limit=limit)
        if recent is not None:
            return recent
        return await self._storage.events.between(room, after=after, upto=upto, limit=limit)

    def changed_rooms(self, position: int, mine: Collection[int]) -> list[int]:
        """Those of the rooms `mine` in which events or receipts changed after `position`."""
        return self.rooms.since(position, mine)

    def last_receipt(self, room: int) -> int:
        """The position of the room's latest receipt; 0 where there is none."""
        return self._receipts.get(room, 0)

    def _event(self, record: NewEvent | OutlierPlaced, committed: Committed, touched: _Touched) -> None:
        position = committed.base + record.index
        stored = record.stored.at(position)
        if not _is_news(stored) or stored.topo is None:
            return
        before = self.rooms.last(record.room)
        self.recent.appended(record.room, placed(stored.number, stored.topo, position), before=before)
        self.rooms.changed(record.room, position)
        touched.rooms.add(record.room)

    def _revision(self, record: NewRevision, committed: Committed, touched: _Touched) -> None:
        position = committed.base + record.index
        if position > self.rooms.last(record.room):
            # No event that is shown came with it.
            self.rooms.changed(record.room, position)
            touched.rooms.add(record.room)

    def _gap(self, record: NewGap, committed: Committed, _touched: _Touched) -> None:
        """A gap stands in the unit of the event that comes after it."""
        for other in committed.unit.records:
            if type(other) in (NewEvent, OutlierPlaced) and other.stored.number == record.referrer:
                if not (other.stored.rejected or other.stored.soft_failed):
                    self.gaps.add(record.room, committed.base + other.index)
                return

    def _membership(self, record: Membership, committed: Committed, touched: _Touched) -> None:
        position = committed.base + record.index
        self.user_rooms.apply(attrs.evolve(record, position=position))
        if record.membership != "join":
            touched.gone.append((record.room, record.account))
        self._account(record.account, position, touched)

    def _account_data(self, record: AccountData, committed: Committed, touched: _Touched) -> None:
        self._account(record.account, committed.base + record.index, touched)

    def _account(self, account: int, position: int, touched: _Touched) -> None:
        self._accounts[account] = max(self._accounts.get(account, 0), position)
        touched.accounts.add(account)

    def _receipt(self, record: Receipt, committed: Committed, touched: _Touched) -> None:
        position = committed.base + record.index
        self._receipts[record.room] = position
        self.rooms.changed(record.room, position)
        touched.accounts.add(record.reader)
        if not record.private:
            touched.rooms.add(record.room)

    def _typing(self, record: TypingChange, committed: Committed, _touched: _Touched) -> None:
        position = committed.base + record.index
        self.typing.apply(record.room, record.user_id, record.typing, position=position)

    def _typing_changed(self, room: int) -> None:
        self.waiting.wake((room,), ())


def _is_news(stored: StoredEvent) -> bool:
    """Whether clients are told of the event: one before which the state is unknown is shown to nobody."""
    return not (stored.rejected or stored.soft_failed) and stored.before is not None
