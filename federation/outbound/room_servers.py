# SPDX-License-Identifier: Apache-2.0
"""The contributor that keeps which servers have joined members in a room in step with its current state."""

from __future__ import annotations

from sys import intern
from typing import Final

from federation.graph.contributors import Appended, Contribution, Resolved
from federation.graph.current_state import CurrentState, StateEntry
from storage.room_servers import RoomServerChange

_MEMBER: Final = "m.room.member"
_NOTHING: Final = Contribution()

MemberCounts = dict[str, int]
"""How many joined members of a room each server has; none where there are none."""


class RoomServerRows:
    """For every event or resolution that begins or ends a server's time in a room, the row of it.

    An event without changes of members costs nothing, one with a change one look at a count.
    """

    async def load(self, room: int, room_id: str, state: CurrentState) -> MemberCounts:  # noqa: ARG002
        """The counts of the current state."""
        counts: MemberCounts = {}
        for user, membership in state.memberships.items():
            server = _server_of(user)
            if membership == "join" and server:
                counts[server] = counts.get(server, 0) + 1
        return counts

    def contribute(self, memory: MemberCounts, appended: Appended) -> Contribution:
        """What the event makes of the servers in the room."""
        return self._changed(memory, appended) if appended.changes else _NOTHING

    def resolved(self, memory: MemberCounts, resolved: Resolved) -> Contribution:
        """As `contribute`, for changes that no event brings."""
        return self._changed(memory, resolved)

    def _changed(self, memory: MemberCounts, cause: Appended | Resolved) -> Contribution:
        steps: dict[str, int] = {}
        for change in cause.changes:
            if change.type != _MEMBER:
                continue
            step = _is_join(change.new) - _is_join(change.old)
            server = _server_of(change.state_key) if step else ""
            if server:
                steps[server] = steps.get(server, 0) + step
        records = [
            RoomServerChange(cause.room, server, server in memory, cause.index)
            for server, step in steps.items()
            if _count(memory, server, step)
        ]
        return Contribution(records) if records else _NOTHING


def _count(memory: MemberCounts, server: str, step: int) -> bool:
    """Take in how many more members a server has; whether it came into the room or left it by that."""
    before = memory.get(server, 0)
    after = before + step
    if after:
        memory[server] = after
    else:
        memory.pop(server, None)
    return bool(before) != bool(after)


def _is_join(value: StateEntry | None) -> bool:
    return value is not None and value.membership == "join"


def _server_of(user_id: str) -> str:
    """One object for each name, however many rooms know it; empty where the state key names no server."""
    return intern(user_id.partition(":")[2])
