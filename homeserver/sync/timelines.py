# SPDX-License-Identifier: Apache-2.0
"""The timelines of a sync: the latest events of each room that its reader may see and wants.

spec: client-server-api, "Syncing".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from homeserver.feed.feed import Feed
from homeserver.rooms.history import History, RoomView, states_on_branches
from homeserver.rooms.tokens import SyncToken, TimelineStart
from homeserver.sync.reader import Reader
from storage.event import StoredEvent
from storage.events import Place, Placed
from storage.stores import Storage

_MOST_SCANNED = 500
"""So many events are looked at for one timeline, whatever the filter lets through."""


@attrs.frozen
class TimelineOf:
    """Which events of a room: those with `after` < position <= `upto`.

    `own` is the number of a member event that its subject may see in any case; where it `is_outlier`, it is
    all that there is. `after_gap`: something was missing right before them when they came.
    """

    room: int
    after: int
    upto: int
    view: RoomView
    own: int | None = None
    is_outlier: bool = False
    after_gap: bool = False


@attrs.frozen
class Timeline:
    """The events to show, in order.

    `limited`: there are events before them that the reader has not got.
    """

    events: Sequence[StoredEvent] = ()
    limited: bool = False

    @property
    def start(self) -> int | None:
        """The position before its first event; None where it is empty."""
        if not self.events:
            return None
        position = self.events[0].position
        assert position is not None, "what has no position is in no timeline"
        return position - 1

    def prev_batch(self, otherwise: SyncToken) -> str:
        """The token from which to page back; `otherwise` where the timeline is empty."""
        first = self.events[0] if self.events else None
        if first is None or first.topo is None or first.position is None:
            return str(otherwise)
        return str(TimelineStart(Place(first.topo, first.position - 1)))

    def without_first(self, count: int) -> Timeline:
        """It begins so many events later."""
        return Timeline(self.events[count:], limited=True) if count else self


class Timelines:
    """Reads timelines, those of many rooms at once."""

    def __init__(self, *, storage: Storage, feed: Feed, history: History) -> None:
        self._storage = storage
        self._feed = feed
        self._history = history

    async def read(self, wanted: Sequence[TimelineOf], reader: Reader) -> dict[int, Timeline]:
        """The timeline of each room; all come out of one look at the database, or of none."""
        if reader.filter.timeline.is_nothing:
            return {one.room: Timeline() for one in wanted}
        wanted = [self._after_last_gap(one) for one in wanted]
        limit = reader.timeline_limit
        is_plain = reader.filter.timeline.is_everything and not reader.ignored
        first_look = limit + 1 if is_plain else 2 * limit + 10
        placed = await self._latest([one for one in wanted if not one.is_outlier], first_look)
        outliers = [one.own for one in wanted if one.is_outlier and one.own is not None]
        numbers = (p.number for places in placed.values() for p in places)
        stored = await self._storage.events.get([*numbers, *outliers])
        timelines = {}
        for one in await self._with_views(wanted, placed, stored):
            if one.is_outlier and one.own is not None:
                timelines[one.room] = Timeline(_choose(one, reader, [stored[one.own]], limit)[:limit])
                continue
            scanned = [stored[p.number] for p in placed[one.room]]
            timelines[one.room] = await self._timeline(one, reader, scanned, len(scanned) < first_look)
        return timelines

    async def _with_views(
        self,
        wanted: Sequence[TimelineOf],
        placed: Mapping[int, Sequence[Placed]],
        stored: Mapping[int, StoredEvent],
    ) -> Sequence[TimelineOf]:
        """With views that know the states of these events."""
        states = {
            room: states_on_branches([stored[p.number] for p in places]) for room, places in placed.items()
        }
        if not any(states.values()):
            return wanted
        views = await self._history.extended({one.room: one.view for one in wanted}, states)
        return [attrs.evolve(one, view=views[one.room]) for one in wanted]

    def _after_last_gap(self, one: TimelineOf) -> TimelineOf:
        """No timeline goes on over a gap: it begins with the event after it."""
        position = self._feed.gaps.latest(one.room, after=one.after, upto=one.upto)
        return one if position is None else attrs.evolve(one, after=position - 1, after_gap=True)

    async def _timeline(
        self, one: TimelineOf, reader: Reader, scanned: list[StoredEvent], exhausted: bool
    ) -> Timeline:
        """From the latest events, `scanned`, on, look further back until there are enough."""
        limit = reader.timeline_limit
        # One more than wanted: whether there is one is what `limited` says.
        while len(chosen := _choose(one, reader, scanned, limit + 1)) <= limit and not exhausted:
            if len(scanned) >= _MOST_SCANNED:
                break
            oldest = scanned[-1].position
            assert oldest is not None
            missing = _MOST_SCANNED - len(scanned)
            more = await self._feed.events_between(one.room, after=one.after, upto=oldest - 1, limit=missing)
            exhausted = len(more) < missing
            stored = await self._storage.events.get(p.number for p in more)
            scanned = scanned + [stored[p.number] for p in more]
            [one] = await self._with_views([one], {one.room: more}, stored)
        limited = len(chosen) > limit or not exhausted or one.after_gap or _begins_later(one, scanned)
        return Timeline(events=chosen[:limit][::-1], limited=limited)

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
                missing.append((one.room, one.after, one.upto))
        if missing:
            events = self._storage.events
            read = await self._storage.database.read(
                "timelines", lambda txn: events.latest_txn(txn, missing, limit)
            )
            for room, after, upto in missing:
                found[room] = places = read.get(room, [])
                floor = after if len(places) < limit else places[-1].place.position - 1
                last = self._feed.rooms.last(room)
                self._feed.recent.learn(room, places, floor=floor, upto=upto, last=last)
        return found


def _choose(one: TimelineOf, reader: Reader, scanned: Sequence[StoredEvent], limit: int) -> list[StoredEvent]:
    """The first `limit` events that the reader may see and wants."""
    predicate = reader.filter.timeline
    chosen: list[StoredEvent] = []
    for stored in scanned:
        event = stored.event
        if not predicate.wants(event.type, event.sender, event.room_id, event.content):
            continue
        if event.state_key is None and event.sender in reader.ignored:
            continue
        if not _may_see(one, stored):
            continue
        chosen.append(stored)
        if len(chosen) == limit:
            break
    return chosen


def _begins_later(one: TimelineOf, scanned: Sequence[StoredEvent]) -> bool:
    """Whether the room is older than the first event that the server got of it."""
    return one.after == 0 and bool(scanned) and scanned[-1].event.type != "m.room.create"


def _may_see(one: TimelineOf, stored: StoredEvent) -> bool:
    return one.view.sees(stored) or stored.number == one.own
