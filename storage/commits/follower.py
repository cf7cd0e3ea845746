# SPDX-License-Identifier: Apache-2.0
"""Takes in the commits of all processes of a homeserver, in the order of their positions.

A process's own commits wait here until those of others before them are in. What is missing comes with a
notice, where the medium carries it, or is read from the log of commits: a process may so read its own
commit before it is told what became of it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from storage.commits.awaited_positions import AwaitedPositions
from storage.commits.follow_counts import FollowCounts
from storage.commits.log import CommitLog, LogEntry
from storage.commits.records import UnpackedUnit, unpack_units
from storage.engine.errors import DatabaseError
from storage.engine.statement import Batch, Row
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

MOST_KEPT_BYTES = 32 * 2**20
"""No more are kept once they are as large as this together."""


@attrs.frozen(eq=False)
class _Own:
    """A commit of this process that waits for its turn, and what is to be done after it."""

    batch: Sequence[Committed]
    upto: int
    then: Callable[[], None]


class CommitFollower:
    """The one place through which commits reach the listeners of a process.

    `listeners` hear of every commit once, in the order of positions; what they raise is logged and holds
    nobody up. `of_others` is told the number of each room that another process has extended, before they
    hear of it. `lost` is called once, with a reason, where what is missing can be had nowhere any more: the
    process must start again, nothing more is taken in, and nobody waits for it. `begin` says where it stands
    before anything else is called. `position` is what is taken in.

    In units of other processes there are only records of `NOTED`; `AccountData` has no content in them. A
    unit of another process has no `epoch`.
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
        self._entries: dict[int, tuple[LogEntry, str]] = {}
        self._kept_bytes = 0
        self._taking = False
        self._resuming = False
        self._filling = False
        self._is_lost = False
        self._awaited = AwaitedPositions()
        self._heard: deque[tuple[int, float]] = deque()

    def begin(self, position: int) -> None:
        """Everything up to `position` is known from the database."""
        self.position = self._known = position

    @property
    def behind(self) -> int:
        """How many positions are known to be taken by commits that are not yet taken in."""
        return self._known - self.position

    # What the write queue asks for

    def writing(self, records: bytes, positions: int) -> tuple[Batch, Sequence[Row]]:
        """The statement by which a commit notes itself in the log."""
        return self._log.writing(records, positions)

    def committed(
        self, batch: Sequence[Committed], base: int, upto: int, records: bytes, then: Callable[[], None]
    ) -> None:
        """A commit of this process that took the positions `base` + 1 to `upto`; `then` follows its turn.

        It is told to the others at once, also where its turn has not come.
        """
        if self._notices.carries_entries:
            units = (committed.unit for committed in batch)
            self._notices.tell(Notice(upto=upto, entry=self._log.entry(base, units, records, upto - base)))
        else:
            self._notices.tell(Notice(upto=upto))
        if upto <= self.position or self._is_lost:  # it was read from the log before its outcome was known
            then()
            return
        self._own[base] = _Own(batch, upto, then)
        self._note(upto)
        self._advance()

    def committed_unnoted(self, batch: Sequence[Committed], base: int, then: Callable[[], None]) -> None:
        """A commit of this process that is not in the log; it comes after all up to the position `base`.

        Before that, whoever hears of it would take `base` for a position that has been reached.
        """

        def turn(reached: bool) -> None:
            if reached:
                self._tell(batch)
            then()

        if base <= self.position or self._is_lost:
            turn(not self._is_lost)
            return
        self._awaited.wait(base).addCallback(turn)
        self._note(base)
        self._advance()

    # What tells of others

    def hear(self, notice: Notice) -> None:
        """Take note of a notice of any process. Whatever it says, missing notices are no harm."""
        upto, entry = notice.upto, notice.entry
        if entry is not None:
            upto = max(upto, entry.upto)
            if self._is_wanted(entry):
                self._keep(entry, "notice")
        if upto > self.position:
            self._note(upto)
            self._advance()

    def _is_wanted(self, entry: LogEntry) -> bool:
        return (
            entry.base >= self.position
            and entry.events is not None
            and entry.process != self._log.process
            and entry.base not in self._entries
            and len(self._entries) < MOST_KEPT
            and self._kept_bytes < MOST_KEPT_BYTES
        )

    def found(self, position: int) -> None:
        """The database says that everything up to `position` is committed."""
        if position > self._known:
            self._counts.unannounced += 1
            self._note(position)
        self._advance()

    async def reached(self, position: int, timeout: float) -> bool:
        """Whether everything up to `position` is taken in, once it is; False after `timeout` seconds.

        False at once where this process is lost. `found` or a notice must have told of the position.
        """
        if position <= self.position:
            return True
        if self._is_lost:
            return False
        waiting = self._awaited.wait(position)
        timer = self._clock.callLater(timeout, self._awaited.give_up, waiting)
        try:
            return await waiting
        finally:
            if timer.active():
                timer.cancel()

    # Taking in

    def _note(self, position: int) -> None:
        if position > self._known:
            self._known = position
            self._heard.append((position, perf_counter()))

    def _keep(self, entry: LogEntry, way: str) -> None:
        self._take_out(entry.base)
        self._entries[entry.base] = (entry, way)
        self._kept_bytes += _size(entry)

    def _take_out(self, base: int) -> tuple[LogEntry, str] | None:
        kept = self._entries.pop(base, None)
        if kept is not None:
            self._kept_bytes -= _size(kept[0])
        return kept

    def _advance(self) -> None:
        """Take in what is at hand, and see to it that the rest is read."""
        if self._taking or self._resuming:  # a listener led here, or the next turn is to come
            return
        self._taking = True
        try:
            self._take_turn()
        finally:
            self._taking = False
        if self.position < self._known and not (self._resuming or self._filling or self._is_lost):
            self._filling = True
            self._background.spawn("commit log", self._fill())

    def _take_turn(self) -> None:
        """Take in what is at hand, for as long as nobody else is held up by it."""
        end = perf_counter() + _LONGEST_TURN
        while self.position < self._known and not self._is_lost and self._take_next():
            if perf_counter() > end and (self.position in self._own or self.position in self._entries):
                self._resuming = True
                self._clock.callLater(0, self._resume)
                return

    def _resume(self) -> None:
        self._resuming = False
        self._advance()

    def _take_next(self) -> bool:
        """Take in the next commit; False where it is not at hand."""
        own, kept = self._own.pop(self.position, None), self._take_out(self.position)
        if own is not None:
            self._take_in(own.batch, own.upto, "own")
            own.then()
            return True
        return kept is not None and self._enter(*kept)

    def _enter(self, entry: LogEntry, way: str) -> bool:
        """Take in a commit that was packed; False where nothing can be made of it."""
        try:
            unpacked = unpack_units(entry.records, entry.events or b"")
        except Exception:  # of a process of another version, or of none
            logger.exception("The commit after position %d cannot be read", entry.base)
            return False
        if entry.process != self._log.process:
            self._tell_rooms(unpacked)
        foreign = entry.process != self._log.process
        batch = [Committed(u.unit, entry.base + u.offset, foreign=foreign) for u in unpacked]
        self._take_in(batch, entry.upto, way)
        return True

    def _tell_rooms(self, unpacked: Sequence[UnpackedUnit]) -> None:
        for room in dict.fromkeys(u.room for u in unpacked if u.room is not None):
            try:
                self._of_others(room)
            except Exception:
                logger.exception("What another process did to a room could not be told")

    def _take_in(self, batch: Sequence[Committed], upto: int, way: str) -> None:
        self.position = upto
        self._counts.commits[way] += 1
        self._tell(batch)
        now = perf_counter()
        while self._heard and self._heard[0][0] <= upto:
            self._counts.lags.observe(now - self._heard.popleft()[1])
        self._awaited.reached(upto)

    def _tell(self, batch: Sequence[Committed]) -> None:
        for listener in self._listeners:
            try:
                listener(batch)
            except Exception:  # what is on disk is on disk, and the others must hear of it
                logger.exception("A listener to commits failed")

    # What is missing

    async def _fill(self) -> None:
        """Read the log until everything that is known to be committed is taken in."""
        away = False
        try:
            if self._notices.carries_all_entries:
                await deferLater(self._clock, ENTRY_SECONDS)  # type: ignore[arg-type]
            while self.position < self._known and not self._is_lost:
                if self._resuming:
                    await deferLater(self._clock, 0)  # type: ignore[arg-type]
                    continue
                try:
                    await self._read()
                    away = False
                except DatabaseError as error:
                    if not away:
                        logger.warning("The log of commits cannot be read, and is tried again: %s", error)
                    away = True
                    await deferLater(self._clock, RETRY_SECONDS)  # type: ignore[arg-type]
        finally:
            self._filling = False

    async def _read(self) -> None:
        """Read what is next in the log and begin to take it in. Raises `DatabaseError`."""
        self._counts.readings += 1
        before = self.position
        try:
            entries = await self._log.since(before)
        except (DatabaseError, CancelledError):
            raise
        except Exception:
            logger.exception("The log of commits after position %d cannot be read", before)
            entries = []
        for entry in entries:
            if entry.base >= self.position:
                self._keep(entry, "log")
                self._known = max(self._known, entry.upto)
        self._advance()
        if self.position == before:
            self._lose()

    def _lose(self) -> None:
        """What is missing is nowhere any more, or nothing can be made of it."""
        self._is_lost = True
        own, self._own = self._own, {}
        self._entries.clear()
        for commit in own.values():
            commit.then()
        self._lost(
            f"what was committed after position {self.position} is no longer in the log of commits, or it is"
            " nothing that this version can read: this process must start again"
        )
        self._awaited.give_up_all()


def _size(entry: LogEntry) -> int:
    return len(entry.records) + len(entry.events or b"")
