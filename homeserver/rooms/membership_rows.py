# SPDX-License-Identifier: Apache-2.0
"""The contributor that keeps the memberships of local users in step with the rooms' current states."""

from __future__ import annotations

from typing import Any

from federation.graph.contributors import Appended, Contribution, Resolved, StateKeyChange
from federation.graph.current_state import CurrentState
from storage.memberships import Membership
from storage.strings import Strings

_MEMBER = "m.room.member"
_NOTHING = Contribution()
_GONE = frozenset({"leave", "ban"})


class MembershipRows:
    """For every change of a local user's `m.room.member`, the row of table `memberships`.

    A room that was forgotten is no longer, once the membership changes. With `forget_on_leave` a room is
    forgotten as soon as it is left. spec: client-server-api, "m.forget_forced_upon_leave capability"
    """

    def __init__(self, *, server_name: str, strings: Strings, forget_on_leave: bool = False) -> None:
        self._server_name = server_name
        self._strings = strings
        self._forget_on_leave = forget_on_leave

    async def load(self, room: int, room_id: str, state: CurrentState) -> None:
        """There is nothing to remember."""

    def contribute(self, memory: Any, appended: Appended) -> Contribution:  # noqa: ARG002
        """The rows of the member events among the changes."""
        return self._rows(appended)

    def resolved(self, memory: Any, resolved: Resolved) -> Contribution:  # noqa: ARG002
        """As `contribute`, for changes that no event brings."""
        return self._rows(resolved)

    def _rows(self, cause: Appended | Resolved) -> Contribution:
        rows = [
            self._row(cause, change)
            for change in cause.changes
            if change.type == _MEMBER and self._is_local(change.state_key)
        ]
        return Contribution(records=rows) if rows else _NOTHING

    def _is_local(self, user_id: str) -> bool:
        return user_id.startswith("@") and user_id.partition(":")[2] == self._server_name

    def _row(self, cause: Appended | Resolved, change: StateKeyChange) -> Membership:
        account = self._strings.known(change.state_key)
        assert account is not None, "the strings of a change are interned before it is made"
        value = change.new or change.old
        assert value is not None, "a change has a value on one side at least"
        # A key that a resolution takes away leaves the user outside, by what was their last member event.
        membership = "leave" if change.new is None else cause.state.membership(change.state_key) or "leave"
        return Membership(
            account=account,
            room=cause.room,
            membership=membership,
            event=value.number,
            forgotten=self._forget_on_leave and membership in _GONE,
            index=cause.index,
        )
