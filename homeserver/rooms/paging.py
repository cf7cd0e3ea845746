# SPDX-License-Identifier: Apache-2.0
"""Pages of a room's events, in either direction, of what a user may see and wants.

spec: client-server-api, "Pagination".
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from homeserver.feed.feed import Feed
from homeserver.rooms.reading import ReadableRoom
from homeserver.rooms.tokens import SyncToken, parse_paging_token, place_token
from homeserver.rooms.visibility import MEMBER
from homeserver.sync.filter.event_predicate import EventPredicate
from storage.event import StoredEvent
from storage.events import BEGINNING, END, Place, Placed
from storage.stores import Storage

_MOST_SCANNED = 2_000
"""So many events are looked at for one page, whatever is hidden or filtered out."""
_AT_ONCE = 500
_LATEST = 50
"""Among so many events is the last of a room in its order, as of a position of the stream."""


@attrs.frozen
class Span:
    """The part of a room between two places that a page is taken from, and the direction."""

    after: Place
    upto: Place
    backwards: bool


@attrs.frozen
class Page:
    """The events in the order of the direction. `end` is where the next page begins; None: there is none."""

    start: str
    events: Sequence[StoredEvent]
    end: str | None


class Paging:
    """Reads pages."""

    def __init__(self, *, storage: Storage, feed: Feed) -> None:
        self._storage = storage
        self._feed = feed

    async def page(
        self,
        room: ReadableRoom,
        *,
        from_: str | None,
        to: str | None,
        backwards: bool,
        limit: int,
        predicate: EventPredicate,
    ) -> Page:
        """At most `limit` events from the token `from_` (or the room's end) towards `to` (or the other end).

        Raises `InvalidParam` for what is no token.
        """
        first = await self._place(room.room, from_, "from")
        last = await self._place(room.room, to, "to")
        span = await self._span(room, first, last, backwards=backwards)
        if limit == 0 or predicate.is_nothing:
            start = from_ or place_token(span.upto if backwards else span.after)
            return Page(start, (), start if limit == 0 else None)
        scanned, chosen, exhausted = await self._scan(room, span, limit, predicate)
        start = from_ or place_token(_before(scanned[0], backwards=backwards) if scanned else span.after)
        if exhausted or not scanned:
            return Page(start, chosen, None)
        return Page(start, chosen, place_token(_after(scanned[-1], backwards=backwards)))

    async def members_of_senders(
        self, room: ReadableRoom, events: Sequence[StoredEvent]
    ) -> list[StoredEvent]:
        """The member events of those who sent `events`, as of the latest of them."""
        known = [event for event in events if event.before is not None]
        if not known:
            return []
        latest = max(known, key=lambda event: (event.topo or 0, event.position or 0))
        state = latest.after or latest.before
        assert state is not None
        numbers = await self._storage.strings.find({MEMBER, *(event.event.sender for event in events)})
        member = numbers.pop(MEMBER, None)
        if member is None:
            return []
        keys = [(member, number) for number in numbers.values()]
        rows = await self._storage.database.read(
            "members of senders",
            lambda txn: self._storage.states.keys_at_txn(txn, room.room, state, keys),
        )
        found = await self._storage.events.get(row.event for row in rows.values() if row.event is not None)
        return list(found.values())

    async def _scan(
        self, room: ReadableRoom, span: Span, limit: int, predicate: EventPredicate
    ) -> tuple[list[Placed], list[StoredEvent], bool]:
        """The places passed, the events chosen among them, and whether nothing comes after."""
        scanned: list[Placed] = []
        chosen: list[StoredEvent] = []
        # One more than is shown tells whether there is anything after it.
        wanted = limit + 1 if predicate.is_everything else min(2 * limit + 10, _AT_ONCE)
        while True:
            places = await self._places(room.room, span, wanted)
            stored = await self._storage.events.get(place.number for place in places[: wanted - 1])
            for i, place in enumerate(places):
                if len(chosen) == limit or i == wanted - 1:
                    break
                scanned.append(place)
                event = stored[place.number]
                if _wants(predicate, event) and room.view.sees(event):
                    chosen.append(event)
            else:
                return scanned, chosen, True
            if len(chosen) == limit or len(scanned) >= _MOST_SCANNED:
                return scanned, chosen, False
            rest = _after(scanned[-1], backwards=span.backwards)
            span = attrs.evolve(span, upto=rest) if span.backwards else attrs.evolve(span, after=rest)
            wanted = _AT_ONCE

    async def _places(self, room: int, span: Span, limit: int) -> list[Placed]:
        before = Place(span.upto.topo, span.upto.position + 1)
        events = self._storage.events
        if span.backwards:
            return await events.backwards(room, before=before, after=span.after, limit=limit)
        return await events.forwards(room, after=span.after, before=before, limit=limit)

    async def _span(
        self, room: ReadableRoom, first: Place | None, last: Place | None, *, backwards: bool
    ) -> Span:
        after, upto = (last, first) if backwards else (first, last)
        after, upto = after or BEGINNING, upto or END
        if room.until is not None:
            upto = min(upto, await self._place_at(room.room, room.until))
        return Span(after, upto, backwards)

    async def _place(self, room: int, token: str | None, parameter: str) -> Place | None:
        """The place that a token names. Raises `InvalidParam`."""
        if token is None:
            return None
        parsed = parse_paging_token(token, parameter)
        if isinstance(parsed, SyncToken):
            return await self._place_at(room, parsed.position)
        return parsed

    async def _place_at(self, room: int, position: int) -> Place:
        """The end of the room as it was at a position of the stream."""
        latest = await self._feed.events_between(room, after=0, upto=position, limit=_LATEST)
        return max((placed.place for placed in latest), default=BEGINNING)


def _wants(predicate: EventPredicate, stored: StoredEvent) -> bool:
    # TODO: `related_by_senders` and `related_by_rel_types`, once relations are indexed.
    event = stored.event
    return predicate.wants(event.type, event.sender, event.room_id, event.content)


def _after(placed: Placed, *, backwards: bool) -> Place:
    """The place on the far side of an event, seen in the direction of the page."""
    topo, position = placed.place
    return Place(topo, position - 1) if backwards else placed.place


def _before(placed: Placed, *, backwards: bool) -> Place:
    """The place on the near side of an event."""
    return _after(placed, backwards=not backwards)
