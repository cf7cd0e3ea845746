# SPDX-License-Identifier: Apache-2.0
"""The summary of a room: how many are in it, and who lends it their names.

spec: client-server-api, "Room Summaries", "Calculating the display name for a room".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from homeserver.rooms.states import RoomStates, StateMap
from storage.runtime.caches import cache_of_entries
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


class Summaries:
    """Summaries of rooms, computed again when the current state has changed."""

    def __init__(self, *, storage: Storage, states: RoomStates) -> None:
        self._storage = storage
        self._states = states
        self._known = cache_of_entries(5_000)  # type: ignore[var-annotated]

    async def of(self, room: int) -> Summary:
        """The summary of the room as it is now."""
        state = await self._states.current(room)
        known: tuple[StateMap, Summary] | None = self._known.get(room)
        if known is not None and known[0] is state:
            return known[1]
        numbers = await self._storage.strings.intern(["m.room.member", "", *_NAMING])
        summary = await self._compute(state, numbers)
        self._known[room] = (state, summary)
        return summary

    async def _compute(self, state: StateMap, numbers: Mapping[str, int]) -> Summary:
        member = numbers["m.room.member"]
        by_membership: dict[str, list[tuple[int, int]]] = {"join": [], "invite": [], "leave": [], "ban": []}
        for (type_, user), row in state.items():
            if type_ == member and row.membership in by_membership and row.event is not None:
                by_membership[row.membership].append((row.event, user))
        joined, invited = by_membership["join"], by_membership["invite"]
        first = sorted(joined + invited)[: MOST_HEROES + 1]
        if len(first) <= 1:
            # Nobody else is there: those who were.
            first += sorted(by_membership["leave"] + by_membership["ban"])[:MOST_HEROES]
        users = await self._storage.strings.values(user for _, user in first)
        return Summary(
            joined=len(joined),
            invited=len(invited),
            candidates=[users[user] for _, user in first],
            is_named=await self._is_named(state, numbers),
        )

    async def _is_named(self, state: StateMap, numbers: Mapping[str, int]) -> bool:
        rows = [state.get((numbers[name], numbers[""])) for name in _NAMING]
        events = await self._storage.events.get(row.event for row in rows if row and row.event is not None)
        return any(
            isinstance(value, str) and value
            for stored in events.values()
            for value in (stored.event.content.get("name"), stored.event.content.get("alias"))
        )
