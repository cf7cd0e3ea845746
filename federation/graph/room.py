# SPDX-License-Identifier: Apache-2.0
"""One room in memory, with its one writer: every event enters the graph here.

The writer does not wait for the disk: an event builds on the one that is still in the write queue. Where
the queue could not write one, the room is loaded again and what was built on it is built again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock

from federation.errors import Forbidden
from federation.graph.applying import Applying, redaction_records
from federation.graph.auth_chains.auth_chains import AuthChains
from federation.graph.backfilling import Backfilling
from federation.graph.batches import AtHand, Incoming, Lacking
from federation.graph.building import EventBuilder, Extremity
from federation.graph.contributors import Contributor
from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.drafts import Draft, RecordsOf, Request, no_records
from federation.graph.hot_room import HotRoom
from federation.graph.inbound import InboundReader
from federation.graph.loading import LoadedRoom, RoomLoader
from federation.graph.outliers import Outliers
from federation.graph.placing import Placing, Trial
from federation.graph.recording import Recording
from federation.graph.resolving import Resolver
from federation.graph.timelines import StateTimelines
from federation.rules.auth.rules import check_auth
from federation.rules.signing import join_authoriser_server
from federation.workers import Workers
from storage.auth_chains import AuthChainStore
from storage.event import Event, StateAt, StoredEvent
from storage.events import Events
from storage.numbers import EventNumbers
from storage.persist import RoomEpoch, Unit
from storage.runtime.clock import Clock
from storage.stores import Storage
from storage.strings import Strings
from storage.write_queue import RoomReloaded, WriteQueue

_REBUILDS = 20
"""How often a request is built again before it is given up."""

_PIECE = 100
"""So many events from outside are placed without a pause."""

DUMMY = "org.matrix.dummy_event"
"""The type of what servers send to join forward extremities."""

_MERGERS = 5
"""So many users are tried as its sender."""

MAX_PREV_EVENTS = 10
"""More forward extremities are merged before an event is built on them."""


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
    inbound: InboundReader
    outliers: Outliers
    builder: EventBuilder
    contributors: Sequence[Contributor]

    @classmethod
    def over(
        cls,
        storage: Storage,
        *,
        queue: WriteQueue,
        numbers: EventNumbers,
        builder: EventBuilder,
        contributors: Sequence[Contributor],
        workers: Workers,
        clock: Clock,
    ) -> GraphTools:
        """The tools over `storage`; `workers` are for heavy resolutions."""
        database, strings, events = storage.database, storage.strings, storage.events
        chains = AuthChains(store=AuthChainStore(database), clock=clock)
        return cls(
            loader=RoomLoader(database, strings, storage.rooms, events, storage.states),
            strings=strings,
            numbers=numbers,
            events=events,
            queue=queue,
            inbound=InboundReader(
                database=database,
                strings=strings,
                numbers=numbers,
                events=events,
                states=storage.states,
                gaps=storage.gaps,
                resolver=Resolver(events, chains, workers),
            ),
            outliers=Outliers(strings, numbers, events, queue, clock),
            builder=builder,
            contributors=contributors,
        )


@attrs.frozen
class Received:
    """What became of a batch from outside: the events that were stored, and those that could not be placed.

    `lacking`: by event id, the events that it refers to and that nobody here knows.
    """

    stored: Sequence[StoredEvent]
    lacking: Mapping[str, frozenset[str]]


class RoomGraph:
    """The graph of one room, for the process that owns it."""

    def __init__(self, *, room: int, room_id: str, tools: GraphTools) -> None:
        self.room = room
        self.room_id = room_id
        self._tools = tools
        self._hot: HotRoom | None = None
        self._receiving = DeferredLock()
        self._loading: Deferred[None] | None = None
        self._in_flight = 0
        self._drained: list[Deferred[None]] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the room waits to be written, so that it may leave memory."""
        return self._in_flight == 0 and self._loading is None and not self._receiving.locked

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
            if len(hot.extremities) > MAX_PREV_EVENTS:
                await self._merge_extremities(hot)
                continue
            targets = await self._prepare(hot, drafts)
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
            targets = await self._prepare(hot, drafts)

        def records(appended: Sequence[StoredEvent]) -> Sequence[Any]:
            return [*new_room, *records_of(appended)]

        return await self._append_now(hot, drafts, targets, records, create=create)

    async def begin_with(self, loaded: LoadedRoom, incoming: Incoming, new_room: Sequence[Any]) -> Received:
        """Take in the first events of a room that is not stored yet, and that others made.

        `new_room` are the records that go before them. Raises as `receive` does.
        """
        self._hot = await self._heated(loaded)
        return await self.receive(incoming, new_room)

    async def _loaded(self) -> HotRoom:
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

    async def _heated(self, loaded: LoadedRoom) -> HotRoom:
        memory = [await c.load(self.room, self.room_id, loaded.state) for c in self._tools.contributors]
        return HotRoom(
            epoch=RoomEpoch(self.room, loaded.fence),
            extremities=[Extremity.of(stored) for stored in loaded.extremities],
            timelines=StateTimelines(loaded.state, head=loaded.revision, next_branch=loaded.last_branch + 1),
            memory=memory,
            top=loaded.top,
        )

    async def _prepare(self, hot: HotRoom, drafts: Sequence[Draft]) -> Mapping[str, StoredEvent] | None:
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
        if hot.state.version.references_have_hashes and await self._note_reference_hashes(hot, drafts):
            waited = True
        targets = [target for draft in drafts if (target := _redacted(draft)) is not None]
        if targets:
            # Asking for them again is cheap; a redaction is never built on another look at the room.
            return await tools.events.by_id(targets)
        return None if waited else {}

    async def _note_reference_hashes(self, hot: HotRoom, drafts: Sequence[Draft]) -> bool:
        """Have at hand the hashes that the events will write; returns whether it took time."""
        names = {e.event_id for e in hot.extremities}
        names.update(e for draft in drafts for e in self._tools.builder.auth_events(draft, hot.state))
        missing = [name for name in names if name not in hot.reference_hashes]
        if not missing:
            return False
        for stored in (await self._tools.events.by_id(missing)).values():
            hot.note_reference_hash(stored.event)
        return True

    async def _append_now(
        self,
        hot: HotRoom,
        drafts: Sequence[Draft],
        targets: Mapping[str, StoredEvent],
        records_of: RecordsOf,
        create: Event | None = None,
    ) -> list[StoredEvent]:
        recording = self._recording(hot)
        self._tools.queue.check_not_full()
        try:
            for number, draft in zip(self._tools.numbers.take(len(drafts)), drafts, strict=True):
                event = create if create is not None and not recording.stored else self._build(hot, draft)
                self._check(hot, event, is_create=event is create)
                stored = self._add(recording, event, number)
                recording.records.extend(redaction_records(hot, stored, targets))
            recording.records.extend(records_of(recording.stored))
        except BaseException:
            if recording.stored:
                hot.epoch.broken = True  # what was added to memory will not be written
            raise
        return await self._commit(recording)

    def _recording(self, hot: HotRoom) -> Recording:
        tools = self._tools
        return Recording(hot=hot, room=self.room, strings=tools.strings, contributors=tools.contributors)

    async def _commit(self, recording: Recording) -> list[StoredEvent]:
        """Return the stored events once the unit is on disk. Raises what `WriteQueue.submit` raises."""
        hot = recording.hot
        hot.note_resolution()
        hot.note_unstored(recording.stored)
        unit = Unit(recording.records, positions=recording.positions, epoch=hot.epoch)
        try:
            base = await self._submit(unit)
        finally:
            hot.written(recording.stored)
        self._tidy()
        return recording.at(base)

    def _tidy(self) -> None:
        """Let go of what is not needed any more, unless something is just looking at it."""
        if self.is_idle and self._hot is not None:
            self._hot.timelines.forget_old()

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

    def _build(self, hot: HotRoom, draft: Draft) -> Event:
        return self._tools.builder.build(
            self.room_id, draft, hot.state, hot.extremities, hot.reference_hashes
        )

    def _check(self, hot: HotRoom, event: Event, *, is_create: bool) -> None:
        """Raises `AuthRefused`. What is built here is signed by this server, and by no other."""
        version = hot.state.version
        check_auth(
            event,
            hot.state,
            version,
            power_levels=None if is_create else hot.state.power,
            join_authoriser_signed=join_authoriser_server(event, version) == self._tools.builder.server_name,
        )

    def _add(self, recording: Recording, event: Event, number: int) -> StoredEvent:
        """Make `event` the extremity and, if it is a state event, the next revision."""
        hot = recording.hot
        before = hot.head
        stored = StoredEvent(
            event,
            number,
            position=None,
            topo=1 + max((e.topo for e in hot.extremities), default=0),
            before=before,
            after=StateAt(0, before.revision + 1) if event.is_state else None,
        )
        changes: dict[Key, StateEntry | None] = {}
        if event.state_key is not None:
            changes = {(event.type, event.state_key): StateEntry.of(event, number)}
        replaced = tuple(e.number for e in hot.extremities)
        return recording.place(stored, changes=changes, replaced=replaced)

    async def receive(self, incoming: Incoming, new_room: Sequence[Any] = ()) -> Received:
        """Take in events from outside: judge them, store them in the graph, and settle the current state.

        Each event must have passed the checks on receipt up to its hash. Long batches are taken in pieces,
        except of older events.
        `new_room` are records that go before the first events of a room that is not stored yet.
        Raises what `WriteQueue.submit` raises.
        """
        stored: list[StoredEvent] = []
        lacking: dict[str, frozenset[str]] = {}
        for piece in incoming.pieces(_PIECE):
            await self._receiving.acquire()
            try:
                received = await self._receive(piece, new_room)
            finally:
                self._receiving.release()
            self._tidy()
            new_room = ()
            stored.extend(received.stored)
            lacking |= received.lacking
        return Received(stored, lacking)

    async def _receive(self, incoming: Incoming, new_room: Sequence[Any]) -> Received:
        for _ in range(_REBUILDS):
            hot = await self._loaded()
            at_hand = await self._tools.inbound.read(self.room, incoming, hot.state.version)
            trial = await self._placed(hot, incoming, at_hand)
            if trial is None:
                continue
            recording = self._recording(hot)
            recording.records.extend(new_room)
            try:
                entering = Backfilling if incoming.backfilled else Applying
                entering(recording, incoming, at_hand, trial).apply()
            except BaseException:
                hot.epoch.broken = True  # what was added to memory will not be written
                raise
            if not recording.records:
                return Received((), trial.lacking)
            try:
                return Received(await self._commit(recording), trial.lacking)
            except RoomReloaded:
                continue
        raise RoomReloaded(f"gave up on events of {self.room_id} after {_REBUILDS} tries")

    async def _merge_extremities(self, hot: HotRoom) -> None:
        """Have one event follow as many of the forward extremities as one may.

        Raises `Forbidden` where nobody here may send it.
        """
        await self._receiving.acquire()
        try:
            if self._hot is not hot or len(hot.extremities) <= MAX_PREV_EVENTS:
                return
            for draft in await self._merging_drafts(hot):
                await self._note_reference_hashes(hot, [draft])
                await self._tools.strings.intern({draft.type, draft.sender})
                merged = hot.extremities[:MAX_PREV_EVENTS]
                event = self._tools.builder.build(
                    self.room_id, draft, hot.state, merged, hot.reference_hashes
                )
                received = await self._receive(Incoming([event]), ())
                if received.stored and not (received.stored[0].rejected or received.stored[0].soft_failed):
                    return
            raise Forbidden("the room's graph has too many ends, and nobody here may send what joins them")
        finally:
            self._receiving.release()

    async def _merging_drafts(self, hot: HotRoom) -> list[Draft]:
        """Events that change nothing, which somebody here may be allowed to send."""
        state, own = hot.state, self._tools.builder.server_name
        members = [
            user
            for user, membership in state.memberships.items()
            if membership == "join" and user.partition(":")[2] == own
        ]
        members.sort(key=state.power.user, reverse=True)
        drafts = []
        for user in members[:_MERGERS]:
            drafts.append(Draft(user, DUMMY, {}))
            entry = state.get("m.room.member", user)
            stored = (
                None if entry is None else (await self._tools.events.get([entry.number])).get(entry.number)
            )
            if stored is not None:
                drafts.append(Draft(user, "m.room.member", stored.event.content, state_key=user))
        return drafts

    async def _placed(self, hot: HotRoom, incoming: Incoming, at_hand: AtHand) -> Trial | None:
        """The trial of a batch that succeeded on the room as it is now; None where the room was reloaded."""
        while self._hot is hot and not hot.epoch.broken:
            placing = Placing(hot, incoming, at_hand)
            try:
                trial = placing.attempt()
                unnumbered = [n for n in placing.names() if self._tools.strings.known(n) is None]
                if not unnumbered:
                    return trial
                placing.undo()
                await self._tools.strings.intern(unnumbered)
            except Lacking as lacking:
                try:
                    await self._tools.inbound.provide(self.room, hot, at_hand, placing, lacking)
                finally:
                    placing.undo()
        return None


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
