# SPDX-License-Identifier: Apache-2.0
"""The write queue: all units that have gathered go to disk in one transaction (group commit)."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from storage.commit_marks import CommitMarks
from storage.commits.records import is_noted, pack_units
from storage.engine.database import Database, Fence, Tail, Transaction
from storage.engine.errors import DatabaseError, DatabaseUnavailable, DataError, FenceLost, OutcomeUnknown
from storage.engine.statement import Batch, Row
from storage.persist import RoomEpoch, Unit, positioned_rows, write_head_txn
from storage.rooms import room_txn
from storage.runtime.background import BackgroundTasks
from storage.runtime.clock import Clock
from storage.strings import NewString, Strings
from storage.write_counts import WriteCounts

logger = logging.getLogger(__name__)


class RoomReloaded(Exception):
    """The unit was not written, because what it builds on was not: build it again on the room as it is."""


class QueueFull(Exception):
    """So many units wait that another is not taken."""


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (DataError, "data"),
    (DatabaseUnavailable, "unavailable"),
    (OutcomeUnknown, "unknown_outcome"),
    (CancelledError, "unknown_outcome"),
)


@attrs.frozen(eq=False)
class Committed:
    """A unit that is on disk; the record with index i has the position `base + i`.

    `foreign`: another process wrote it, and of its records only those are here that others take note of.
    """

    unit: Unit
    base: int
    foreign: bool = False


class SharedCommits(Protocol):
    """What a queue works with where other processes follow its commits."""

    def writing(self, records: bytes, positions: int) -> tuple[Batch, Sequence[Row]]:
        """The statement by which a commit notes itself in the log."""

    def committed(
        self, batch: Sequence[Committed], base: int, upto: int, records: bytes, then: Callable[[], None]
    ) -> None:
        """A commit that took the positions `base` + 1 to `upto`.

        Its listeners hear of it in its turn, then `then` is called.
        """

    def committed_unnoted(self, batch: Sequence[Committed], base: int, then: Callable[[], None]) -> None:
        """A commit that took no position and is not in the log, of which others take no note.

        Its turn comes once everything up to the position `base` is taken in.
        """


@attrs.define(eq=False)
class _Waiting:
    unit: Unit
    done: Deferred[Committed] = attrs.field(factory=Deferred)
    since: float = attrs.field(factory=perf_counter)


class WriteQueue:
    """The one committer of a process.

    `on_commit` callables hear of each batch, in the order of positions, before its submitters do; they
    must not fail and not block. At most `batch_limit` units go into one transaction, and at most
    `queue_limit` wait. Nothing is written while the outcome of a commit is unknown; its submitters are told
    so after `lookup_timeout` seconds.

    Where other processes follow the commits, `shared` writes them into the log and brings them to the
    listeners in their turn, instead of `on_commit`. The submitters hear of them after that.
    """

    def __init__(
        self,
        *,
        database: Database,
        strings: Strings,
        clock: Clock,
        background: BackgroundTasks,
        on_commit: Sequence[Callable[[Sequence[Committed]], None]],
        batch_limit: int = 500,
        queue_limit: int = 20_000,
        lookup_timeout: float = 3.0,
        counts: WriteCounts | None = None,
        shared: SharedCommits | None = None,
    ) -> None:
        self._database = database
        self._strings = strings
        self._clock = clock
        self._background = background
        self._on_commit = on_commit
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._lookup_timeout = lookup_timeout
        self._counts = counts or WriteCounts()
        self._shared = shared
        self._waiting: deque[_Waiting] = deque()
        self._committing = False
        self._batch_number = 0
        self._strings_sent: Sequence[NewString] = ()
        self._noted: bytes | None = None
        self._turns_awaited = 0
        self._marks = CommitMarks(database)
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many units wait for the next commit."""
        return len(self._waiting)

    def submit(self, unit: Unit) -> Deferred[Committed]:
        """Returns once the unit is on disk.

        Raises `DataError` where the database refuses this unit, `RoomReloaded` where it builds on one
        that was not written, `DatabaseUnavailable` where nothing could be written, `OutcomeUnknown` where
        even that could not be found out, and `QueueFull`.
        """
        waiting = _Waiting(unit)
        try:
            self.check_not_full()
        except QueueFull as error:
            self._refuse([waiting], error)
            return waiting.done
        self._waiting.append(waiting)
        if not self._committing:
            self._committing = True
            self._background.spawn("write queue", self._commit_waiting())
        return waiting.done

    def check_not_full(self) -> None:
        """Raises `QueueFull` where `submit` would; asked before something is built that others build on."""
        if len(self._waiting) >= self._queue_limit:
            self._counts.refused["full"] += 1
            raise QueueFull("too many writes wait for the database")

    async def stop(self) -> None:
        """Return once all that waits is settled, and take the marks of this process out of the database."""
        self._stopping = True
        while self._committing:
            await deferLater(self._clock, 0.01)  # type: ignore[arg-type]
        deadline = self._clock.seconds() + self._lookup_timeout
        while self._turns_awaited and self._clock.seconds() < deadline:
            await deferLater(self._clock, 0.01)  # type: ignore[arg-type]
        try:
            await self._marks.forget()
        except DatabaseError as error:
            logger.warning("The marks of the write queue stay in the database: %s", error)

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                # Whatever arrives in this turn of the reactor still goes along.
                await deferLater(self._clock, 0)  # type: ignore[arg-type]
                batch = self._next_batch()
                try:
                    await self._commit_rest(batch)
                except Exception as error:
                    logger.exception("A batch of %d writes failed", len(batch))
                    self._refuse(batch, error)
        finally:
            self._committing = False

    def _next_batch(self) -> list[_Waiting]:
        size = min(len(self._waiting), self._batch_limit)
        return [self._waiting.popleft() for _ in range(size)]

    async def _commit_batch(self, batch: list[_Waiting]) -> None:
        """Commit `batch`, or find out which of its units can be and answer the others."""
        try:
            base = await self._commit(batch)
        except FenceLost as lost:
            self._counts.lost_fences += len(lost.rooms)
            _break([w for w in batch if w.unit.epoch and w.unit.epoch.room in lost.rooms])
            await self._commit_rest(batch)
        except DatabaseUnavailable as error:
            self._refuse(batch, error)
        except (OutcomeUnknown, CancelledError) as error:
            await self._find_out(batch, error)
        except Exception as error:  # nothing is written: an error of data, or a mistake in a record
            if len(batch) == 1:
                overtaken = isinstance(error, DataError) and await self._is_overtaken(batch[0].unit.epoch)
                self._refuse(batch, RoomReloaded() if overtaken else error)
            else:
                logger.warning("A batch of %d writes is tried one by one: %s", len(batch), error)
                for waiting in batch:
                    await self._commit_rest([waiting])
        else:
            self._settle(batch, base)

    async def _is_overtaken(self, epoch: RoomEpoch | None) -> bool:
        """Whether another process has written into the room.

        Rows that collide with those of that process are refused before the fence is asked for.
        """
        if epoch is None:
            return False
        try:
            row = await self._database.read("fence", lambda txn: room_txn(txn, epoch.room))
        except DatabaseError:
            return False
        return row is not None and row.fence != epoch.fence

    async def _commit_rest(self, batch: list[_Waiting]) -> None:
        """Commit those of `batch` that do not build on what was not written."""
        alive = []
        for waiting in batch:
            if _is_stale(waiting):
                self._fail(waiting, RoomReloaded())
            else:
                alive.append(waiting)
        if alive:
            await self._commit_batch(alive)

    async def _commit(self, batch: list[_Waiting]) -> int:
        strings = self._strings_sent = self._strings.unwritten()
        noting = self._note(batch)
        records, _, positions = _numbered(batch)
        fences = {w.unit.epoch.room: w.unit.epoch.fence for w in batch if w.unit.epoch is not None}
        self._batch_number += 1
        tail = Tail(
            fences=tuple(Fence(room, expected) for room, expected in sorted(fences.items())),
            positions=positions,
            statements=(*positioned_rows(records), *noting, self._marks.of(self._batch_number)),
        )

        def head(txn: Transaction) -> None:
            write_head_txn(txn, [*((0, string) for string in strings), *records])

        began = perf_counter()
        try:
            return await self._database.commit("write queue", head, tail)
        finally:
            self._counts.commits.observe(perf_counter() - began)

    def _note(self, batch: list[_Waiting]) -> Sequence[tuple[Batch, Sequence[Row]]]:
        """What writes the batch into the log of commits, where others follow it and it concerns them."""
        self._noted = None
        if self._shared is None:
            return ()
        if not any(waiting.unit.positions for waiting in batch):
            last = next((w for w in reversed(batch) if is_noted(w.unit)), None)
            if last is None:
                return ()
            last.unit = attrs.evolve(last.unit, positions=1)  # the log has a place for what has a position
        _, offsets, positions = _numbered(batch)
        self._noted = pack_units(zip(offsets, (w.unit for w in batch), strict=True))
        return (self._shared.writing(self._noted, positions),)

    def _settle(self, batch: list[_Waiting], base: int) -> None:
        """The batch is on disk: raise its fences, tell the listeners, then the submitters."""
        self._strings.written(self._strings_sent)
        _, offsets, positions = _numbered(batch)
        for epoch in _epochs(batch):
            epoch.fence += 1
        committed = [
            Committed(waiting.unit, base + offset) for waiting, offset in zip(batch, offsets, strict=True)
        ]
        if self._shared is not None:
            self._share(batch, committed, base, base + positions)
            return
        for listener in self._on_commit:
            try:
                listener(committed)
            except Exception:  # what is on disk is on disk, and the others must hear of it
                logger.exception("A listener to commits failed")
        self._answer(batch, committed)

    def _share(self, batch: list[_Waiting], committed: list[Committed], base: int, upto: int) -> None:
        """Let the batch have its turn among those of all processes."""
        assert self._shared is not None

        def then() -> None:
            self._turns_awaited -= 1
            self._answer(batch, committed)

        self._turns_awaited += 1
        if self._noted is None:
            self._shared.committed_unnoted(committed, base, then)
        else:
            self._shared.committed(committed, base, upto, self._noted, then)

    def _answer(self, batch: list[_Waiting], committed: list[Committed]) -> None:
        """The submitters may go on."""
        self._counts.batches.observe(len(batch))
        now = perf_counter()
        for waiting, outcome in zip(batch, committed, strict=True):
            self._counts.waits.observe(now - waiting.since)
            if not waiting.done.called:
                waiting.done.callback(outcome)

    def _refuse(self, batch: list[_Waiting], error: Exception) -> None:
        """Nothing of the batch is written: say so, and have its rooms loaded again."""
        _break(batch)
        for waiting in batch:
            self._fail(waiting, error)

    def _fail(self, waiting: _Waiting, error: Exception) -> None:
        if waiting.done.called:
            return
        if isinstance(error, RoomReloaded):
            self._counts.reloaded += 1
        elif not isinstance(error, QueueFull):  # which is counted where it is raised
            self._counts.refused[_reason(error)] += 1
        waiting.done.errback(error)

    def _refuse_waiting(self, error: Exception) -> None:
        waiting = list(self._waiting)  # whoever is refused may come again at once
        self._waiting.clear()
        self._refuse(waiting, error)

    async def _find_out(self, batch: list[_Waiting], error: Exception) -> None:
        """Look the mark of the batch up before anyone is answered."""
        logger.warning("It is not known whether a batch was committed; looking up what became of it")
        deadline = self._clock.seconds() + self._lookup_timeout
        while True:
            try:
                base = await self._marks.base_of(self._batch_number)
                break
            except DatabaseError as away:
                self._refuse_waiting(DatabaseUnavailable(str(away)))
            if self._stopping or self._clock.seconds() > deadline:
                self._refuse(batch, error)
            if self._stopping:
                return
            # Whoever reads along must hear of the batch if it was written, also where nobody waits for it.
            await deferLater(self._clock, 0.2)  # type: ignore[arg-type]
        if base is None:
            self._refuse(batch, DatabaseUnavailable("the connection to the database broke"))
        else:
            self._settle(batch, base)


def _numbered(batch: Sequence[_Waiting]) -> tuple[list[tuple[int, Any]], list[int], int]:
    """The records with their units' offsets, the offsets, and how many positions the batch needs."""
    records: list[tuple[int, Any]] = []
    offsets = []
    positions = 0
    for waiting in batch:
        offsets.append(positions)
        records.extend((positions, record) for record in waiting.unit.records)
        positions += waiting.unit.positions
    return records, offsets, positions


def _is_stale(waiting: _Waiting) -> bool:
    return waiting.unit.epoch is not None and waiting.unit.epoch.broken


def _reason(error: Exception) -> str:
    """One of `write_counts.REASONS`."""
    return next((name for kind, name in _REASONS if isinstance(error, kind)), "mistake")


def _break(batch: Sequence[_Waiting]) -> None:
    for epoch in _epochs(batch):
        epoch.broken = True


def _epochs(batch: Sequence[_Waiting]) -> list[RoomEpoch]:
    return list({id(w.unit.epoch): w.unit.epoch for w in batch if w.unit.epoch is not None}.values())
