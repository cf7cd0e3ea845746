# SPDX-License-Identifier: Apache-2.0
"""Which events of a room a user may see, and where the user stood at each of them.

spec: client-server-api, "Room History Visibility".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import attrs
from cachetools import LRUCache

from homeserver.rooms.visibility import HISTORY_VISIBILITY, MEMBER, Standing, Visibility, visible
from storage.event import StateAt, StoredEvent
from storage.runtime.caches import cache_of_entries
from storage.state import OPEN, Span, StateChange
from storage.stores import Storage
from storage.write_queue import Committed


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


@attrs.frozen
class RoomView:
    """What one user may see of one room: answers for any of its events without asking further."""

    user_id: str
    visibilities: _Line
    memberships: _Line

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
        if stored.rejected or stored.soft_failed or stored.before is None:
            return False
        if self.memberships.at(stored.before.revision) == "join":
            return True
        event = stored.event
        return visible(
            event.type,
            event.state_key,
            self.user_id,
            before=self._standing(stored.before),
            after=None if stored.after is None else self._standing(stored.after),
            joined_since=self.memberships.was_after("join", stored.before.revision),
        )

    def sees_state(self, state: StateAt) -> bool:
        """Whether the user may see the room as it was in this state."""
        joined_since = self.memberships.was_after("join", state.revision)
        return self._standing(state).allows(joined_since=joined_since)

    def membership_at(self, stored: StoredEvent) -> str:
        """The user's membership at the event, with what the event itself changes of it."""
        state = stored.after or stored.before
        return "leave" if state is None else self.memberships.at(state.revision) or "leave"

    def _standing(self, state: StateAt) -> Standing:
        visibility = self.visibilities.at(state.revision)
        return Standing(
            visibility=Visibility(visibility) if visibility is not None else Visibility.SHARED,
            membership=self.memberships.at(state.revision) or "leave",
        )


class History:
    """Makes views of rooms; what they are made of is kept for `limit` rooms and users."""

    def __init__(self, *, storage: Storage, limit: int = 20_000) -> None:
        self._storage = storage
        self._visibilities: LRUCache[int, _Line] = cache_of_entries(limit)
        self._memberships: LRUCache[tuple[int, int], _Line] = cache_of_entries(limit)
        self._version: dict[int, int] = {}

    def on_commit(self, batch: Sequence[Committed]) -> None:
        """Forget what a committed change of state makes untrue."""
        strings = self._storage.strings
        visibility, member = strings.known(HISTORY_VISIBILITY), strings.known(MEMBER)
        for committed in batch:
            for record in committed.unit.records:
                if type(record) is StateChange and record.branch == 0:
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
        no_visibility = [room for room in rooms if room not in self._visibilities]
        no_membership = [room for room in rooms if (room, user) not in self._memberships]
        visibilities = {r: self._visibilities[r] for r in rooms if r in self._visibilities}
        memberships = {r: self._memberships[r, user] for r in rooms if (r, user) in self._memberships}
        if no_visibility or no_membership:
            versions = {room: self._version.get(room, 0) for room in rooms}
            await self._read(no_visibility, no_membership, user, visibilities, memberships)
            for room in no_visibility:
                if versions[room] == self._version.get(room, 0):
                    self._visibilities[room] = visibilities[room]
            for room in no_membership:
                if versions[room] == self._version.get(room, 0):
                    self._memberships[room, user] = memberships[room]
        return {room: RoomView(user_id, visibilities[room], memberships[room]) for room in rooms}

    async def _read(
        self,
        no_visibility: Sequence[int],
        no_membership: Sequence[int],
        user: int,
        visibilities: dict[int, _Line],
        memberships: dict[int, _Line],
    ) -> None:
        numbers = await self._storage.strings.intern([HISTORY_VISIBILITY, MEMBER, ""])
        visibility, member, empty = numbers[HISTORY_VISIBILITY], numbers[MEMBER], numbers[""]
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


def _line(spans: Sequence[Span], events: dict[int, StoredEvent] | None) -> _Line:
    """The values of a key: of a member event the membership, else what the visibility events say."""

    def value(span: Span) -> str | None:
        if events is None:
            return span.membership
        return None if span.event is None else Visibility.of(events[span.event].event.content).value

    return _Line(
        firsts=[span.first for span in spans],
        values=[value(span) for span in spans],
        ends=[span.end for span in spans],
    )
