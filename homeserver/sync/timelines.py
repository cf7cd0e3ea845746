# SPDX-License-Identifier: Apache-2.0
"""The timelines of a sync: the latest events of each room that its reader may see and wants.

spec: client-server-api, "Syncing".
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from homeserver.feed.feed import Feed
from homeserver.rooms.history import RoomView
from homeserver.rooms.tokens import SyncToken, place_token
from homeserver.sync.reader import Reader
from storage.engine.database import Transaction
from storage.event import StoredEvent
from storage.events import Place, Placed
from storage.stores import Storage

_MOST_SCANNED = 500
"""So many events are looked at for one timeline, whatever the filter lets through."""


@attrs.frozen
class TimelineOf:
    """Which events of a room: those with `after` < position <= `upto`.

    `sees_all` where none of them need be hidden.
    """

    room: int
    after: int
    upto: int
    view: RoomView
    sees_all: bool = False


@attrs.frozen
class Timeline:
    """The events to show, and all events of the room from the first of them on (`scanned`), in order.

    `limited`: there are events before them that the reader has not got.
    """

    events: Sequence[StoredEvent] = ()
    scanned: Sequence[StoredEvent] = ()
    limited: bool = False

    def prev_batch(self, otherwise: SyncToken) -> str:
        """The token from which to page back; `otherwise` where the timeline is empty."""
        first = self.events[0] if self.events else None
        if first is None or first.topo is None or first.position is None:
            return str(otherwise)
        return place_token(Place(first.topo, first.position - 1))


class Timelines:
    """Reads timelines, those of many rooms at once."""

    def __init__(self, *, storage: Storage, feed: Feed) -> None:
        self._storage = storage
        self._feed = feed

    async def read(self, wanted: Sequence[TimelineOf], reader: Reader) -> dict[int, Timeline]:
        """The timeline of each room; all come out of one look at the database, or of none."""
        limit = reader.timeline_limit
        predicate = reader.filter.timeline
        if limit == 0 or predicate.is_nothing:
            return {one.room: Timeline() for one in wanted}
        first_look = limit + 1 if predicate.is_everything else 2 * limit + 10
        placed = await self._latest(wanted, first_look)
        stored = await self._storage.events.get(p.number for places in placed.values() for p in places)
        timelines = {}
        for one in wanted:
            scanned = [stored[p.number] for p in placed[one.room]]
            timelines[one.room] = await self._timeline(one, reader, scanned, first_look)
        return timelines

    async def _timeline(
        self, one: TimelineOf, reader: Reader, scanned: list[StoredEvent], looked_for: int
    ) -> Timeline:
        """From the latest events, `scanned`, on, look further back until there are enough."""
        limit = reader.timeline_limit
        while True:
            chosen = _choose(one, reader, scanned, limit)
            exhausted = len(scanned) < looked_for
            if exhausted or len(chosen) == limit or len(scanned) >= _MOST_SCANNED:
                break
            oldest = scanned[-1].position
            assert oldest is not None
            more = await self._feed.events_between(
                one.room, after=one.after, upto=oldest - 1, limit=_MOST_SCANNED - len(scanned)
            )
            stored = await self._storage.events.get(p.number for p in more)
            scanned = scanned + [stored[p.number] for p in more]
            looked_for = _MOST_SCANNED
        from_first_on = scanned[: chosen[-1] + 1] if chosen else []
        limited = len(from_first_on) < len(scanned) if chosen and exhausted else not exhausted
        if limited and exhausted:
            limited = bool(_choose(one, reader, scanned[len(from_first_on) :], 1))
        return Timeline(
            events=[scanned[i] for i in reversed(chosen)],
            scanned=list(reversed(from_first_on)),
            limited=limited,
        )

    async def _latest(self, wanted: Sequence[TimelineOf], limit: int) -> dict[int, Sequence[Placed]]:
        found: dict[int, Sequence[Placed]] = {}
        missing = []
        for one in wanted:
            recent = self._feed.recent.between(one.room, after=one.after, upto=one.upto, limit=limit)
            if recent is not None:
                found[one.room] = recent
            elif self._feed.rooms.last(one.room) <= one.after:
                found[one.room] = ()
            else:
                missing.append(one)
        if missing:

            def read(txn: Transaction) -> dict[int, list[Placed]]:
                events = self._storage.events
                return {
                    one.room: events.between_txn(txn, one.room, after=one.after, upto=one.upto, limit=limit)
                    for one in missing
                }

            found.update(await self._storage.database.read("timelines", read))
        return found


def _choose(one: TimelineOf, reader: Reader, scanned: Sequence[StoredEvent], limit: int) -> list[int]:
    """Indexes of the first `limit` events that the reader may see and wants."""
    predicate = reader.filter.timeline
    chosen: list[int] = []
    for i, stored in enumerate(scanned):
        event = stored.event
        if not predicate.wants(event.type, event.sender, event.room_id, event.content):
            continue
        if not one.sees_all and not one.view.sees(stored):
            continue
        chosen.append(i)
        if len(chosen) == limit:
            break
    return chosen
