# SPDX-License-Identifier: Apache-2.0
"""Which events of a room a user may see, and where the user stood at each of them.

spec: client-server-api, "Room History Visibility".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import attrs

from homeserver.rooms.visibility import HISTORY_VISIBILITY, MEMBER, Standing, Visibility, is_shown, visible
from storage.event import StateAt, StoredEvent
from storage.runtime.caches import Cache, Caches, cache_of_entries
from storage.state import Span
from storage.state_records import OPEN, EarlierChange, GivenRow, StateChange
from storage.stores import Storage
from storage.write_queue import Committed

_CHANGES = (StateChange, GivenRow, EarlierChange)


@attrs.frozen
class _Line:
    """What one key of a room was over the revisions of branch 0, in order and without holes to ask for."""

    firsts: Sequence[int]
    values: Sequence[str | None]
    ends: Sequence[int]

    def at(self, revision: int) -> str | None:
        """The value at a revision; None where the key had none."""
        i = bisect_right(self.firsts, revision) - 1
        return self.values[i] if i >= 0 and revision < self.ends[i] else None

    def between(self, first: int, last: int) -> set[str | None]:
        """Every value that the key had in the revisions `first` to `last`; None is for having had none."""
        found: set[str | None] = set()
        if not self.firsts or first < self.firsts[0]:
            found.add(None)
        for start, value, end in zip(self.firsts, self.values, self.ends, strict=True):
            if start <= last and end > first:
                found.add(value)
        return found

    def was_after(self, value: str, revision: int) -> bool:
        """Whether the key had `value` at any revision after this one."""
        return any(v == value and end > revision + 1 for v, end in zip(self.values, self.ends, strict=True))


_NO_BRANCHES: Mapping[StateAt, Standing] = MappingProxyType({})


@attrs.frozen
class RoomView:
    """What one user may see of one room: answers for its events without asking further.

    It knows every state of branch 0 up to the position `upto`. Of those on other branches it knows what was
    looked up for it (`History.extended`), which `branches` holds. What it does not know is hidden: also an
    event after `upto`, which was committed meanwhile.
    """

    room: int
    user: int
    user_id: str
    visibilities: _Line
    memberships: _Line
    upto: int = OPEN
    branches: Mapping[StateAt, Standing] = _NO_BRANCHES

    @property
    def membership(self) -> str:
        """The user's membership now; "leave" without any."""
        return self.memberships.at(OPEN - 1) or "leave"

    @property
    def was_joined(self) -> bool:
        """Whether the user is joined or has been."""
        return "join" in self.memberships.values

    @property
    def left_at(self) -> int | None:
        """The revision in which the user's last time in the room ended; None if they never were in it."""
        ends = [
            end
            for value, end in zip(self.memberships.values, self.memberships.ends, strict=True)
            if value == "join"
        ]
        return ends[-1] if ends else None

    @property
    def is_world_readable(self) -> bool:
        """Whether anybody may read the room as it is now."""
        return self.visibilities.at(OPEN - 1) == Visibility.WORLD_READABLE

    def sees(self, stored: StoredEvent) -> bool:
        """Whether the user may see the event."""
        if not is_shown(stored) or stored.before is None:
            return False
        if stored.position is not None and stored.position > self.upto:
            return False
        if stored.before.branch == 0 and self.memberships.at(stored.before.revision) == "join":
            return True
        event = stored.event
        return visible(
            event.type,
            event.state_key,
            self.user_id,
            before=self._standing(stored.before),
            after=None if stored.after is None else self._standing(stored.after),
            joined_since=self._joined_since(stored.before),
        )

    def sees_state(self, state: StateAt) -> bool:
        """Whether the user may see the room as it was in this state."""
        standing = self._standing(state)
        return standing is not None and standing.allows(joined_since=self._joined_since(state))

    def membership_at(self, stored: StoredEvent) -> str | None:
        """The user's membership at the event, with what the event changes of it; None where it is unknown."""
        state = stored.after or stored.before
        if state is None:
            return None
        if state.branch:
            standing = self.branches.get(state)
            return None if standing is None else standing.membership
        return self.memberships.at(state.revision) or "leave"

    def _joined_since(self, state: StateAt) -> bool:
        """Whether the user has joined the room since it was in this state.

        Nothing tells what came after a state on another branch: there, only who is in the room now has.
        """
        if state.branch:
            return self.membership == "join"
        return self.memberships.was_after("join", state.revision)

    def _standing(self, state: StateAt) -> Standing | None:
        if state.branch:
            return self.branches.get(state)
        visibility = self.visibilities.at(state.revision)
        return Standing(
            visibility=Visibility(visibility) if visibility is not None else Visibility.SHARED,
            membership=self.memberships.at(state.revision) or "leave",
        )


def states_on_branches(events: Iterable[StoredEvent]) -> set[StateAt]:
    """The states before and after the events that are not on branch 0."""
    found = set()
    for stored in events:
        before, after = stored.before, stored.after
        if before is not None and before.branch:
            found.add(before)
        if after is not None and after.branch:
            found.add(after)
    return found


class History:
    """Makes views of rooms; what they are made of is kept for `limit` rooms and users.

    Of states on other branches than 0 what `states` of them mean for a user is kept besides. `position` is
    that up to which it has heard of all commits; the database may be ahead of it.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        position: Callable[[], int] = lambda: OPEN,
        limit: int = 20_000,
        states: int = 100_000,
    ) -> None:
        self._storage = storage
        self._position = position
        self._standings: Cache[tuple[int, int, StateAt], Standing] = cache_of_entries(states)
        self._visibilities: Cache[int, _Line] = cache_of_entries(limit)
        self._memberships: Cache[tuple[int, int], _Line] = cache_of_entries(limit)
        self._version: dict[int, int] = {}

    @property
    def caches(self) -> Caches:
        """What is kept, by name."""
        return {
            "visibilities": self._visibilities,
            "view_memberships": self._memberships,
            "standings": self._standings,
        }

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Forget what a committed change of state makes untrue."""
        strings = self._storage.strings
        visibility, member = strings.known(HISTORY_VISIBILITY), strings.known(MEMBER)
        for committed in batch:
            for record in committed.unit.records:
                if type(record) in _CHANGES and record.branch == 0:
                    if record.type == visibility:
                        self._visibilities.pop(record.room, None)
                    elif record.type == member:
                        self._memberships.pop((record.room, record.state_key), None)
                    else:
                        continue
                    # A reading that is under way must not be kept.
                    self._version[record.room] = self._version.get(record.room, 0) + 1

    async def view(self, room: int, user: int, user_id: str) -> RoomView:
        """What the user may see of the room."""
        return (await self.views([room], user, user_id))[room]

    async def views(self, rooms: Sequence[int], user: int, user_id: str) -> dict[int, RoomView]:
        """What the user may see of each of the rooms."""
        upto = self._position()
        kept, mine = self._visibilities.get, self._memberships.get
        visibilities = {room: line for room in rooms if (line := kept(room)) is not None}
        memberships = {room: line for room in rooms if (line := mine((room, user))) is not None}
        no_visibility = [room for room in rooms if room not in visibilities]
        no_membership = [room for room in rooms if room not in memberships]
        if no_visibility or no_membership:
            versions = {room: self._version.get(room, 0) for room in rooms}
            await self._read(no_visibility, no_membership, user, visibilities, memberships)
            for room in no_visibility:
                if versions[room] == self._version.get(room, 0):
                    self._visibilities[room] = visibilities[room]
            for room in no_membership:
                if versions[room] == self._version.get(room, 0):
                    self._memberships[room, user] = memberships[room]
        return {
            room: RoomView(room, user, user_id, visibilities[room], memberships[room], upto) for room in rooms
        }

    async def extended(
        self, views: Mapping[int, RoomView], states: Mapping[int, Collection[StateAt]]
    ) -> Mapping[int, RoomView]:
        """The views, by room, such that they know these states of each room, too, on whatever branches.

        What they mean comes out of one look at the database.
        """
        if not any(states.values()):
            return views
        asked = {
            room: on_branches for room in states if (on_branches := [s for s in states[room] if s.branch])
        }
        found = {room: self._known(views[room], of_room) for room, of_room in asked.items()}
        missing = {room: [state for state in asked[room] if state not in found[room]] for room in found}
        for room, standings in (await self._read_standings(views, missing)).items():
            for state, standing in standings.items():
                found[room][state] = self._standings[room, views[room].user, state] = standing
        more = {room: attrs.evolve(views[room], branches=known) for room, known in found.items()}
        return {**views, **more}

    async def extended_view(self, view: RoomView, states: Collection[StateAt]) -> RoomView:
        """As `extended`, of one room."""
        if not states:
            return view
        return (await self.extended({view.room: view}, {view.room: states}))[view.room]

    def _known(self, view: RoomView, states: Iterable[StateAt]) -> dict[StateAt, Standing]:
        """What the view knows of branches, and what is kept of these states."""
        known = dict(view.branches)
        for state in states:
            standing = self._standings.get((view.room, view.user, state))
            if standing is not None:
                known[state] = standing
        return known

    async def _read_standings(
        self, views: Mapping[int, RoomView], states: Mapping[int, Sequence[StateAt]]
    ) -> dict[int, dict[StateAt, Standing]]:
        """What these states of each room mean for the user of its view."""
        if not any(states.values()):
            return {}
        visibility, member, empty = await self._names()
        wanted = [(room, state) for room, of_room in states.items() for state in of_room]
        keys = [(room, state, visibility, empty) for room, state in wanted]
        keys += [(room, state, member, views[room].user) for room, state in wanted]
        rows = await self._storage.database.read(
            "states of branches", lambda txn: self._storage.states.keys_of_rooms_txn(txn, keys)
        )
        events = await self._storage.events.get(
            row.event for key, row in rows.items() if key[2] == visibility and row.event is not None
        )
        found: dict[int, dict[StateAt, Standing]] = {}
        for room, state in wanted:
            shown = rows.get((room, state, visibility, empty))
            own = rows.get((room, state, member, views[room].user))
            found.setdefault(room, {})[state] = Standing(
                visibility=Visibility.SHARED if shown is None else _visibility(shown.event, events),
                membership="leave" if own is None else own.membership or "leave",
            )
        return found

    async def _names(self) -> tuple[int, int, int]:
        """The numbers of the two types that decide, and of the empty state key."""
        numbers = await self._storage.strings.intern([HISTORY_VISIBILITY, MEMBER, ""])
        return numbers[HISTORY_VISIBILITY], numbers[MEMBER], numbers[""]

    async def _read(
        self,
        no_visibility: Sequence[int],
        no_membership: Sequence[int],
        user: int,
        visibilities: dict[int, _Line],
        memberships: dict[int, _Line],
    ) -> None:
        visibility, member, empty = await self._names()
        keys = [(room, visibility, empty) for room in no_visibility]
        keys += [(room, member, user) for room in no_membership]
        spans = await self._storage.database.read(
            "history visibility", lambda txn: self._storage.states.key_histories_txn(txn, keys)
        )
        events = await self._storage.events.get(
            span.event for r in no_visibility for span in spans.get((r, empty), ()) if span.event is not None
        )
        for room in no_visibility:
            visibilities[room] = _line(spans.get((room, empty), ()), events)
        for room in no_membership:
            memberships[room] = _line(spans.get((room, user), ()), None)


def _line(spans: Sequence[Span], events: Mapping[int, StoredEvent] | None) -> _Line:
    """The values of a key: of a member event the membership, else what the visibility events say."""

    def value(span: Span) -> str | None:
        if events is None:
            return span.membership
        return None if span.event is None else _visibility(span.event, events).value

    return _Line(
        firsts=[span.first for span in spans],
        values=[value(span) for span in spans],
        ends=[span.end for span in spans],
    )


def _visibility(number: int | None, events: Mapping[int, StoredEvent]) -> Visibility:
    """What the event with this number says; of one that is known by its id alone the narrowest is assumed."""
    stored = events.get(number or 0)
    return Visibility.JOINED if stored is None else Visibility.of(stored.event.content)
