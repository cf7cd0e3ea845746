# SPDX-License-Identifier: Apache-2.0
"""Event numbers: handed out from blocks that are taken ahead of need. They carry no order."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from storage.engine.database import Database

_TAKE_BLOCK = "UPDATE counters SET value = value + ? WHERE name = 'event' RETURNING value"


class EventNumbers:
    """The event numbers of one process, taken `block` at a time.

    What is left of a block ends with the process.
    """

    def __init__(self, database: Database, *, block: int = 20_000) -> None:
        self._database = database
        self._block = block
        self._blocks: list[range] = []
        self._left = 0
        self._taking: Deferred[None] | None = None

    def has(self, count: int) -> bool:
        """Whether `count` numbers can be taken now."""
        return self._left >= count

    async def reserve(self, count: int) -> None:
        """Return once `count` numbers can be taken without waiting.

        Raises `DatabaseUnavailable` where a block is needed and cannot be had.
        """
        while self._left < count:
            await self._take_block(max(count, self._block))

    def take(self, count: int) -> list[int]:
        """`count` numbers that nobody else has; `reserve` must have returned before."""
        taken: list[int] = []
        while len(taken) < count:
            block = self._blocks[0]
            piece = block[: count - len(taken)]
            taken.extend(piece)
            rest = block[len(piece) :]
            if rest:
                self._blocks[0] = rest
            else:
                del self._blocks[0]
        self._left -= count
        return taken

    async def _take_block(self, size: int) -> None:
        if self._taking is not None:
            await _follow(self._taking)
            return
        self._taking = Deferred()
        waiting = self._taking
        try:
            row = await self._database.write("event numbers", lambda txn: txn.row(_TAKE_BLOCK, (size,)))
        except CancelledError:  # whoever followed takes a block in its place
            self._taking = None
            waiting.callback(None)
            raise
        except BaseException as error:
            self._taking = None
            waiting.addErrback(lambda _failure: None)
            waiting.errback(error)
            raise
        self._taking = None
        if row is None:
            raise RuntimeError("the counters table has no row for event numbers")
        last = row[0]
        self._blocks.append(range(last - size + 1, last + 1))
        self._left += size
        waiting.callback(None)


def _follow(deferred: Deferred[None]) -> Deferred[None]:
    """A Deferred of one's own that ends as `deferred` does."""
    mine: Deferred[None] = Deferred()

    def fired(result: object) -> object:
        mine.callback(result)  # type: ignore[arg-type]
        return result

    deferred.addBoth(fired)
    return mine
