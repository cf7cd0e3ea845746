# SPDX-License-Identifier: Apache-2.0
"""Storage and its write queue over a database, without the floors above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from storage.engine.database import Database
from storage.persist import Unit
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import Committed, WriteQueue

Listener = Callable[[Sequence[Committed]], None]


@attrs.frozen
class Storing:
    """The stores over a database and the queue that writes into it."""

    storage: Storage
    queue: WriteQueue
    background: BackgroundTasks

    async def write(self, *records: Any) -> int:
        """Write the records as one unit; returns the position before the first that they got."""
        return (await self.queue.submit(_unit(records))).base

    async def write_together(self, *units: Sequence[Any]) -> list[BaseException | None]:
        """Write several units in one batch; returns what became of each, None for well."""
        answers = [self.queue.submit(_unit(records)) for records in units]
        for answer in answers:
            answer.addCallbacks(lambda _committed: None, lambda failure: failure.value)
        return await gatherResults(answers)


def _unit(records: Sequence[Any]) -> Unit:
    """A unit that has as many positions as its records ask for."""
    return Unit(records=records, positions=max((getattr(r, "index", 0) for r in records), default=0))


def storing_over(database: Database) -> Storing:
    """The stores over `database`, as the composition root builds them."""
    return storing_into(Storage.over(database))


def storing_into(
    storage: Storage, on_commit: Sequence[Callable[[Sequence[Committed]], None]] = ()
) -> Storing:
    """A queue that writes into `storage` and tells `on_commit`."""
    background = BackgroundTasks()
    queue = WriteQueue(
        database=storage.database,
        strings=storage.strings,
        clock=reactor,
        background=background,
        on_commit=on_commit,
    )
    return Storing(storage, queue, background)
