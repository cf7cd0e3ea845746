# SPDX-License-Identifier: Apache-2.0
"""Events in memory: what changes while they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from storage.engine.database import Database, Transaction
from storage.event import Event, StateAt, StoredEvent
from storage.event_records import NewEvent, NewOutlier, NewRedaction, OutlierPlaced
from storage.events import Events
from storage.persist import Unit
from tests.support.storing import storing_over

_ROOM = "!r:a.example"


class Slow:
    """A database whose first answer comes late, when `release` fires."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.looked: Deferred[None] = Deferred()
        self.release: Deferred[None] = Deferred()

    async def read(self, name: str, work: Callable[[Transaction], Any]) -> Any:
        answer = await self._database.read(name, work)
        if not self.looked.called:
            self.looked.callback(None)
            await self.release
        return answer


def stored(number: int, **fields: Any) -> StoredEvent:
    json = (
        b'{"type":"m","sender":"@a:a","content":{},"origin_server_ts":1,"depth":1,'
        b'"prev_events":[],"auth_events":[]}'
    )
    event = Event.decode(json, f"$event{number}:a.example", _ROOM)
    return StoredEvent(event, number, **{"position": None, "topo": None, "before": None, **fields})


@pytest.mark.parametrize("change", ["placed", "redacted"])
async def test_what_changes_while_it_is_read_is_not_remembered_as_it_was(
    database: Database, change: str
) -> None:
    storing = storing_over(database)
    names = await storing.storage.strings.intern([_ROOM, "m", "@a:a"])
    room, type_, sender = names[_ROOM], names["m"], names["@a:a"]
    if change == "placed":
        await storing.write(NewOutlier(stored(1), room, type_, None, sender))
    else:
        await storing.queue.submit(
            Unit([NewEvent(stored(1, topo=1, before=StateAt(0, 0)), room, type_, None, sender, 1)], 1)
        )
    slow = Slow(database)
    events = Events(slow, storing.storage.strings, cache_bytes=10**6)  # type: ignore[arg-type]
    reading = Deferred.fromCoroutine(events.get([1, 2]))
    await slow.looked
    if change == "placed":
        placed = stored(1, topo=1, before=StateAt(0, 0))
        await storing.queue.submit(Unit([OutlierPlaced(placed, room, 1)], 1))
        events.remember(placed.at(1))
    else:
        await storing.queue.submit(
            Unit(
                [
                    NewEvent(stored(2, topo=2, before=StateAt(0, 0)), room, type_, None, sender, 1),
                    NewRedaction("$event1:a.example", 2, "$event2:a.example", 1, applied=True),
                ],
                1,
            )
        )
        events.redacted(1, "$event2:a.example")
    slow.release.callback(None)
    found = (await reading)[1]
    [expected] = await database.read("fresh", lambda txn: events.get_txn(txn, [1]))
    assert attrs.asdict(found, recurse=False) == attrs.asdict(expected, recurse=False)
    assert attrs.asdict((await events.get([1]))[1], recurse=False) == attrs.asdict(expected, recurse=False)
    assert (found.position, found.redacted_by) == (1, None if change == "placed" else "$event2:a.example")
