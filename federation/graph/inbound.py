# SPDX-License-Identifier: Apache-2.0
"""Reads what a batch of events from outside needs, and provides what the try to place it was lacking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import attrs

from federation.graph.batches import AtHand, Incoming, Lacking, Referrers
from federation.graph.current_state import CurrentState, Key, StateEntry
from federation.graph.hot_room import HotRoom
from federation.graph.placing import Placing
from federation.graph.resolving import Resolver, StatesToResolve
from federation.graph.timelines import Begun, Ended
from federation.rules.auth.selection import judging_events
from federation.rules.redaction import redacts
from federation.rules.room_versions import RoomVersion
from storage.engine.database import Database, Transaction
from storage.event import Event, StateAt, StoredEvent
from storage.events import Events, GraphRow
from storage.gaps import Gap, Gaps
from storage.numbers import EventNumbers
from storage.state import States, TimelineRow
from storage.state_records import OPEN
from storage.strings import Strings


@attrs.frozen
class InboundReader:
    """Reads for batches of events from outside."""

    database: Database
    strings: Strings
    numbers: EventNumbers
    events: Events
    states: States
    gaps: Gaps
    resolver: Resolver

    async def read(self, room: int, incoming: Incoming, version: RoomVersion) -> AtHand:
        """What is stored of the events that the batch names, and numbers for its own.

        Raises `DatabaseUnavailable`.
        """
        batch = incoming.events
        own = [event.event_id for event in batch]
        referred = {prev for event in batch for prev in event.prev_events}
        cited = {auth for event in batch for auth in judging_events(event, version)}
        given = _given_ids(incoming)

        def look(txn: Transaction) -> tuple[Any, ...]:
            return (
                self.events.graph_rows_txn(txn, {*own, *referred, *cited}),
                self.events.waiting_redactions_txn(txn, {*own, *given}),
                self.gaps.referrers_txn(txn, room, own),
            )

        rows, waiting, gaps = await self.database.read("read for a batch", look)
        targets = {t for e in batch if e.type == "m.room.redaction" and (t := redacts(e, version))}
        redactions = {event_id for of_target in waiting.values() for _, event_id in of_target}
        targets |= given & waiting.keys()
        await self.strings.intern(
            {s for e in batch for s in (e.type, e.sender, e.state_key) if s is not None}
        )
        await self.numbers.reserve(len(own))
        numbers = self.numbers.take(len(own))  # now: whoever waits for something else may find none left
        referrers = await self._referrers(gaps)
        return AtHand(
            rows=rows,
            auth_events=await self.events.by_id(cited),
            outliers=await self._outliers(own, rows),
            unknown=await self._unknown(own, rows) if incoming.backfilled else {},
            waiting_redactions=waiting,
            gaps=referrers,
            others=await self.events.by_id(targets | redactions) if targets or redactions else {},
            numbers=dict(zip(own, numbers, strict=True)),
            lowest=await self._lowest(room, referrers) if incoming.backfilled else None,
            events=await self._kept(
                item
                for state in incoming.given.values()
                if not isinstance(state, StateAt)
                for item in state.items()
            ),
        )

    async def _kept(self, values: Iterable[tuple[Key, StateEntry | None]]) -> dict[int, Event]:
        """The events, by number, of those values that a room in memory keeps whole once they are current."""
        numbers = [entry.number for key, entry in values if entry and CurrentState.keeps_event(*key)]
        found = await self.events.get(numbers) if numbers else {}
        return {number: stored.event for number, stored in found.items()}

    async def _unknown(self, own: Iterable[str], rows: Mapping[str, GraphRow]) -> Mapping[str, StoredEvent]:
        """Those of the batch that have their place without the state before them, and were not rejected."""
        unknown = [
            event_id
            for event_id in own
            if (row := rows.get(event_id)) is not None
            and row.topo is not None
            and row.before is None
            and not row.rejected
        ]
        return await self.events.by_id(unknown) if unknown else {}

    async def _outliers(self, own: Iterable[str], rows: Mapping[str, GraphRow]) -> Mapping[str, StoredEvent]:
        """Those of the batch that are stored without a place."""
        outliers = [event_id for event_id in own if event_id in rows and rows[event_id].topo is None]
        return await self.events.by_id(outliers) if outliers else {}

    async def _lowest(self, room: int, gaps: Mapping[str, Referrers]) -> int | None:
        """The lowest known revision of the branch on which whoever refers to the gaps stands."""
        branches = {s.branch for referrers in gaps.values() for s in referrers.before if s is not None}
        if len(branches) != 1:
            return None
        (branch,) = branches
        return await self.database.read("lowest", lambda txn: self.states.lowest_txn(txn, room, branch))

    async def _referrers(self, gaps: Mapping[str, Sequence[Gap]]) -> dict[str, Referrers]:
        """Who refers to the events that were missing."""
        if not gaps:
            return {}
        stored = await self.events.get({gap.referrer for of_event in gaps.values() for gap in of_event})
        return {
            event_id: Referrers(
                topo=min(gap.topo for gap in of_event),
                before={stored[gap.referrer].before for gap in of_event if gap.referrer in stored},
                accepted=any(_counts(stored[gap.referrer]) for gap in of_event if gap.referrer in stored),
            )
            for event_id, of_event in gaps.items()
        }

    async def provide(
        self, room: int, hot: HotRoom, at_hand: AtHand, placing: Placing, lacking: Lacking
    ) -> None:
        """Put at hand what the try to place a batch was lacking. Raises `DatabaseUnavailable`."""
        if lacking.event is not None:
            for number, stored in (await self.events.get([lacking.event])).items():
                at_hand.events[number] = stored.event
            if lacking.event not in at_hand.events:
                raise LookupError(f"the event with the number {lacking.event} is not stored")
        elif lacking.state is not None:
            await self._load(room, hot, lacking.state)
        elif lacking.states is not None:
            asked = StatesToResolve(
                room=room,
                version=hot.state.version,
                timelines=hot.timelines,
                states=list(lacking.states),
                unstored={**hot.unstored_now(), **placing.placed_now()},
            )
            resolved = await self.resolver.resolve(asked)
            await self.strings.intern({name for key in resolved for name in key})
            at_hand.events |= await self._kept(resolved.items())
            at_hand.resolutions[frozenset(lacking.states.values())] = resolved

    async def _load(self, room: int, hot: HotRoom, state: StateAt) -> None:
        """Have a branch in memory, or branch 0 back to a revision."""
        if state.branch == 0:
            after = state.revision
            rows = await self.database.read(
                "past of a room", lambda txn: self.states.timeline_txn(txn, room, after)
            )
            hot.timelines.learn_past(after, _ended(await self._named(rows), after))
            return
        branch = await self.database.read(
            "branch", lambda txn: self.states.branch_txn(txn, room, state.branch)
        )
        if branch.parent is None:
            raise LookupError(f"branch {state.branch} of room {room} is not stored")
        hot.timelines.learn_branch(state.branch, branch.parent, _begun(await self._named(branch.rows)))

    async def _named(self, rows: Sequence[TimelineRow]) -> list[tuple[Key, TimelineRow]]:
        names = await self.strings.values({n for row in rows for n in (row.type, row.state_key)})
        return [((names[row.type], names[row.state_key]), row) for row in rows]


def _given_ids(incoming: Incoming) -> set[str]:
    """The events of the states that are given with a batch."""
    states = [state for state in incoming.given.values() if not isinstance(state, StateAt)]
    return {entry.event_id for state in states for entry in state.values()}


def _counts(stored: StoredEvent) -> bool:
    return not stored.rejected and not stored.soft_failed and stored.before is not None


def _entry(row: TimelineRow) -> StateEntry | None:
    if row.event is None or row.event_id is None:
        return None
    return StateEntry(row.event, row.event_id, row.membership)


def _begun(rows: Iterable[tuple[Key, TimelineRow]]) -> dict[Key, list[Begun]]:
    by_key: dict[Key, list[TimelineRow]] = {}
    for key, row in rows:
        by_key.setdefault(key, []).append(row)
    return {key: _in_order(of_key) for key, of_key in by_key.items()}


def _in_order(rows: list[TimelineRow]) -> list[Begun]:
    rows.sort(key=lambda row: row.first)
    found: list[Begun] = []
    for row, following in zip_longest(rows, rows[1:]):
        found.append(Begun(row.first, _entry(row)))
        if row.end < OPEN and (following is None or following.first > row.end):
            found.append(Begun(row.end, None, inherited=True))
    return found


def _ended(rows: Sequence[tuple[Key, TimelineRow]], after: int) -> dict[Key, list[Ended]]:
    """What ended after a revision, by key; what began without one before it ended as having no value."""
    found: dict[Key, dict[int, StateEntry | None]] = {}
    for key, row in rows:
        if after < row.end < OPEN:
            found.setdefault(key, {})[row.end] = _entry(row)
    for key, row in rows:
        if row.first > after:
            found.setdefault(key, {}).setdefault(row.first, None)
    return {key: [Ended(end, ends[end]) for end in sorted(ends)] for key, ends in found.items()}
