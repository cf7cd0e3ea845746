# SPDX-License-Identifier: Apache-2.0
"""Events as a requester gets them: the prepared client form with their own `unsigned` spliced in.

spec: client-server-api, "Room event format".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import attrs
import msgspec
from cachetools import LRUCache

from federation.http.endpoint import Requester
from federation.rules.redaction import redact_event
from federation.rules.room_versions import RoomVersion, room_version
from homeserver.rooms.client_event import ClientEvent, client_event
from homeserver.rooms.history import RoomView
from storage.client_transactions import ClientTransaction
from storage.event import StoredEvent
from storage.runtime.caches import cache_of_bytes, cache_of_entries
from storage.runtime.clock import Clock, milliseconds
from storage.state import Replacing
from storage.stores import Storage
from storage.write_queue import Committed

_RECENT_TRANSACTIONS = 50_000


@attrs.frozen
class Prepared:
    """An event in its client form and the parts of `unsigned` that are the same for everybody.

    `replaces` is the number of the state event that it replaced. `pdu` is the federation form.
    """

    event: ClientEvent
    pdu: bytes
    redacted_because: msgspec.Raw | None
    replaces: int | None


class Presentation:
    """Renders events for requesters; prepared forms are kept within `cache_bytes`.

    Transaction ids older than `transaction_lifetime_ms` are not looked for.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        cache_bytes: int = 16 * 2**20,
        transaction_lifetime_ms: int = 24 * 3600 * 1000,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._lifetime = transaction_lifetime_ms
        self._prepared: LRUCache[tuple[int, bool], Prepared] = cache_of_bytes(cache_bytes, _size)
        self._versions: LRUCache[int, RoomVersion] = cache_of_entries(10_000)
        self._transactions: OrderedDict[int, ClientTransaction] = OrderedDict()
        self._started_ts = milliseconds(clock)

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Remember the transaction ids of what was just sent."""
        for committed in batch:
            for record in committed.unit.records:
                if type(record) is ClientTransaction:
                    self._transactions[record.event] = record
                    if len(self._transactions) > _RECENT_TRANSACTIONS:
                        self._transactions.popitem(last=False)

    @property
    def _is_full(self) -> bool:
        """Whether transaction ids since the start may have been forgotten."""
        return len(self._transactions) >= _RECENT_TRANSACTIONS

    async def version(self, room: int) -> RoomVersion:
        """The version of a stored room."""
        version = self._versions.get(room)
        if version is None:
            row = await self._storage.database.read(
                "room version", lambda txn: self._storage.rooms.get_txn(txn, room)
            )
            assert row is not None, f"room {room} is not stored"
            version = self._versions[room] = room_version(row.version)
        return version

    async def render(
        self,
        room: int,
        events: Sequence[StoredEvent],
        requester: Requester,
        view: RoomView,
        *,
        with_room_id: bool,
        federation_format: bool = False,
    ) -> list[bytes]:
        """The JSON of each of the events, all of one room, as `requester` may see them through `view`."""
        prepared = await self.prepare(room, events)
        transactions = await self._transactions_of(events, requester)
        replaced = await self._storage.events.get(p.replaces for p in prepared if p.replaces is not None)
        now = milliseconds(self._clock)
        rendered = []
        for stored, form in zip(events, prepared, strict=True):
            if federation_format:
                rendered.append(form.pdu)
                continue
            unsigned: dict[str, object] = {
                "age": now - stored.event.origin_server_ts,
                "membership": view.membership_at(stored),
            }
            if stored.number in transactions:
                unsigned["transaction_id"] = transactions[stored.number]
            if form.redacted_because is not None:
                unsigned["redacted_because"] = form.redacted_because
            old = replaced.get(form.replaces) if form.replaces is not None else None
            if old is not None:
                unsigned["replaces_state"] = old.event.event_id
                if view.sees(old):
                    content = (await self._pruned(room, old)).event.content
                    unsigned["prev_content"] = content
            rendered.append(form.event.render(unsigned, with_room_id=with_room_id))
        return rendered

    async def prepare(self, room: int, events: Sequence[StoredEvent]) -> list[Prepared]:
        """The prepared forms of the events, redacted where they are."""
        missing = [e for e in events if (e.number, e.redacted_by is not None) not in self._prepared]
        fresh: dict[int, Prepared] = {}
        if missing:
            version = await self.version(room)
            replaced = await self._replaced(room, missing)
            for stored in missing:
                pruned = await self._pruned(room, stored)
                form = Prepared(
                    event=client_event(pruned.event, version),
                    pdu=pruned.event.json,
                    redacted_because=await self._redacted_because(stored, version),
                    replaces=replaced.get(stored.number),
                )
                fresh[stored.number] = form
                self._prepared[stored.number, stored.redacted_by is not None] = form
        return [fresh.get(e.number) or self._prepared[e.number, e.redacted_by is not None] for e in events]

    async def _pruned(self, room: int, stored: StoredEvent) -> StoredEvent:
        if stored.redacted_by is None:
            return stored
        return attrs.evolve(stored, event=redact_event(stored.event, await self.version(room)))

    async def _redacted_because(self, stored: StoredEvent, version: RoomVersion) -> msgspec.Raw | None:
        if stored.redacted_by is None:
            return None
        redaction = (await self._storage.events.by_id([stored.redacted_by])).get(stored.redacted_by)
        if redaction is None:
            return None
        return msgspec.Raw(client_event(redaction.event, version).render(with_room_id=False))

    async def _replaced(self, room: int, events: Sequence[StoredEvent]) -> dict[int, int]:
        """For each state event that replaced another, the number of that one."""
        states = [e for e in events if e.event.state_key is not None and e.before is not None]
        if not states:
            return {}
        names = {name for e in states for name in (e.event.type, e.event.state_key or "")}
        numbers = await self._storage.strings.intern(names)
        asked = [
            Replacing(e.number, room, numbers[e.event.type], numbers[e.event.state_key or ""], e.before)
            for e in states
            if e.before is not None
        ]
        return await self._storage.database.read(
            "replaced state", lambda txn: self._storage.states.replaced_txn(txn, asked)
        )

    async def _transactions_of(self, events: Sequence[StoredEvent], requester: Requester) -> dict[int, str]:
        """The transaction ids under which the requester's device sent those events that it sent."""
        if requester.device is None:
            return {}
        found: dict[int, str] = {}
        unknown = []
        oldest = milliseconds(self._clock) - self._lifetime
        for stored in events:
            if stored.event.sender != requester.user_id or stored.event.origin_server_ts < oldest:
                continue
            sent = self._transactions.get(stored.number)
            if sent is not None:
                if sent.device == requester.device:
                    found[stored.number] = sent.txn_id
            elif stored.event.origin_server_ts <= self._started_ts or self._is_full:
                unknown.append(stored.number)
        if unknown:
            found |= await self._storage.client_transactions.of_events(requester.device, unknown)
        return found


def _size(prepared: Prepared) -> int:
    return 500 + 2 * len(prepared.event.head)
