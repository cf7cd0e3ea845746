# SPDX-License-Identifier: Apache-2.0
"""Joining rooms that this server is in. spec: client-server-api, "Joining rooms" and "Restricted rooms"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from federation.errors import Forbidden
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.http.endpoint import Requester
from federation.rules.errors import InvalidIdentifier
from federation.rules.identifiers import server_of
from homeserver.accounts.limits import Limits
from homeserver.feed.user_rooms import UserRooms
from homeserver.rooms.checks import check_active
from homeserver.rooms.member_content import ProfileOf, member_content, with_profile
from homeserver.rooms.turns import Turns
from homeserver.rooms.writable_rooms import WritableRooms
from storage.event import Event
from storage.strings import Strings

_MEMBER = "m.room.member"
_AUTHORISER = "join_authorised_via_users_server"
_TRIES = 5
_MOST_CONDITIONS = 100
"""So many rooms of `allow` are looked at."""


class _RulesChanged(Exception):
    """The join rules are no longer those that the joining user was checked by."""


class Joining:
    """Joins of local users. `turns` are those of all changes of memberships, by room id and user id."""

    def __init__(
        self,
        *,
        server_name: str,
        rooms: WritableRooms,
        user_rooms: UserRooms,
        strings: Strings,
        profile_of: ProfileOf,
        limits: Limits,
        turns: Turns,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._strings = strings
        self._profile_of = profile_of
        self._limits = limits
        self._turns = turns

    async def join(self, requester: Requester, room_id: str, *, reason: str | None = None) -> None:
        """Join the room; whoever is in it already stays as they are.

        Raises `Forbidden`, `AuthRefused`, `UserSuspended`, `LimitExceeded`.
        """
        check_active(requester)
        async with self._turns.of(room_id, requester.user_id):
            if await self._is_joined(requester.user_id, room_id):
                return
            content = await member_content(self._profile_of, requester.user_id, "join", reason=reason)
            self._limits.count("rc_joins_per_room", room_id)
            await self._append(room_id, _Join(requester.user_id, content, self._server_name), requester.user)

    async def join_as(
        self, requester: Requester, room_id: str, content: Mapping[str, Any], origin_server_ts: int | None
    ) -> str:
        """Join with the `content` of a client's own making, or take it on in a room that one is in.

        Returns the id of the member event. Raises as `join` does. The turn is the caller's.
        """
        check_active(requester)
        user_id = requester.user_id
        if not await self._is_joined(user_id, room_id):
            self._limits.count("rc_joins.local", user_id)
            self._limits.count("rc_joins_per_room", room_id)
        shown = await with_profile(self._profile_of, user_id, content)
        shown.pop(_AUTHORISER, None)
        unchanged = await self._rooms.unchanged(room_id, Draft(user_id, _MEMBER, shown, state_key=user_id))
        if unchanged is not None:
            return unchanged.event.event_id
        join = _Join(user_id, shown, self._server_name, origin_server_ts)
        return await self._append(room_id, join, requester.user)

    async def _is_joined(self, user_id: str, room_id: str) -> bool:
        """Raises `Forbidden`, the same for an unknown room as for a private one."""
        try:
            return await self._rooms.look(user_id, room_id, lambda state: state.membership(user_id)) == "join"
        except Forbidden:
            raise Forbidden(f"{user_id} is not invited") from None

    async def _append(self, room_id: str, join: _Join, account: int) -> str:
        for _ in range(_TRIES):
            seen, restricted = await self._rooms.look(join.user_id, room_id, join.look)
            meets = restricted and await self._meets_condition(account, seen)
            request = attrs.evolve(join, seen=seen, meets_condition=meets)
            try:
                [stored] = await self._rooms.append(join.user_id, room_id, request)
            except _RulesChanged:
                continue
            return stored.event.event_id
        raise Forbidden(f"The join rules of {room_id} change too often")

    async def _meets_condition(self, account: int, join_rules: Event | None) -> bool:
        """Whether the user is in one of the rooms that the join rules name."""
        allowing = set(_allowing_rooms(join_rules))
        if not allowing:
            return False
        mine = await self._user_rooms.of_account(account)
        numbers = (await self._strings.find(allowing)).values()
        return any(number in mine and mine[number].membership == "join" for number in numbers)


@attrs.frozen
class _Join:
    """The request for a join event.

    Where the room is restricted, it is judged by whether the user meets a condition of the join rules that
    were `seen` before.
    """

    user_id: str
    content: Mapping[str, Any]
    server_name: str
    origin_server_ts: int | None = None
    seen: Event | None = None
    meets_condition: bool = False

    def look(self, state: CurrentState) -> tuple[Event | None, bool]:
        """The join rules, and whether the user can join only on a condition of theirs."""
        return state.join_rules, self._is_restricted(state)

    def __call__(self, state: CurrentState) -> Sequence[Draft]:
        content = self.content
        if self._is_restricted(state):
            if state.join_rules != self.seen:
                raise _RulesChanged
            if not self.meets_condition:
                raise Forbidden(f"{self.user_id} is in none of the rooms whose members may join")
            content = {**content, _AUTHORISER: self._authoriser(state)}
        ts = self.origin_server_ts
        return (Draft(self.user_id, _MEMBER, content, state_key=self.user_id, origin_server_ts=ts),)

    def _is_restricted(self, state: CurrentState) -> bool:
        rule = None if state.join_rules is None else state.join_rules.content.get("join_rule")
        version = state.version
        restricted = (rule == "restricted" and version.restricted) or (
            rule == "knock_restricted" and version.knock_restricted
        )
        return restricted and state.membership(self.user_id) not in ("join", "invite", "ban")

    def _authoriser(self, state: CurrentState) -> str:
        authoriser = next(_authorisers(state, self.server_name), None)
        if authoriser is None:
            # TODO: ask a server that has such a member, once there is federation.
            raise Forbidden("Nobody of this server who is in the room may invite, and so authorise the join")
        return authoriser


def _authorisers(state: CurrentState, server_name: str) -> Iterator[str]:
    """Local members who may invite."""
    power, memberships = state.power, state.memberships
    named = (*power.creators, *power.users)
    everybody = memberships if power.users_default >= power.invite else ()
    for candidates in (named, everybody):
        for user_id in candidates:
            if (
                memberships.get(user_id) == "join"
                and power.user(user_id) >= power.invite
                and _server(user_id) == server_name
            ):
                yield user_id


def _server(user_id: str) -> str | None:
    try:
        return server_of(user_id)
    except InvalidIdentifier:
        return None


def _allowing_rooms(join_rules: Event | None) -> Iterator[str]:
    """The rooms of the conditions `m.room_membership` in `allow`; anything else there is passed over."""
    allow = None if join_rules is None else join_rules.content.get("allow")
    for condition in allow[:_MOST_CONDITIONS] if isinstance(allow, list) else ():
        if isinstance(condition, dict) and condition.get("type") == "m.room_membership":
            room_id = condition.get("room_id")
            if isinstance(room_id, str):
                yield room_id
