# SPDX-License-Identifier: Apache-2.0
"""Pages of a room's events, in either direction, of what a user may see and wants.

spec: client-server-api, "Pagination".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from homeserver.feed.feed import Feed
from homeserver.filtering.event_predicate import EventPredicate
from homeserver.rooms.history import History, RoomView, states_on_branches
from homeserver.rooms.reading import ReadableRoom
from homeserver.rooms.tokens import SyncToken, TimelineStart, parse_paging_token, place_token
from homeserver.rooms.visibility import MEMBER, is_shown
from storage.event import StateAt, StoredEvent
from storage.events import BEGINNING, END, Place, PlacedState
from storage.stores import Storage

_MOST_LOADED = 2_000
"""So many events are looked at for one page, whatever is filtered out."""
_MOST_PASSED = 20_000
"""So many are passed over for one page that are hidden."""
_AT_ONCE = 500
_MOST_AT_ONCE = 5_000
_LATEST = 50
_MOST_BEYOND = 1_000
"""The end of a room as of a position of the stream is among its latest events, or so many beyond them."""


@attrs.frozen
class Span:
    """The part of a room between two places that a page is taken from, and the direction."""

    after: Place
    upto: Place
    backwards: bool

    def near(self, row: PlacedState) -> Place:
        """The place on the near side of an event, seen in the direction."""
        return _earlier(row) if not self.backwards else row.place

    def beyond(self, row: PlacedState) -> Place:
        """The place on the far side of an event."""
        return _earlier(row) if self.backwards else row.place

    def from_(self, place: Place) -> Span:
        """What is left of the span from a place on."""
        return attrs.evolve(self, upto=place) if self.backwards else attrs.evolve(self, after=place)


def _earlier(row: PlacedState) -> Place:
    return Place(row.place.topo, row.place.position - 1)


@attrs.frozen
class Page:
    """The events in the order of the direction. `end` is where the next page begins; None: there is none.

    Forwards there is always one after events: what is sent later comes there.
    """

    start: str
    events: Sequence[StoredEvent]
    end: str | None


class Paging:
    """Reads pages."""

    def __init__(self, *, storage: Storage, feed: Feed, history: History) -> None:
        self._storage = storage
        self._feed = feed
        self._history = history

    async def page(
        self,
        room: ReadableRoom,
        *,
        from_: str | None,
        to: str | None,
        backwards: bool,
        limit: int,
        predicate: EventPredicate,
        ignored: frozenset[str],
    ) -> Page:
        """At most `limit` events from the token `from_` (or the room's end) towards `to` (or the other end).

        Messages of the users `ignored` are left out. Raises `InvalidParam` for what is no token.
        """
        first = await self._place(room.room, from_, "from")
        last = await self._place(room.room, to, "to")
        span = await self._span(room, first, last, backwards=backwards)
        if limit == 0 or predicate.is_nothing:
            start = from_ or place_token(span.upto if backwards else span.after)
            return Page(start, (), start if limit == 0 else None)
        found = await self._scan(room, span, limit, _Wish(predicate, ignored))
        start = from_ or place_token(span.after if found.first is None else span.near(found.first))
        ends_here = backwards or not found.chosen
        if found.last is None or (found.is_all and ends_here):
            return Page(start, found.chosen, None)
        return Page(start, found.chosen, place_token(span.beyond(found.last)))

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

    async def _scan(self, room: ReadableRoom, span: Span, limit: int, wish: _Wish) -> _Found:
        """Choose events from the near end of the span on, until there are enough or it takes too long."""
        found = _Found()
        view = room.view
        # One more than is shown tells whether there is anything after it.
        wanted = limit + 1 if wish.is_everything else min(2 * limit + 10, _AT_ONCE)
        while True:
            rows = await self._rows(room.room, span, wanted)
            most = limit - len(found.chosen) if wish.is_everything else _AT_ONCE
            states = {row.before for row in rows if row.before is not None and row.before.branch}
            view = await self._history.extended_view(view, states)
            considered, candidates = _candidates(rows[: wanted - 1], _Shows(view), most)
            stored = await self._storage.events.get(row.number for row in candidates)
            view = await self._history.extended_view(view, states_on_branches(stored.values()))
            passed = found.take(considered, stored, _Shows(view), wish, limit)
            found.is_all = passed == len(rows) < wanted
            if found.is_all or found.is_enough(limit) or found.last is None:
                return found
            span = span.from_(span.beyond(found.last))
            wanted = _AT_ONCE if candidates else _MOST_AT_ONCE

    async def _rows(self, room: int, span: Span, limit: int) -> list[PlacedState]:
        before = Place(span.upto.topo, span.upto.position + 1)
        return await self._storage.events.states_between(
            room, after=span.after, before=before, backwards=span.backwards, limit=limit
        )

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
        if isinstance(parsed, TimelineStart):
            return max(parsed.place, await self._place_at(room, parsed.place.position))
        return parsed

    async def _place_at(self, room: int, position: int) -> Place:
        """The end of the room as it was at a position of the stream."""
        latest = await self._feed.events_between(room, after=0, upto=position, limit=_LATEST)
        end = max((placed.place for placed in latest), default=BEGINNING)
        # Where events that came late were the latest, older ones stand beyond them.
        beyond = await self._storage.events.forwards(room, after=end, before=END, limit=_MOST_BEYOND)
        return max((one.place for one in beyond if one.place.position <= position), default=end)


@attrs.frozen
class _Wish:
    """Which events a user wants to have: those of a filter, without the messages of whom they ignore."""

    predicate: EventPredicate
    ignored: frozenset[str]

    @property
    def is_everything(self) -> bool:
        """Whether any event is wanted."""
        return self.predicate.is_everything and not self.ignored

    def wants(self, stored: StoredEvent) -> bool:
        """Whether the event is one of them."""
        event = stored.event
        if event.state_key is None and event.sender in self.ignored:
            return False
        # TODO: `related_by_senders` and `related_by_rel_types`, once relations are indexed.
        return self.predicate.wants(event.type, event.sender, event.room_id, event.content)


class _Shows:
    """Whether a user may see what was sent in a state; each is looked at once."""

    def __init__(self, view: RoomView) -> None:
        self._view = view
        self._known: dict[StateAt, bool] = {}

    def state(self, row: PlacedState) -> bool:
        """Whether what was sent in the state before the event may be seen."""
        if row.before is None:
            return False
        shows = self._known.get(row.before)
        if shows is None:
            shows = self._known[row.before] = self._view.sees_state(row.before)
        return shows

    def event(self, row: PlacedState, stored: StoredEvent) -> bool:
        """Whether the event may be seen: for one that changes the state, that after it may count as well."""
        return self._view.sees(stored) if row.changes_state else is_shown(stored) and self.state(row)


def _candidates(
    rows: Sequence[PlacedState], shows: _Shows, most: int
) -> tuple[Sequence[PlacedState], list[PlacedState]]:
    """Those that may be visible, at most `most`, and the rows that were looked at for them."""
    candidates: list[PlacedState] = []
    for i, row in enumerate(rows):
        if len(candidates) == most:
            return rows[:i], candidates
        if row.changes_state or shows.state(row):
            candidates.append(row)
    return rows, candidates


@attrs.define(eq=False)
class _Found:
    """What a page has so far: the events, and the places passed. `is_all`: nothing comes after them."""

    chosen: list[StoredEvent] = attrs.field(factory=list)
    first: PlacedState | None = None
    last: PlacedState | None = None
    is_all: bool = False
    passed: int = 0
    loaded: int = 0

    def take(
        self,
        rows: Sequence[PlacedState],
        stored: Mapping[int, StoredEvent],
        shows: _Shows,
        wish: _Wish,
        limit: int,
    ) -> int:
        """Choose from the rows until there are `limit` events; returns how many rows were passed."""
        self.loaded += len(stored)
        if rows and self.first is None:
            self.first = rows[0]
        for i, row in enumerate(rows):
            if len(self.chosen) == limit:
                self.passed += i
                return i
            self.last = row
            event = stored.get(row.number)
            if event is not None and wish.wants(event) and shows.event(row, event):
                self.chosen.append(event)
        self.passed += len(rows)
        return len(rows)

    def is_enough(self, limit: int) -> bool:
        """Whether the page is full, or enough was looked at for one page."""
        return len(self.chosen) == limit or self.loaded >= _MOST_LOADED or self.passed >= _MOST_PASSED
