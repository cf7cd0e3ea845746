# SPDX-License-Identifier: Apache-2.0
"""One room in memory, with its one writer: every event enters the graph here.

The writer does not wait for the disk: an event builds on the one that is still in the write queue. Where
the queue could not write one, the room is loaded again and what was built on it is built again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from federation.graph.building import EventBuilder, Extremity
from federation.graph.contributors import Appended, Contributor, EventCounts, StateKeyChange
from federation.graph.current_state import CurrentState, StateEntry
from federation.graph.drafts import Draft, RecordsOf, Request, no_records
from federation.graph.loading import LoadedRoom, RoomLoader
from federation.rules.auth.redactions import may_apply_redaction
from federation.rules.auth.rules import check_auth
from federation.rules.redaction import redacts
from federation.rules.signing import join_authoriser_server
from storage.event import Event, StateAt, StoredEvent
from storage.events import Events, NewEvent, NewRedaction
from storage.numbers import EventNumbers
from storage.persist import RoomEpoch, Unit
from storage.rooms import ExtremityChange
from storage.state import NewRevision, StateChange
from storage.strings import Strings
from storage.write_queue import RoomReloaded, WriteQueue

_NO_COUNTS = EventCounts(thread=None, notify_count=0, highlight_count=0)
_REBUILDS = 20
"""How often a request is built again before it is given up."""


class RoomGone(Exception):
    """The room is not stored."""


@attrs.frozen
class GraphTools:
    """What every room of a process works with."""

    loader: RoomLoader
    strings: Strings
    numbers: EventNumbers
    events: Events
    queue: WriteQueue
    builder: EventBuilder
    contributors: Sequence[Contributor]


@attrs.define(eq=False)
class _Hot:
    """The room as its next event finds it, events included that are not on disk yet."""

    epoch: RoomEpoch
    extremities: list[Extremity]
    state: CurrentState
    revision: int
    memory: list[Any]


class RoomGraph:
    """The graph of one room, for the process that owns it."""

    def __init__(self, *, room: int, room_id: str, tools: GraphTools) -> None:
        self.room = room
        self.room_id = room_id
        self._tools = tools
        self._hot: _Hot | None = None
        self._loading: Deferred[None] | None = None
        self._in_flight = 0
        self._drained: list[Deferred[None]] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the room waits to be written, so that it may leave memory."""
        return self._in_flight == 0 and self._loading is None

    async def append(self, request: Request, records_of: RecordsOf = no_records) -> list[StoredEvent]:
        """Append the events that `request` asks for, as one unit, and return them once they are on disk.

        Raises what `request` raises, `AuthRefused` and the format errors of `federation.rules` (nothing is
        appended then), `RoomGone`, and what `WriteQueue.submit` raises.
        """
        for _ in range(_REBUILDS):
            hot = await self._loaded()
            drafts = request(hot.state)
            if not drafts:
                return []
            targets = await self._prepare(drafts)
            if targets is None or self._hot is not hot or hot.epoch.broken:
                continue
            try:
                return await self._append_now(hot, drafts, targets, records_of)
            except RoomReloaded:
                continue
        raise RoomReloaded(f"gave up on an event of {self.room_id} after {_REBUILDS} tries")

    async def begin(
        self,
        loaded: LoadedRoom,
        create: Event,
        request: Request,
        new_room: Sequence[Any],
        records_of: RecordsOf,
    ) -> list[StoredEvent]:
        """Append the first events of a room that is not stored yet: `create`, then what `request` asks for.

        `new_room` are the records that go before them. Raises as `append` does.
        """
        self._hot = hot = await self._heated(loaded)
        drafts = [Draft(create.sender, create.type, create.content, state_key="")]
        state_after_create = CurrentState(loaded.version)
        state_after_create.apply(create, 0)
        drafts.extend(request(state_after_create))
        targets: Mapping[str, StoredEvent] | None = None
        while targets is None:
            targets = await self._prepare(drafts)

        def records(appended: Sequence[StoredEvent]) -> Sequence[Any]:
            return [*new_room, *records_of(appended)]

        return await self._append_now(hot, drafts, targets, records, create=create)

    async def _loaded(self) -> _Hot:
        while self._hot is None or self._hot.epoch.broken:
            if self._loading is None:
                await self._load()
            else:
                await _end_of(self._loading)
        return self._hot

    async def _load(self) -> None:
        loading: Deferred[None] = Deferred()
        self._loading = loading
        try:
            self._hot = None
            if self._in_flight:
                drained: Deferred[None] = Deferred()
                self._drained.append(drained)
                await drained
            loaded = await self._tools.loader.load(self.room)
            if loaded is None:
                raise RoomGone(self.room_id)
            self._hot = await self._heated(loaded)
        finally:
            self._loading = None
            loading.callback(None)

    async def _heated(self, loaded: LoadedRoom) -> _Hot:
        memory = [await c.load(self.room, self.room_id, loaded.state) for c in self._tools.contributors]
        return _Hot(
            epoch=RoomEpoch(self.room, loaded.fence),
            extremities=[Extremity.of(stored) for stored in loaded.extremities],
            state=loaded.state,
            revision=loaded.revision,
            memory=memory,
        )

    async def _prepare(self, drafts: Sequence[Draft]) -> Mapping[str, StoredEvent] | None:
        """Have at hand what building needs; the targets of redactions, or None where it took time."""
        tools = self._tools
        waited = False
        names = {name for d in drafts for name in (d.type, d.sender, d.state_key) if name is not None}
        if any(tools.strings.known(name) is None for name in names):
            await tools.strings.intern(names)
            waited = True
        if not tools.numbers.has(len(drafts)):
            await tools.numbers.reserve(len(drafts))
            waited = True
        targets = [target for draft in drafts if (target := _redacted(draft)) is not None]
        if targets:
            # Asking for them again is cheap; a redaction is never built on another look at the room.
            return await tools.events.by_id(targets)
        return None if waited else {}

    async def _append_now(
        self,
        hot: _Hot,
        drafts: Sequence[Draft],
        targets: Mapping[str, StoredEvent],
        records_of: RecordsOf,
        create: Event | None = None,
    ) -> list[StoredEvent]:
        records: list[Any] = []
        appended: list[StoredEvent] = []
        self._tools.queue.check_not_full()
        try:
            for number, draft in zip(self._tools.numbers.take(len(drafts)), drafts, strict=True):
                event = create if create is not None and not appended else self._build(hot, draft)
                self._check(hot, event, is_create=event is create)
                stored, rows = self._add(hot, event, number, index=len(appended) + 1)
                records.extend(rows)
                records.extend(self._redaction_rows(hot, stored, targets))
                appended.append(stored)
            records.extend(records_of(appended))
        except BaseException:
            if appended:
                hot.epoch.broken = True  # what was added to memory will not be written
            raise
        committed = await self._submit(Unit(records, positions=len(appended), epoch=hot.epoch))
        return [stored.at(committed + i) for i, stored in enumerate(appended, 1)]

    async def _submit(self, unit: Unit) -> int:
        self._in_flight += 1
        try:
            return (await self._tools.queue.submit(unit)).base
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                drained, self._drained = self._drained, []
                for waiting in drained:
                    waiting.callback(None)

    def _build(self, hot: _Hot, draft: Draft) -> Event:
        return self._tools.builder.build(self.room_id, draft, hot.state, hot.extremities)

    def _check(self, hot: _Hot, event: Event, *, is_create: bool) -> None:
        """Raises `AuthRefused`. What is built here is signed by this server, and by no other."""
        version = hot.state.version
        check_auth(
            event,
            hot.state,
            version,
            power_levels=None if is_create else hot.state.power,
            join_authoriser_signed=join_authoriser_server(event, version) == self._tools.builder.server_name,
        )

    def _add(self, hot: _Hot, event: Event, number: int, index: int) -> tuple[StoredEvent, list[Any]]:
        """Make `event` the extremity and, if it is a state event, the next revision; returns its rows."""
        strings = self._tools.strings
        type_, sender = strings.known(event.type), strings.known(event.sender)
        state_key = None if event.state_key is None else strings.known(event.state_key)
        assert type_ is not None
        assert sender is not None
        before = StateAt(0, hot.revision)
        after = StateAt(0, hot.revision + 1) if event.is_state else None
        topo = 1 + max((e.topo for e in hot.extremities), default=0)
        stored = StoredEvent(event, number, position=None, topo=topo, before=before, after=after)
        records: list[Any] = [
            ExtremityChange(self.room, added=number, removed=tuple(e.number for e in hot.extremities))
        ]
        hot.extremities = [Extremity.of(stored)]
        changes: tuple[StateKeyChange, ...] = ()
        if state_key is not None:
            changes = (self._change_state(hot, event, number),)
            records.append(NewRevision(self.room, hot.revision, index))
            membership = hot.state.membership(changes[0].state_key) if event.type == "m.room.member" else None
            records.append(StateChange(self.room, 0, type_, state_key, hot.revision, number, membership))
        counts = self._contribute(
            hot,
            Appended(stored, self.room, type_, state_key, sender, index, changes, hot.state),
            records,
        )
        stored = stored.counted(counts.thread, counts.notify_count, counts.highlight_count)
        records.append(NewEvent(stored, self.room, type_, state_key, sender, index))
        return stored, records

    def _change_state(self, hot: _Hot, event: Event, number: int) -> StateKeyChange:
        assert event.state_key is not None
        old = hot.state.apply(event, number)
        hot.revision += 1
        return StateKeyChange(event.type, event.state_key, old, StateEntry(number, event.event_id))

    def _contribute(self, hot: _Hot, appended: Appended, records: list[Any]) -> EventCounts:
        """Add what the contributors have to say of the event to `records`; returns its counts."""
        counts = _NO_COUNTS
        for contributor, memory in zip(self._tools.contributors, hot.memory, strict=True):
            contribution = contributor.contribute(memory, appended)
            records.extend(contribution.records)
            counts = contribution.counts or counts
        return counts

    def _redaction_rows(
        self, hot: _Hot, stored: StoredEvent, targets: Mapping[str, StoredEvent]
    ) -> list[NewRedaction]:
        event = stored.event
        target_id = redacts(event, hot.state.version)
        if event.type != "m.room.redaction" or target_id is None:
            return []
        target = targets.get(target_id)
        applied = (
            target is not None
            and target.event.room_id == self.room_id
            and may_apply_redaction(event, target.event, hot.state.power, hot.state.version)
        )
        number = target.number if target is not None else None
        return [NewRedaction(target_id, stored.number, event.event_id, number, applied)]


def _end_of(deferred: Deferred[None]) -> Deferred[None]:
    """A Deferred that fires when `deferred` does, which others wait for too."""
    end: Deferred[None] = Deferred()
    deferred.addBoth(lambda _: end.callback(None))
    return end


def _redacted(draft: Draft) -> str | None:
    if draft.type != "m.room.redaction":
        return None
    target = draft.redacts or draft.content.get("redacts")
    return target if isinstance(target, str) else None
