# SPDX-License-Identifier: Apache-2.0
"""Appends to a room what this server's users send, built on the forward extremities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.drafts import Draft, RecordsOf, Request, no_records
from federation.graph.hot_room import HotRoom
from federation.graph.loading import LoadedRoom
from federation.graph.merging import MAX_PREV_EVENTS, Merging
from federation.graph.recording import Recording
from federation.graph.redactions import redaction_records
from federation.graph.reference_hashes import note_reference_hashes
from federation.graph.room_memory import RoomMemory
from federation.rules.auth.rules import check_auth
from federation.rules.signing import join_authoriser_server
from storage.event import Event, StateAt, StoredEvent
from storage.write_queue import RoomReloaded

_REBUILDS: Final = 20
"""How often a request is built again before it is given up."""


@attrs.frozen
class Appending:
    """Appends local events to one room."""

    memory: RoomMemory
    merging: Merging

    async def append(self, request: Request, records_of: RecordsOf = no_records) -> list[StoredEvent]:
        """Append the events that `request` asks for, as one unit, and return them once they are on disk.

        Raises what `request` raises, `AuthRefused` and the format errors of `federation.rules` (nothing is
        appended then), `RoomGone`, and what `WriteQueue.submit` raises.
        """
        memory = self.memory
        for _ in range(_REBUILDS):
            await memory.quiet()
            hot = await memory.loaded()
            drafts = request(hot.state)
            if not drafts:
                return []
            if len(hot.extremities) > MAX_PREV_EVENTS:
                await self.merging.merge(hot)
                continue
            targets = await self._prepare(hot, drafts)
            if targets is None or not memory.is_now(hot):
                continue
            try:
                return await self._append_now(hot, drafts, targets, records_of)
            except RoomReloaded:
                continue
        raise RoomReloaded(f"gave up on an event of {self.memory.room_id} after {_REBUILDS} tries")

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
        hot = await self.memory.begin(loaded)
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

    async def _prepare(self, hot: HotRoom, drafts: Sequence[Draft]) -> Mapping[str, StoredEvent] | None:
        """Have at hand what building needs; the targets of redactions, or None where it took time."""
        tools = self.memory.tools
        waited = False
        names = {name for d in drafts for name in (d.type, d.sender, d.state_key) if name is not None}
        if any(tools.strings.known(name) is None for name in names):
            await tools.strings.intern(names)
            waited = True
        if not tools.numbers.has(len(drafts)):
            await tools.numbers.reserve(len(drafts))
            waited = True
        if await note_reference_hashes(tools, hot, drafts):
            waited = True
        targets = [target for draft in drafts if (target := _redacted(draft)) is not None]
        if targets:
            # Asking for them again is cheap; a redaction is never built on another look at the room.
            found = await tools.events.by_id(targets)
            return found if tools.numbers.has(len(drafts)) else None
        return None if waited else {}

    async def _append_now(
        self,
        hot: HotRoom,
        drafts: Sequence[Draft],
        targets: Mapping[str, StoredEvent],
        records_of: RecordsOf,
        create: Event | None = None,
    ) -> list[StoredEvent]:
        recording = self.memory.recording(hot)
        self.memory.tools.queue.check_not_full()
        try:
            for number, draft in zip(self.memory.tools.numbers.take(len(drafts)), drafts, strict=True):
                event = create if create is not None and not recording.stored else self._build(hot, draft)
                self._check(hot, event, is_create=event is create)
                stored = self._add(recording, event, number)
                recording.records.extend(redaction_records(hot, stored, targets))
            recording.records.extend(records_of(recording.stored))
        except BaseException:
            if recording.stored:
                hot.epoch.broken = True  # what was added to memory will not be written
            raise
        return await self.memory.commit(recording)

    def _build(self, hot: HotRoom, draft: Draft) -> Event:
        return self.memory.tools.builder.build(
            self.memory.room_id, draft, hot.state, hot.extremities, hot.reference_hashes
        )

    def _check(self, hot: HotRoom, event: Event, *, is_create: bool) -> None:
        """Raises `AuthRefused`. What is built here is signed by this server, and by no other."""
        version, server = hot.state.version, self.memory.tools.builder.server_name
        check_auth(
            event,
            hot.state,
            version,
            power_levels=None if is_create else hot.state.power,
            join_authoriser_signed=join_authoriser_server(event, version) == server,
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


def _redacted(draft: Draft) -> str | None:
    if draft.type != "m.room.redaction":
        return None
    target = draft.redacts or draft.content.get("redacts")
    return target if isinstance(target, str) else None
