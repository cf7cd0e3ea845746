# SPDX-License-Identifier: Apache-2.0
"""Outliers: events that are known without a place in a room's graph, to judge others or as parts of a state.

They are judged by their auth events alone, and written ahead of whatever makes them count.
spec: server-server-api, "Checks performed on receipt of a PDU", 4.
"""

from __future__ import annotations

import logging
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs
from twisted.internet.task import deferLater

from federation.graph.current_state import Key, StateEntry
from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import check_auth_events, judging_events
from federation.rules.auth.state import AuthStateOf
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from storage.engine.errors import DataError
from storage.event import Event, StoredEvent
from storage.event_records import NewOutlier
from storage.events import Events
from storage.numbers import EventNumbers
from storage.persist import Unit
from storage.rejections import NewRejection
from storage.runtime.clock import Clock
from storage.strings import Strings
from storage.write_queue import WriteQueue

logger = logging.getLogger(__name__)

_CHUNK: Final = 500
"""So many are written in one unit."""

_SLICE: Final = 100
"""So many are judged before the reactor goes on."""

_TRIES: Final = 3


@attrs.frozen
class Learnt:
    """What became of events that were to be learnt.

    `events` are those that are stored, by id, with those that were stored before; `lacking` those whose auth
    events nobody here knows, with the ids of these.
    """

    events: Mapping[str, StoredEvent]
    lacking: Mapping[str, frozenset[str]]

    def state(self, event_ids: Iterable[str]) -> dict[Key, StateEntry]:
        """The state that consists of these events, as far as they are known, accepted state events."""
        found: dict[Key, StateEntry] = {}
        for event_id in event_ids:
            stored = self.events.get(event_id)
            if stored is not None and not stored.rejected and stored.event.state_key is not None:
                event = stored.event
                found[event.type, stored.event.state_key] = StateEntry.of(event, stored.number)
        return found


@attrs.frozen
class Outliers:
    """Stores events without a place in the graph."""

    strings: Strings
    numbers: EventNumbers
    events: Events
    queue: WriteQueue
    clock: Clock

    async def learn(
        self,
        room_id: str,
        version: RoomVersion,
        events: Sequence[Event],
        unauthorised: Collection[str] = frozenset(),
    ) -> Learnt:
        """Judge events of a room by their auth events, and store those that are not known yet.

        Each must have passed the checks on receipt up to its hash; they may come in any order. Events of
        other rooms and of an `auth_events` cycle are lacking. `unauthorised` names joins that the authorising
        server did not validly sign. Raises what `WriteQueue.submit` raises.
        """
        judge = _Judge(room_id, version, unauthorised)
        ordered, circular = in_auth_order(events)
        known = await self._known(events)
        lacking = {event.event_id: frozenset(event.auth_events) for event in circular}
        # In versions 1 and 2 an event of another room may have the id.
        elsewhere = {event_id for event_id, stored in known.items() if stored.event.room_id != room_id}
        lacking |= {event.event_id: frozenset() for event in events if event.event_id in elsewhere}
        new = [event for event in ordered if event.event_id not in known]
        for start in range(0, len(new), _CHUNK):
            await self._learn_chunk(judge, new[start : start + _CHUNK], known, lacking)
            if len(new) > _CHUNK:
                done = min(start + _CHUNK, len(new))
                logger.info("Stored %d of %d events of the state of %s", done, len(new), room_id)
        return Learnt({e: stored for e, stored in known.items() if e not in elsewhere}, lacking)

    async def _known(self, events: Iterable[Event]) -> dict[str, StoredEvent]:
        """What is stored of these events and of those that they cite."""
        names = {name for event in events for name in (event.event_id, *event.auth_events)}
        names.update("$" + event.room_id[1:] for event in events)
        return await self.events.by_id(names)

    async def _learn_chunk(
        self,
        judge: _Judge,
        events: Sequence[Event],
        known: dict[str, StoredEvent],
        lacking: dict[str, frozenset[str]],
    ) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                stored = await self._store(judge, events, known, lacking)
                break
            except DataError:
                # Another request may have stored one of them meanwhile.
                if attempt == _TRIES:
                    raise
                known |= await self._known(events)
        known |= stored

    async def _store(
        self,
        judge: _Judge,
        events: Sequence[Event],
        known: dict[str, StoredEvent],
        lacking: dict[str, frozenset[str]],
    ) -> dict[str, StoredEvent]:
        names = {s for e in events for s in (e.type, e.sender, e.state_key) if s is not None}
        strings = await self.strings.intern({judge.room_id, *names})
        await self.numbers.reserve(len(events))
        numbers = iter(self.numbers.take(len(events)))
        room = strings[judge.room_id]
        stored: dict[str, StoredEvent] = {}
        records: list[NewOutlier | NewRejection] = []
        for i, event in enumerate(events):
            if i % _SLICE == _SLICE - 1:
                await deferLater(self.clock, 0)  # type: ignore[arg-type]
            if event.event_id in known or event.event_id in stored:
                continue
            now_known = ChainMap(stored, known)
            unknown = judging_events(event, judge.version) - now_known.keys()
            if unknown or event.room_id != judge.room_id:
                lacking[event.event_id] = frozenset(unknown)
                continue
            refused = judge.refusal(event, now_known)
            one = StoredEvent(
                event, next(numbers), position=None, topo=None, before=None, rejected=refused is not None
            )
            stored[event.event_id] = one
            state_key = None if event.state_key is None else strings[event.state_key]
            records.append(NewOutlier(one, room, strings[event.type], state_key, strings[event.sender]))
            if refused is not None:
                records.append(NewRejection(one.number, refused.rule, refused.reason))
        if records:
            await self.queue.submit(Unit(records))
        return stored


@attrs.frozen
class _Judge:
    """Judges events of a room by the events that they cite."""

    room_id: str
    version: RoomVersion
    unauthorised: Collection[str]

    def refusal(self, event: Event, known: Mapping[str, StoredEvent]) -> AuthRefused | None:
        """Why what the event needs does not allow it, if it does not."""
        judging = judging_events(event, self.version)
        rejected = {name for name in judging if known[name].rejected}
        cited = [known[name].event for name in event.auth_events]
        state = AuthStateOf.from_events(known[name].event for name in judging)
        signed = event.event_id not in self.unauthorised
        try:
            check_auth_events(event, cited, rejected, self.version)
            check_auth(event, state, self.version, join_authoriser_signed=signed)
        except AuthRefused as refused:
            return refused
        return None


def in_auth_order(events: Collection[Event]) -> tuple[list[Event], list[Event]]:
    """The events, each after those of them that it cites; and those that cite each other in a circle.

    A create event comes before all others: some room versions imply it.
    """
    by_id = {event.event_id: event for event in events}
    waiting = {
        event_id: {auth for auth in event.auth_events if auth in by_id} for event_id, event in by_id.items()
    }
    citing: dict[str, list[str]] = {}
    for event_id, cited in waiting.items():
        for auth in cited:
            citing.setdefault(auth, []).append(event_id)
    ready = [event_id for event_id, cited in waiting.items() if not cited]
    ready.sort(key=lambda event_id: by_id[event_id].type == "m.room.create")
    ordered = []
    while ready:
        event_id = ready.pop()
        ordered.append(by_id[event_id])
        del waiting[event_id]
        for other in citing.get(event_id, ()):
            waiting[other].discard(event_id)
            if not waiting[other]:
                ready.append(other)
    return ordered, [by_id[event_id] for event_id in waiting]
