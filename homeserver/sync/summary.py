# SPDX-License-Identifier: Apache-2.0
"""The summary of a room: how many are in it, and who lends it their names.

spec: client-server-api, "Room Summaries", "Calculating the display name for a room".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from heapq import nsmallest

import attrs

from homeserver.rooms.states import RoomStates, StateMap
from storage.event import StoredEvent
from storage.runtime.caches import Cache, Caches, cache_of_entries
from storage.stores import Storage

MOST_HEROES = 5
_NAMING = ("m.room.name", "m.room.canonical_alias")


@attrs.frozen
class Summary:
    """How many are joined and invited; `candidates` are up to six users of whom heroes are chosen.

    `is_named`: the room has a name or a canonical alias, so that heroes are not needed.
    """

    joined: int
    invited: int
    candidates: Sequence[str]
    is_named: bool

    def heroes(self, user_id: str) -> list[str]:
        """The heroes for a user: others than themselves; none where the room has a name."""
        if self.is_named:
            return []
        return [user for user in self.candidates if user != user_id][:MOST_HEROES]

    def json(self, user_id: str) -> dict[str, object]:
        """The `summary` of a room in a sync."""
        summary: dict[str, object] = {
            "m.joined_member_count": self.joined,
            "m.invited_member_count": self.invited,
        }
        if not self.is_named:
            summary["m.heroes"] = self.heroes(user_id)
        return summary


@attrs.frozen
class _Known:
    """A summary, the state that it is of, and how the events stood that may name the room."""

    state: StateMap
    naming: Mapping[int, str | None]
    summary: Summary


class Summaries:
    """Summaries of rooms, computed again when the current state has changed, or its name was redacted."""

    def __init__(self, *, storage: Storage, states: RoomStates) -> None:
        self._storage = storage
        self._states = states
        self._known: Cache[int, _Known] = cache_of_entries(5_000)

    @property
    def caches(self) -> Caches:
        """What is kept, by name."""
        return {"summaries": self._known}

    async def types(self) -> Set[int]:
        """The numbers of the types of state events that a summary is made of."""
        return set((await self._storage.strings.intern(["m.room.member", *_NAMING])).values())

    async def of(self, rooms: Iterable[int]) -> dict[int, Summary]:
        """The summary of each of the rooms as it is now; few looks at the database for all of them."""
        states = await self._states.currents(rooms)
        found: dict[int, Summary] = {}
        missing: dict[int, StateMap] = {}
        for room, state in states.items():
            known = self._known.get(room)
            if known is not None and known.state is state and self._is_named_as_before(known):
                found[room] = known.summary
            else:
                missing[room] = state
        if missing:
            for room, known in (await self._compute(missing)).items():
                self._known[room] = known
                found[room] = known.summary
        return found

    def _is_named_as_before(self, known: _Known) -> bool:
        cached = self._storage.events.cached
        return all(
            (stored := cached(number)) is not None and stored.redacted_by == redacted_by
            for number, redacted_by in known.naming.items()
        )

    async def _compute(self, states: Mapping[int, StateMap]) -> dict[int, _Known]:
        numbers = await self._storage.strings.intern(["m.room.member", "", *_NAMING])
        counted = {room: _count(state, numbers["m.room.member"]) for room, state in states.items()}
        naming = {
            room: [row.event for name in _NAMING if (row := state.get((numbers[name], numbers[""])))]
            for room, state in states.items()
        }
        users = await self._storage.strings.values(user for _, _, first in counted.values() for user in first)
        events = await self._storage.events.get(
            event for of_room in naming.values() for event in of_room if event is not None
        )
        computed = {}
        for room, (joined, invited, first) in counted.items():
            named_by = [events[event] for event in naming[room] if event in events]
            summary = Summary(
                joined=joined,
                invited=invited,
                candidates=[users[user] for user in first],
                is_named=any(_names(stored) for stored in named_by),
            )
            naming_now = {stored.number: stored.redacted_by for stored in named_by}
            computed[room] = _Known(states[room], naming_now, summary)
        return computed


def _count(state: StateMap, member: int) -> tuple[int, int, Sequence[int]]:
    """How many are joined and invited, and who comes first among those who lend the room their names."""
    by_membership: dict[str, list[tuple[int, int]]] = {"join": [], "invite": [], "leave": [], "ban": []}
    for (type_, user), row in state.items():
        if type_ == member and row.membership in by_membership and row.event is not None:
            by_membership[row.membership].append((row.event, user))
    joined, invited = by_membership["join"], by_membership["invite"]
    first = nsmallest(MOST_HEROES + 1, joined + invited)
    if len(first) <= 1:
        # Nobody else is there: those who were.
        first += nsmallest(MOST_HEROES, by_membership["leave"] + by_membership["ban"])
    return len(joined), len(invited), [user for _, user in first]


def _names(stored: StoredEvent) -> bool:
    """Whether the event gives the room a name."""
    if stored.redacted_by is not None:
        return False
    value = stored.event.content.get("name" if stored.event.type == "m.room.name" else "alias")
    return isinstance(value, str) and value != ""
