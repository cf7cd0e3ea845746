# SPDX-License-Identifier: Apache-2.0
"""Takes in the commits of all processes of a homeserver, in the order of their positions.

A process's own commits wait here until those of others before them are in. What is missing comes with a
notice, where the medium carries it, or is read from the log of commits.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from storage.commit_log import CommitLog, LogEntry
from storage.commit_records import unpack_units
from storage.engine.errors import DatabaseError
from storage.engine.statement import Batch, Row
from storage.follow_counts import FollowCounts
from storage.notices.notices import Notice, Notices
from storage.runtime.background import BackgroundTasks
from storage.runtime.clock import Clock
from storage.write_queue import Committed

logger = logging.getLogger(__name__)

ENTRY_SECONDS = 0.02
"""How long an entry that a notice should carry is waited for before the log is read."""

RETRY_SECONDS = 0.2
"""How long after a failure the log is read again."""

_LONGEST_TURN = 0.005
"""Seconds of taking in before others get their turn."""

MOST_KEPT = 500
"""So many entries that came with notices wait for those before them."""


@attrs.frozen(eq=False)
class _Own:
    """A commit of this process that waits for its turn, and what is to be done after it."""

    batch: Sequence[Committed]
    upto: int
    then: Callable[[], None]


class CommitFollower:
    """The one place through which commits reach the listeners of a process.

    `listeners` hear of every commit, `of_others` is told the room of each unit by which another process has
    extended one. `lost` is called once, with a reason, where what is missing can be had nowhere any more: the
    process must start again. `begin` says where it stands before anything else is called.
    """

    def __init__(
        self,
        *,
        log: CommitLog,
        notices: Notices,
        listeners: Sequence[Callable[[Sequence[Committed]], None]],
        of_others: Callable[[int], None],
        lost: Callable[[str], None],
        background: BackgroundTasks,
        clock: Clock,
        counts: FollowCounts | None = None,
    ) -> None:
        self._log = log
        self._notices = notices
        self._listeners = listeners
        self._of_others = of_others
        self._lost = lost
        self._background = background
        self._clock = clock
        self._counts = counts or FollowCounts()
        self.position = 0
        self._known = 0
        self._own: dict[int, _Own] = {}
        self._entries: dict[int, LogEntry] = {}
        self._filling = False
        self._is_lost = False
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._heard: deque[tuple[int, float]] = deque()

    def begin(self, position: int) -> None:
        """Everything up to `position` is known from the database."""
        self.position = self._known = position

    # What the write queue asks for

    def writing(self, records: bytes, positions: int) -> tuple[Batch, Sequence[Row]]:
        """The statement by which a commit notes itself in the log."""
        return self._log.writing(records, positions)

    def committed(
        self, batch: Sequence[Committed], base: int, upto: int, records: bytes, then: Callable[[], None]
    ) -> None:
        """A commit of this process that took the positions `base` + 1 to `upto`; `then` follows its turn."""
        if self._notices.carries_entries:
            units = [(committed.base - base, committed.unit) for committed in batch]
            self._notices.tell(Notice(upto=upto, entry=self._log.entry(base, units, records, upto - base)))
        else:
            self._notices.tell(Notice(upto=upto))
        if upto <= self.position:  # it was read from the log before its outcome was known here
            then()
            return
        if self._is_lost:
            then()
            return
        self._own[base] = _Own(batch, upto, then)
        self._note(upto)
        self._advance()

    # What tells of others

    def hear(self, notice: Notice) -> None:
        """Take note of a notice of any process."""
        entry = notice.entry
        if entry is not None and self._is_wanted(entry):
            self._entries[entry.base] = entry
        if notice.upto > self.position:
            self._note(notice.upto)
            self._advance()

    def _is_wanted(self, entry: LogEntry) -> bool:
        is_news = entry.base >= self.position and entry.process != self._log.process
        return is_news and len(self._entries) < MOST_KEPT

    def found(self, position: int) -> None:
        """The database says that everything up to `position` is committed."""
        if position > self._known:
            self._counts.unannounced += 1
            self._note(position)
        self._advance()

    async def reached(self, position: int, timeout: float) -> bool:
        """Return True once everything up to `position` is taken in, False after `timeout` seconds."""
        if position <= self.position:
            return True
        waiting: Deferred[None] = Deferred()
        self._waiting.append((position, waiting))
        timer = self._clock.callLater(timeout, waiting.callback, None)
        await waiting
        if timer.active():
            timer.cancel()
        return position <= self.position

    # Taking in

    def _note(self, position: int) -> None:
        if position > self._known:
            self._known = position
            self._heard.append((position, perf_counter()))

    def _advance(self) -> None:
        """Take in what is at hand, and see to it that the rest is read."""
        while self.position < self._known and not self._is_lost:
            own = self._own.pop(self.position, None)
            if own is not None:
                self._take_in(own.batch, own.upto, "own")
                own.then()
                continue
            entry = self._entries.pop(self.position, None)
            if entry is None or entry.events is None:
                break
            self._enter(entry, "notice")
        if self.position < self._known and not self._filling and not self._is_lost:
            self._filling = True
            self._background.spawn("commit log", self._fill())

    async def _fill(self) -> None:
        """Read the log until everything that is known to be committed is taken in."""
        try:
            if self._notices.carries_entries:
                await deferLater(self._clock, ENTRY_SECONDS)  # type: ignore[arg-type]
            while self.position < self._known and not self._is_lost:
                try:
                    await self._read()
                except DatabaseError as error:
                    logger.warning("The log of commits cannot be read: %s", error)
                    await deferLater(self._clock, RETRY_SECONDS)  # type: ignore[arg-type]
                self._entries = {base: e for base, e in self._entries.items() if base >= self.position}
        finally:
            self._filling = False
        self._advance()

    async def _read(self) -> None:
        """One reading of the log. Raises `DatabaseError`."""
        self._counts.readings += 1
        before = self.position
        entries = await self._log.since(before)
        began = perf_counter()
        for entry in entries:
            if perf_counter() - began > _LONGEST_TURN:
                await deferLater(self._clock, 0)  # type: ignore[arg-type]
                began = perf_counter()
            own = self._own.get(self.position)
            if own is not None:
                self._advance()
            if entry.base == self.position:
                self._enter(entry, "log")
        if self.position == before:
            self._lose()

    def _enter(self, entry: LogEntry, way: str) -> None:
        """Take in a commit that was packed."""
        assert entry.events is not None
        own = entry.process == self._log.process
        unpacked = unpack_units(entry.records, entry.events)
        if not own:
            for u in unpacked:
                if u.room is not None:
                    self._of_others(u.room)
        self._take_in([Committed(u.unit, entry.base + u.offset) for u in unpacked], entry.upto, way)

    def _take_in(self, batch: Sequence[Committed], upto: int, way: str) -> None:
        self.position = upto
        self._counts.commits[way] += 1
        for listener in self._listeners:
            try:
                listener(batch)
            except Exception:  # what is on disk is on disk, and the others must hear of it
                logger.exception("A listener to commits failed")
        now = perf_counter()
        while self._heard and self._heard[0][0] <= upto:
            self._counts.lags.observe(now - self._heard.popleft()[1])
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for position, reader in waiting:
                if position > upto and not reader.called:
                    self._waiting.append((position, reader))
                elif not reader.called:
                    reader.callback(None)

    def _lose(self) -> None:
        """What is missing is nowhere any more."""
        self._is_lost = True
        own, self._own = self._own, {}
        for commit in own.values():
            commit.then()
        self._lost(
            f"this process has not heard of the commits after position {self.position} in time,"
            " and they are no longer in the log"
        )
