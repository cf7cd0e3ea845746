# SPDX-License-Identifier: Apache-2.0
"""One room in memory: loaded when needed, loaded again when a unit of it could not be written.

The writer does not wait for the disk: an event builds on the one that is still in the write queue. Where
the queue could not write one, the room is loaded again and what was built on it is built again.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredLock

from federation.graph.building import Extremity
from federation.graph.graph_tools import GraphTools
from federation.graph.hot_room import HotRoom
from federation.graph.loading import LoadedRoom
from federation.graph.recording import Recording
from federation.graph.timelines import StateTimelines
from storage.event import StoredEvent
from storage.persist import RoomEpoch, Unit


class RoomGone(Exception):
    """The room is not stored."""


class RoomMemory:
    """A room in memory, and the way of its units into the write queue.

    `receiving` is held by whoever takes in events from outside: one batch at a time. Local events go on
    meanwhile, unless they keep it from coming to an end.
    """

    def __init__(self, *, room: int, room_id: str, tools: GraphTools) -> None:
        self.room = room
        self.room_id = room_id
        self.tools = tools
        self.receiving = DeferredLock()
        self._quiet: Deferred[None] | None = None
        self._hot: HotRoom | None = None
        self._loading: Deferred[None] | None = None
        self._in_flight = 0
        self._drained: list[Deferred[None]] = []
        self._outdated = 0
        tools.foreign.watch(self)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the room waits to be written, so that it may leave memory."""
        return self._in_flight == 0 and self._loading is None and not self.receiving.locked

    async def quiet(self) -> None:
        """Return when local events may be appended: now, unless a batch from outside asked for quiet."""
        while self._quiet is not None:
            await _end_of(self._quiet)

    def ask_for_quiet(self) -> None:
        """Let no local event begin before `end_quiet`: the room changes faster than a batch can be placed."""
        if self._quiet is None:
            self._quiet = Deferred()

    def end_quiet(self) -> None:
        """Local events go on."""
        quiet, self._quiet = self._quiet, None
        if quiet is not None:
            quiet.callback(None)

    def outdate(self) -> None:
        """Another process has written into the room: load it again before it is next used."""
        self._outdated += 1
        if self._hot is not None:
            self._hot.epoch.broken = True

    async def loaded(self) -> HotRoom:
        """The room as its next event finds it. Raises `RoomGone`, `DatabaseUnavailable`."""
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
            outdated = self._outdated
            loaded = await self.tools.loader.load(self.room)
            if loaded is None:
                raise RoomGone(self.room_id)
            self._hot = await self._heated(loaded)
            if outdated != self._outdated:  # it was written to while it was read
                self._hot.epoch.broken = True
        finally:
            self._loading = None
            loading.callback(None)

    async def begin(self, loaded: LoadedRoom) -> HotRoom:
        """Have in memory a room that is not stored yet."""
        self._hot = await self._heated(loaded)
        return self._hot

    def is_now(self, hot: HotRoom) -> bool:
        """Whether `hot` is still what the next event finds."""
        return self._hot is hot and not hot.epoch.broken

    async def _heated(self, loaded: LoadedRoom) -> HotRoom:
        memory = [await c.load(self.room, self.room_id, loaded.state) for c in self.tools.contributors]
        return HotRoom(
            room_id=self.room_id,
            epoch=RoomEpoch(self.room, loaded.fence),
            extremities=[Extremity.of(stored) for stored in loaded.extremities],
            timelines=StateTimelines(loaded.state, head=loaded.revision, next_branch=loaded.last_branch + 1),
            memory=memory,
            top=loaded.top,
        )

    def recording(self, hot: HotRoom) -> Recording:
        """A unit of the room in the making."""
        tools = self.tools
        return Recording(hot=hot, room=self.room, strings=tools.strings, contributors=tools.contributors)

    async def commit(self, recording: Recording) -> list[StoredEvent]:
        """Return the stored events once the unit is on disk. Raises what `WriteQueue.submit` raises."""
        hot = recording.hot
        hot.note_resolution()
        hot.note_unstored(recording.stored)
        unit = Unit(recording.records, positions=recording.positions, epoch=hot.epoch)
        try:
            base = await self._submit(unit)
        finally:
            hot.written(recording.stored)
        self.tidy()
        return recording.at(base)

    def tidy(self) -> None:
        """Let go of what is not needed any more, unless something is just looking at it."""
        if not self._in_flight and not self.receiving.locked and self._hot is not None:
            self._hot.timelines.forget_old()

    async def _submit(self, unit: Unit) -> int:
        self._in_flight += 1
        try:
            return (await self.tools.queue.submit(unit)).base
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                drained, self._drained = self._drained, []
                for waiting in drained:
                    waiting.callback(None)


def _end_of(deferred: Deferred[None]) -> Deferred[None]:
    """A Deferred that fires when `deferred` does, which others wait for too."""
    end: Deferred[None] = Deferred()
    deferred.addBoth(lambda _: end.callback(None))
    return end
