# SPDX-License-Identifier: Apache-2.0
"""How far users have read: receipts, and the fully read marker, which is account data of the room.

spec: client-server-api, "Receipts" and "Fully read markers".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import attrs
import msgspec

from federation.errors import InvalidParam
from federation.http.endpoint import Requester
from homeserver.rooms.reading import ReadableRoom, RoomReading
from homeserver.rooms.turns import Turns
from storage.account_data import AccountData
from storage.engine.database import Transaction
from storage.event import StoredEvent
from storage.persist import Unit
from storage.receipts import Receipt
from storage.runtime.clock import Clock, milliseconds
from storage.stores import Storage
from storage.threads import MAIN
from storage.write_queue import WriteQueue

READ = "m.read"
PRIVATE_READ = "m.read.private"
FULLY_READ = "m.fully_read"
KINDS = (READ, PRIVATE_READ, FULLY_READ)

OnReceipt: TypeAlias = Callable[[int, int, Receipt, StoredEvent], Awaitable[Sequence[Any]]]
"""Told of an account, a room, the receipt and its event; gives records for the receipt's own unit."""


async def nothing_on_receipt(
    _account: int, _room: int, _receipt: Receipt, _stored: StoredEvent
) -> Sequence[Any]:
    """Nobody wants to know."""
    return ()


@attrs.frozen
class Marker:
    """Where a marker of one kind is to be; `thread` is None, "main" or the id of a thread's root."""

    kind: str
    event_id: str
    thread: str | None = None


class ReadMarkers:
    """Sets markers. None ever moves back in the order of the room."""

    def __init__(
        self,
        *,
        storage: Storage,
        reading: RoomReading,
        queue: WriteQueue,
        clock: Clock,
        on_receipt: OnReceipt = nothing_on_receipt,
    ) -> None:
        self._storage = storage
        self._reading = reading
        self._queue = queue
        self._clock = clock
        self._on_receipt = on_receipt
        self._turns = Turns()

    async def set(self, requester: Requester, room_id: str, markers: Sequence[Marker]) -> None:
        """Set all of the markers, in one unit; those that would move back stay where they are.

        Raises `Forbidden` for who is not joined, `NotFound` for an event that is not in the room or that the
        user may not see, `InvalidParam` for one that does not belong to its thread.
        """
        await self._reading.access_joined(requester, room_id)
        room = await self._reading.access_room(requester, room_id)
        async with self._turns.of(requester.user, room.room):
            records = await self._records(requester, room, markers)
            if records:
                positions = max(getattr(record, "index", 0) for record in records)
                await self._queue.submit(Unit(records=records, positions=positions))

    async def _records(
        self, requester: Requester, room: ReadableRoom, markers: Sequence[Marker]
    ) -> list[Any]:
        """What the markers write. Raises as `set` does."""
        known, numbers = await self._look_up(requester.user, room.room, markers)
        events = await self._storage.events.get(numbers.values())
        by_id = {event_id: events[number] for event_id, number in numbers.items() if number in events}
        moving = []
        for marker in markers:
            stored = await self._reading.check_visible(room, by_id.get(marker.event_id))
            check_thread(marker, stored)
            before = by_id.get(known.get((marker.kind, marker.thread), ""))
            if before is None or _place(before) < _place(stored):
                moving.append((marker, stored))
        records: list[Any] = []
        for index, (marker, stored) in enumerate(moving, 1):
            records.extend(await self._of(requester.user, room.room, marker, stored, index))
        return records

    async def _of(
        self, account: int, room: int, marker: Marker, stored: StoredEvent, index: int
    ) -> Sequence[Any]:
        """The records of one marker."""
        if marker.kind == FULLY_READ:
            content = msgspec.json.encode({"event_id": marker.event_id})
            return (AccountData(account, room, FULLY_READ, content, index=index),)
        receipt = Receipt(
            room=room,
            reader=account,
            private=marker.kind == PRIVATE_READ,
            thread=marker.thread,
            event_id=marker.event_id,
            received_ts=milliseconds(self._clock),
            index=index,
        )
        return (receipt, *await self._on_receipt(account, room, receipt, stored))

    async def _look_up(
        self, account: int, room: int, markers: Sequence[Marker]
    ) -> tuple[dict[tuple[str, str | None], str], dict[str, int]]:
        """The events of the user's markers by kind and thread, and the numbers of these and the new ones."""
        storage = self._storage
        asked = {(marker.kind, marker.thread) for marker in markers}

        def read(txn: Transaction) -> tuple[dict[tuple[str, str | None], str], dict[str, int]]:
            known: dict[tuple[str, str | None], str] = {
                (PRIVATE_READ if receipt.private else READ, receipt.thread): receipt.event_id
                for receipt in storage.receipts.of_reader_txn(txn, room, account)
            }
            marker = storage.account_data.get_txn(txn, account, room, FULLY_READ)
            if marker is not None:
                known[FULLY_READ, None] = msgspec.json.decode(marker.content)["event_id"]
            known = {key: event_id for key, event_id in known.items() if key in asked}
            event_ids = [*(marker.event_id for marker in markers), *known.values()]
            return known, storage.events.numbers_txn(txn, event_ids)

        return await storage.database.read("read markers", read)


def check_thread(marker: Marker, stored: StoredEvent) -> None:
    """Raise `InvalidParam` where the marker's event does not belong to its thread.

    A thread's root, which is in the main timeline itself, belongs to the thread as well.
    """
    if marker.thread is None or marker.thread in (stored.thread or MAIN, stored.event.event_id):
        return
    raise InvalidParam(f"The event is not related to the thread {marker.thread!r:.300}")


def _place(stored: StoredEvent) -> tuple[int, int]:
    """The place in the order of the room."""
    return (stored.topo or 0, stored.position or 0)
