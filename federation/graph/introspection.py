# SPDX-License-Identifier: Apache-2.0
"""What an operator asks of a room's graph: its state at a moment, who changed it, why it refused an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import attrs

from federation.graph.current_state import Key
from storage.engine.database import Database, Transaction
from storage.event import StateAt
from storage.events import Events
from storage.rejections import Rejections
from storage.state import Span, States
from storage.strings import Strings


class Verdict(Enum):
    """What the checks on receipt made of an event. spec: server-server-api, "Rejection", "Soft failure"."""

    ACCEPTED = "accepted"
    SOFT_FAILED = "soft-failed"
    REJECTED = "rejected"


@attrs.frozen
class Judgement:
    """The verdict on an event; unless it was accepted, the number of the rule in the text, and a sentence.

    `placed` is False for an outlier, which was judged by its auth events alone.
    """

    event_id: str
    verdict: Verdict
    placed: bool
    rule: str | None = None
    reason: str | None = None


@attrs.frozen
class Change:
    """A key of the current state took the value `event_id` (None: it was removed), set by `sender`.

    `position` is the moment; None: since before this server knew the room. `by_resolution`: no event came
    with the change, it is what a resolution or a state given from outside made of the room.
    """

    position: int | None
    event_id: str | None
    sender: str | None
    by_resolution: bool


@attrs.frozen
class Introspection:
    """Looks into the graphs of rooms. All of it reads the database alone, and disturbs nobody."""

    database: Database
    strings: Strings
    events: Events
    states: States
    rejections: Rejections

    async def state_at(self, room_id: str, position: int) -> Mapping[Key, str] | None:
        """The current state of the room as it was at a position: event ids by key.

        Empty before the room's first event; None where there is no such room.
        """
        room = await self._room(room_id)
        if room is None:
            return None

        def look(txn: Transaction) -> dict[Key, str]:
            revision = self.states.revision_at_txn(txn, room, position)
            return self._state_txn(txn, room, StateAt(0, revision)) if revision else {}

        return await self.database.read("state at a position", look)

    async def state_before(self, event_id: str) -> Mapping[Key, str] | None:
        """The state before an event: event ids by key; None where the event or the state is not known."""
        stored = (await self.events.by_id([event_id])).get(event_id)
        before = None if stored is None else stored.before
        room = None if stored is None else await self._room(stored.event.room_id)
        if before is None or room is None:
            return None
        state, of_room = before, room
        return await self.database.read("state before", lambda txn: self._state_txn(txn, of_room, state))

    async def changes_of(self, room_id: str, key: Key) -> Sequence[Change]:
        """What a key of the current state has been, from the first known value to the last."""
        numbers = await self.strings.find([room_id, *key])
        if not numbers.keys() >= {room_id, *key}:
            return ()
        room, type_, state_key = numbers[room_id], numbers[key[0]], numbers[key[1]]

        def look(txn: Transaction) -> tuple[list[Span], dict[tuple[int, int], int]]:
            spans = self.states.key_histories_txn(txn, [(room, type_, state_key)]).get((room, state_key), [])
            return spans, self.states.positions_txn(txn, [(room, span.first) for span in spans])

        spans, positions = await self.database.read("changes of a key", look)
        stored = await self.events.get({span.event for span in spans if span.event is not None})
        changes = []
        for span in spans:
            event = None if span.event is None else stored[span.event]
            position = positions.get((room, span.first))
            changes.append(
                Change(
                    position=position,
                    event_id=None if event is None else event.event.event_id,
                    sender=None if event is None else event.event.sender,
                    by_resolution=event is None or event.position != position,
                )
            )
        return changes

    async def judgement(self, event_id: str) -> Judgement | None:
        """What became of an event and why; None where it is not stored."""
        stored = (await self.events.by_id([event_id])).get(event_id)
        if stored is None:
            return None
        verdict = (
            Verdict.REJECTED
            if stored.rejected
            else Verdict.SOFT_FAILED
            if stored.soft_failed
            else Verdict.ACCEPTED
        )
        number = stored.number
        why = await self.database.read("why", lambda txn: self.rejections.of_event_txn(txn, number))
        return Judgement(
            event_id,
            verdict,
            placed=stored.topo is not None,
            rule=None if why is None else why.rule,
            reason=None if why is None else why.reason,
        )

    async def _room(self, room_id: str) -> int | None:
        return (await self.strings.find([room_id])).get(room_id)

    def _state_txn(self, txn: Transaction, room: int, state: StateAt) -> dict[Key, str]:
        rows = self.states.at_txn(txn, room, state)
        names = self.strings.values_txn(txn, {n for row in rows for n in (row.type, row.state_key)})
        return {
            (names[row.type], names[row.state_key]): row.event_id for row in rows if row.event_id is not None
        }
