# SPDX-License-Identifier: Apache-2.0
"""Takes in events of a room from outside: judges them, stores them, and settles the current state.

A batch is tried on the room as it is, without waiting. What the try lacks is read, or resolved, outside the
room's writer; local events go on meanwhile. Then it is tried again on the room as it is by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from federation.graph.applying import Applying
from federation.graph.backfilling import Backfilling
from federation.graph.batches import AtHand, Incoming, Lacking
from federation.graph.hot_room import HotRoom
from federation.graph.placing import Placing
from federation.graph.room_memory import RoomMemory
from federation.graph.trial import Trial
from federation.rules.errors import AuthRefused
from storage.engine.errors import DataError
from storage.event import StoredEvent
from storage.write_queue import RoomReloaded

_REBUILDS: Final = 20
"""How often a batch is judged again on a room that was loaded again, before it is given up."""

_TRIES: Final = 3
"""How often the database may refuse what is written of a batch."""

_PATIENCE: Final = 3
"""So many resolutions that local events made useless are borne, before these have to wait."""

_PIECE: Final = 100
"""So many events from outside are placed without a pause."""


@attrs.frozen
class Received:
    """What became of a batch from outside: the events that were stored, and those that could not be placed.

    `lacking`: by event id, the events that it refers to and that nobody here knows. What is of another room,
    follows itself, or is said to be older while nothing known follows it, is lacking too, but nothing that
    could be found.
    """

    stored: Sequence[StoredEvent]
    lacking: Mapping[str, frozenset[str]]


class RoomNotBegun(Exception):
    """A room cannot begin with these events: nothing is stored.

    `lacking` is as in `Received`; `refused` says why the first event is rejected, where it is.
    """

    def __init__(self, lacking: Mapping[str, frozenset[str]], refused: AuthRefused | None) -> None:
        why = "its first event refers to what nobody here knows" if refused is None else str(refused)
        super().__init__(f"the room cannot begin: {why}")
        self.lacking = lacking
        self.refused = refused


@attrs.frozen
class Receiving:
    """Takes in events from outside into one room."""

    memory: RoomMemory

    async def receive(self, incoming: Incoming, new_room: Sequence[Any] = ()) -> Received:
        """Take in events from outside: judge them, store them in the graph, and settle the current state.

        Each event must have passed the checks on receipt up to its hash. Long batches are taken in pieces,
        except of older events.
        `new_room` are records that go before the first events of a room that is not stored yet.
        Raises `RoomNotBegun` for such a room, and what `WriteQueue.submit` raises.
        """
        memory = self.memory
        stored: list[StoredEvent] = []
        lacking: dict[str, frozenset[str]] = {}
        for piece in incoming.pieces(_PIECE):
            await memory.receiving.acquire()
            try:
                received = await self.receive_piece(piece, new_room)
            finally:
                memory.end_quiet()
                memory.receiving.release()
            memory.tidy()
            new_room = ()
            stored.extend(received.stored)
            lacking |= received.lacking
        return Received(stored, lacking)

    async def receive_piece(self, incoming: Incoming, new_room: Sequence[Any] = ()) -> Received:
        """As `receive`, for a batch that is placed without a pause; `RoomMemory.receiving` must be held."""
        memory = self.memory
        refusals = 0
        for _ in range(_REBUILDS):
            hot = await memory.loaded()
            at_hand = await memory.tools.inbound.read(memory.room, incoming, hot.state.version)
            trial = await self._placed(hot, incoming, at_hand)
            if trial is None:
                continue
            if new_room and not trial.extremities:
                refused = next((s.placement.refused for s in trial.steps if s.placement is not None), None)
                raise RoomNotBegun(trial.lacking, refused)
            recording = memory.recording(hot)
            recording.records.extend(new_room)
            try:
                entering = Backfilling if incoming.backfilled else Applying
                entering(recording, at_hand, trial).apply()
            except BaseException:
                hot.epoch.broken = True  # what was added to memory will not be written
                raise
            if not recording.records:
                return Received((), trial.lacking)
            try:
                return Received(await memory.commit(recording), trial.lacking)
            except RoomReloaded:
                continue
            except DataError:
                # Another request may have stored one of the events as an outlier meanwhile.
                refusals += 1
                if new_room or refusals == _TRIES:
                    raise
        raise RoomReloaded(f"gave up on events of {memory.room_id} after {_REBUILDS} tries")

    async def _placed(self, hot: HotRoom, incoming: Incoming, at_hand: AtHand) -> Trial | None:
        """The trial of a batch that succeeded on the room as it is now; None where the room was reloaded."""
        memory = self.memory
        resolutions = 0
        while memory.is_now(hot):
            placing = Placing(hot, incoming, at_hand)
            try:
                trial = placing.attempt()
                unnumbered = [n for n in placing.names() if memory.tools.strings.known(n) is None]
                if not unnumbered:
                    return trial
                placing.undo()
                await memory.tools.strings.intern(unnumbered)
            except Lacking as lacking:
                resolutions += lacking.states is not None
                if resolutions > len(incoming.events) + _PATIENCE:
                    memory.ask_for_quiet()
                try:
                    await memory.tools.inbound.provide(memory.room, hot, at_hand, placing, lacking)
                finally:
                    placing.undo()
        return None
