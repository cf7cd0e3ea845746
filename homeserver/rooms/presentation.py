# SPDX-License-Identifier: Apache-2.0
"""Events as a requester gets them: the prepared client form with their own `unsigned` spliced in.

spec: client-server-api, "Room event format".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from twisted.internet.task import deferLater

from federation.http.endpoint import Requester
from federation.rules.redaction import redact_event
from federation.rules.room_versions import RoomVersion, room_version
from homeserver.rooms.client_event import ClientEvent, client_event
from homeserver.rooms.history import History, RoomView, states_on_branches
from homeserver.rooms.visibility import MEMBER
from storage.client_transactions import ClientTransaction
from storage.engine.database import Transaction
from storage.event import Event, StateAt, StoredEvent
from storage.runtime.caches import Cache, Caches, cache_of_bytes, cache_of_entries
from storage.runtime.clock import Clock, milliseconds
from storage.state import Replacing
from storage.stores import Storage
from storage.write_queue import Committed

_RECENT_TRANSACTIONS = 50_000
_PREPARED_AT_ONCE = 200
_EARLIER_TRANSACTIONS = 200


@attrs.frozen
class Prepared:
    """An event in its client form and the parts of `unsigned` that are the same for everybody.

    `replaces` is the number of the state event that it replaced. `pdu` is the federation form.
    """

    event: ClientEvent
    pdu: bytes
    redacted_because: ClientEvent | None
    replaces: int | None

    @property
    def is_simple(self) -> bool:
        """Whether `unsigned` says nothing of it that everybody is told."""
        return self.redacted_because is None and self.replaces is None


@attrs.frozen
class Replaced:
    """A state event that another replaced; `content` is redacted where the event is."""

    stored: StoredEvent
    content: Mapping[str, Any]


@attrs.frozen
class LookedUp:
    """Events ready to be rendered for the requester for whom they were looked up; `now` in milliseconds.

    `views`, by room, know the states of all of them.
    """

    views: Mapping[int, RoomView]
    forms: Mapping[int, Prepared]
    transactions: Mapping[int, str]
    replaced: Mapping[int, Replaced]
    now: int

    def render(
        self,
        room: int,
        events: Sequence[StoredEvent],
        *,
        with_room_id: bool,
        federation_format: bool = False,
    ) -> list[bytes]:
        """The JSON of each of the events, all of one room, as the requester may see them."""
        if federation_format:
            return [self.forms[stored.number].pdu for stored in events]
        view = self.views[room]
        return [self._render(stored, view, with_room_id) for stored in events]

    def content(self, stored: StoredEvent) -> bytes:
        """The JSON of the event's `content`."""
        return self.forms[stored.number].event.content

    def _render(self, stored: StoredEvent, view: RoomView, with_room_id: bool) -> bytes:
        form = self.forms[stored.number]
        age, membership = self.now - stored.event.origin_server_ts, view.membership_at(stored)
        txn_id = self.transactions.get(stored.number)
        if txn_id is None and form.is_simple and membership == "join":
            return form.event.render(b'{"age":%d,"membership":"join"}' % age, with_room_id=with_room_id)
        unsigned: dict[str, object] = {"age": age}
        if membership is not None:
            unsigned["membership"] = membership
        if txn_id is not None:
            unsigned["transaction_id"] = txn_id
        if form.redacted_because is not None:
            redaction = form.redacted_because.render(with_room_id=with_room_id)
            unsigned["redacted_because"] = msgspec.Raw(redaction)
        if form.replaces is not None and (old := self.replaced.get(form.replaces)) is not None:
            unsigned["replaces_state"] = old.stored.event.event_id
            if view.sees(old.stored) or _is_membership_of(view.user_id, old.stored.event):
                unsigned["prev_content"] = old.content
        return form.event.render(unsigned, with_room_id=with_room_id)


class Presentation:
    """Renders events for requesters; prepared forms are kept within `cache_bytes`.

    Transaction ids older than `transaction_lifetime_ms` are not looked for.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        history: History,
        clock: Clock,
        transaction_lifetime_ms: int,
        cache_bytes: int = 16 * 2**20,
    ) -> None:
        self._storage = storage
        self._history = history
        self._clock = clock
        self._lifetime = transaction_lifetime_ms
        self._prepared: Cache[tuple[int, bool], Prepared] = cache_of_bytes(cache_bytes, _size)
        self._versions: Cache[int, RoomVersion] = cache_of_entries(10_000)
        self._transactions: OrderedDict[int, ClientTransaction] = OrderedDict()
        self._earlier: Cache[int, Mapping[int, str] | None] = cache_of_entries(1_000)
        self._started_ts = milliseconds(clock)

    @property
    def caches(self) -> Caches:
        """What is kept, by name."""
        return {"prepared_events": self._prepared}

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

    async def look_up(
        self,
        events: Mapping[int, Sequence[StoredEvent]],
        views: Mapping[int, RoomView],
        requester: Requester,
    ) -> LookedUp:
        """All that rendering these events needs for a requester; `events` and their `views` are by room.

        Few looks at the database for all of them.
        """
        forms: dict[int, Prepared] = {}
        missing: dict[int, list[StoredEvent]] = {}
        for room, of_room in events.items():
            for stored in of_room:
                form = self._prepared.get((stored.number, stored.redacted_by is not None))
                if form is None:
                    missing.setdefault(room, []).append(stored)
                else:
                    forms[stored.number] = form
        if missing:
            forms.update(await self._prepare(missing))
        replaced = await self._replaced_events(forms)
        return LookedUp(
            views=await self._history.extended(views, _branch_states(events, forms, replaced)),
            forms=forms,
            transactions=await self._transactions_of(events, requester),
            replaced=replaced,
            now=milliseconds(self._clock),
        )

    async def _prepare(self, events: Mapping[int, Sequence[StoredEvent]]) -> dict[int, Prepared]:
        versions = await self._versions_of(events)
        replaced = await self._replaced(events)
        fresh: dict[int, Prepared] = {}
        for room, of_room in events.items():
            version = versions[room]
            for i, stored in enumerate(of_room, 1):
                if i % _PREPARED_AT_ONCE == 0:
                    await deferLater(self._clock, 0)  # type: ignore[arg-type]
                pruned = stored.event if stored.redacted_by is None else redact_event(stored.event, version)
                form = Prepared(
                    event=client_event(pruned, version),
                    pdu=pruned.json,
                    redacted_because=await self._redacted_because(stored, version),
                    replaces=replaced.get(stored.number),
                )
                fresh[stored.number] = form
                self._prepared[stored.number, stored.redacted_by is not None] = form
        return fresh

    async def _replaced_events(self, forms: Mapping[int, Prepared]) -> dict[int, Replaced]:
        """The state events that others replaced."""
        numbers = [form.replaces for form in forms.values() if form.replaces is not None]
        if not numbers:
            return {}
        found = await self._storage.events.get(numbers)
        replaced = {}
        for number, stored in found.items():
            content: Mapping[str, Any] = stored.event.content
            if stored.redacted_by is not None:
                room = (await self._storage.strings.intern([stored.event.room_id]))[stored.event.room_id]
                version = (await self._versions_of([room]))[room]
                content = redact_event(stored.event, version).content
            replaced[number] = Replaced(stored, content)
        return replaced

    async def _versions_of(self, rooms: Collection[int]) -> dict[int, RoomVersion]:
        """The versions of several rooms; of those that this server was never in, as they were told."""
        found = {room: self._versions[room] for room in rooms if room in self._versions}
        missing = [room for room in rooms if room not in found]
        if missing:
            stored, told = self._storage.rooms, self._storage.out_of_band

            def read(txn: Transaction) -> dict[int, tuple[str | None, bool]]:
                rows = {room: stored.get_txn(txn, room) for room in missing}
                return {
                    room: (told.version_txn(txn, room), False) if row is None else (row.version, True)
                    for room, row in rows.items()
                }

            for room, (name, is_stored) in (await self._storage.database.read("versions", read)).items():
                assert name is not None, f"room {room} is not stored"
                found[room] = room_version(name)
                if is_stored:
                    self._versions[room] = found[room]
        return found

    async def _redacted_because(self, stored: StoredEvent, version: RoomVersion) -> ClientEvent | None:
        if stored.redacted_by is None:
            return None
        redaction = (await self._storage.events.by_id([stored.redacted_by])).get(stored.redacted_by)
        if redaction is None:
            return None
        return client_event(redaction.event, version)

    async def _replaced(self, events: Mapping[int, Sequence[StoredEvent]]) -> dict[int, int]:
        """For each state event that replaced another, the number of that one."""
        states = [
            (room, e)
            for room, of_room in events.items()
            for e in of_room
            if e.event.state_key is not None and e.before is not None
        ]
        if not states:
            return {}
        names = {name for _, e in states for name in (e.event.type, e.event.state_key or "")}
        numbers = await self._storage.strings.intern(names)
        asked = [
            Replacing(e.number, room, numbers[e.event.type], numbers[e.event.state_key or ""], e.before)
            for room, e in states
            if e.before is not None
        ]
        return await self._storage.database.read(
            "replaced state", lambda txn: self._storage.states.replaced_txn(txn, asked)
        )

    async def _transactions_of(
        self, events: Mapping[int, Sequence[StoredEvent]], requester: Requester
    ) -> dict[int, str]:
        """The transaction ids under which the requester's device sent those events that it sent."""
        if requester.device is None:
            return {}
        found: dict[int, str] = {}
        unknown = []
        oldest = milliseconds(self._clock) - self._lifetime
        known_from = self._started_ts if not self._is_full else milliseconds(self._clock)
        for of_room in events.values():
            for stored in of_room:
                event = stored.event
                if event.sender != requester.user_id or event.origin_server_ts < oldest:
                    continue
                sent = self._transactions.get(stored.number)
                if sent is not None:
                    if sent.device == requester.device:
                        found[stored.number] = sent.txn_id
                elif event.origin_server_ts <= known_from:
                    unknown.append(stored.number)
        if unknown:
            earlier = await self._earlier_transactions(requester.device)
            if earlier is None:
                found |= await self._storage.client_transactions.of_events(requester.device, unknown)
            elif earlier:
                found |= {event: earlier[event] for event in unknown if event in earlier}
        return found

    async def _earlier_transactions(self, device: int) -> Mapping[int, str] | None:
        """The transaction ids that a device used before the start; None where they are too many."""
        if self._is_full:
            return None
        if device not in self._earlier:
            found = await self._storage.client_transactions.of_device(device, _EARLIER_TRANSACTIONS)
            self._earlier[device] = found
        return self._earlier[device]


def _branch_states(
    events: Mapping[int, Sequence[StoredEvent]],
    forms: Mapping[int, Prepared],
    replaced: Mapping[int, Replaced],
) -> dict[int, set[StateAt]]:
    """The states on other branches than 0, by room, that say who may see what of the events."""
    states = {}
    for room, of_room in events.items():
        states[room] = states_on_branches(of_room)
        if replaced:
            old = (replaced.get(forms[stored.number].replaces or 0) for stored in of_room)
            states[room] |= states_on_branches(one.stored for one in old if one is not None)
    return states


def _is_membership_of(user_id: str, event: Event) -> bool:
    """Whether it says where the user stood: they were told so when it was sent, whatever history shows."""
    return event.state_key == user_id and event.type == MEMBER


def _size(prepared: Prepared) -> int:
    return 500 + 2 * len(prepared.event.head)
