# SPDX-License-Identifier: Apache-2.0
"""What users do to memberships, their own and others': invite, leave, kick, ban, unban, forget.

spec: client-server-api, "Room membership"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from federation.errors import BadState, Unknown
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.graph.out_of_band import OutOfBandMemberships
from federation.http.endpoint import Requester
from federation.rules.identifiers import parse_user_id
from homeserver.accounts.limits import Limits
from homeserver.feed.user_rooms import UserRooms
from homeserver.rooms.checks import check_active, check_invitable, check_joined, not_in_room
from homeserver.rooms.invite_permission import InvitePermission
from homeserver.rooms.joining import Joining
from homeserver.rooms.member_content import ProfileOf, member_content, membership_in, with_profile
from homeserver.rooms.turns import Turns
from homeserver.rooms.writable_rooms import WritableRooms
from storage.event import StoredEvent
from storage.memberships import Membership
from storage.persist import Unit
from storage.strings import Strings
from storage.write_queue import WriteQueue

_MEMBER = "m.room.member"
_IN_ROOM = frozenset({"join", "invite", "knock"})


class RoomMembership:
    """Changes of memberships. `turns` are those of all of them, by room id and user id."""

    def __init__(
        self,
        *,
        server_name: str,
        rooms: WritableRooms,
        out_of_band: OutOfBandMemberships,
        joining: Joining,
        user_rooms: UserRooms,
        strings: Strings,
        queue: WriteQueue,
        profile_of: ProfileOf,
        invite_permission: InvitePermission,
        limits: Limits,
        turns: Turns,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._out_of_band = out_of_band
        self._joining = joining
        self._user_rooms = user_rooms
        self._strings = strings
        self._queue = queue
        self._profile_of = profile_of
        self._invite_permission = invite_permission
        self._limits = limits
        self._turns = turns

    async def invite(
        self, requester: Requester, room_id: str, target: str, *, reason: str | None = None
    ) -> None:
        """Invite a user; one who is invited already stays so.

        Raises `InvalidIdentifier`, `Unknown` for users of other servers, `InviteBlocked`, `Forbidden`,
        `AuthRefused`, `UserSuspended`, `LimitExceeded`.
        """
        async with self._turns.of(room_id, target):
            await self._check_invite(requester, room_id, target)
            content = await member_content(self._profile_of, target, "invite", reason=reason)
            draft = Draft(requester.user_id, _MEMBER, content, state_key=target)

            def request(state: CurrentState) -> Sequence[Draft]:
                check_joined(state, requester.user_id)
                return () if state.membership(target) == "invite" else (draft,)

            await self._rooms.append(requester.user_id, room_id, request)

    async def leave(self, requester: Requester, room_id: str, *, reason: str | None = None) -> None:
        """Leave the room, reject the invite to it, or retract a knock; who has left already stays so.

        It always succeeds in a room that this server is not in. Raises `Forbidden`, `AuthRefused`.
        """
        user_id = requester.user_id
        content = await member_content(self._profile_of, user_id, "leave", reason=reason)
        async with self._turns.of(room_id, user_id):
            if await self._leave_out_of_band(requester, room_id, content) is not None:
                return
            draft = Draft(user_id, _MEMBER, content, state_key=user_id)

            def request(state: CurrentState) -> Sequence[Draft]:
                return () if state.membership(user_id) == "leave" else (draft,)

            await self._rooms.append(user_id, room_id, request)

    async def kick(
        self, requester: Requester, room_id: str, target: str, *, reason: str | None = None
    ) -> None:
        """Remove a user from the room, take an invite back, or deny a knock.

        Raises `InvalidIdentifier`, `Forbidden`, `AuthRefused`, `UserSuspended`.
        """

        def check(state: CurrentState) -> bool:
            if state.membership(target) not in _IN_ROOM:
                raise not_in_room(target)
            return True

        await self._moderate(requester, room_id, target, "leave", reason, check)

    async def ban(
        self, requester: Requester, room_id: str, target: str, *, reason: str | None = None
    ) -> None:
        """Ban a user from the room; one who is banned already stays so. Raises as `kick` does."""

        def check(state: CurrentState) -> bool:
            may_ban = state.power.user(requester.user_id) >= state.power.ban
            return not (may_ban and state.membership(target) == "ban")

        await self._moderate(requester, room_id, target, "ban", reason, check)

    async def unban(
        self, requester: Requester, room_id: str, target: str, *, reason: str | None = None
    ) -> None:
        """End the ban of a user. Raises `BadState` for one who is not banned, and as `kick` does."""

        def check(state: CurrentState) -> bool:
            if state.membership(target) != "ban":
                raise BadState(f"{target} is not banned from the room")
            return True

        await self._moderate(requester, room_id, target, "leave", reason, check)

    async def forget(self, requester: Requester, room_id: str) -> None:
        """Forget a room that the user has left.

        Raises `Unknown` where they have not, and `Forbidden` where they were never in it.
        """
        async with self._turns.of(room_id, requester.user_id), self._out_of_band.turn(room_id):
            membership = await self._membership(requester, room_id)
            if membership is None:
                raise not_in_room(requester.user_id)
            if membership.membership in _IN_ROOM:
                raise Unknown(f"{requester.user_id} has not left the room {room_id}")
            if not membership.forgotten:
                await self._write_forgotten(membership)

    async def joined_rooms(self, requester: Requester) -> Sequence[str]:
        """The ids of the rooms that the user is joined to."""
        memberships = await self._user_rooms.of_account(requester.user)
        joined = [room for room, membership in memberships.items() if membership.membership == "join"]
        names = await self._strings.values(joined)
        return [names[room] for room in joined]

    async def set_member(
        self,
        requester: Requester,
        room_id: str,
        target: str,
        content: Mapping[str, Any],
        *,
        origin_server_ts: int | None = None,
    ) -> str:
        """Send `m.room.member` with a `content` of the client's own making; returns its event id.

        Where it would say the same once more, nothing is sent. Raises `BadJson`, and as the other methods do.
        """
        membership = membership_in(content)
        parse_user_id(target)
        async with self._turns.of(room_id, target):
            if membership == "join" and target == requester.user_id:
                return await self._joining.join_as(requester, room_id, content, origin_server_ts)
            if membership == "invite":
                await self._check_invite(requester, room_id, target)
                content = await with_profile(self._profile_of, target, content)
            elif membership == "knock" and target == requester.user_id:
                check_active(requester)
                content = await with_profile(self._profile_of, target, content)
            elif target != requester.user_id:
                check_active(requester)
                await self._rooms.check_joined(requester.user_id, room_id)
            elif membership == "leave":
                left = await self._leave_out_of_band(requester, room_id, content)
                if left is not None:
                    return left.event.event_id
            draft = Draft(
                requester.user_id, _MEMBER, content, state_key=target, origin_server_ts=origin_server_ts
            )
            unchanged = await self._rooms.unchanged(room_id, draft)
            if unchanged is not None:
                return unchanged.event.event_id
            [stored] = await self._rooms.append(requester.user_id, room_id, lambda _state: (draft,))
            return stored.event.event_id

    async def _leave_out_of_band(
        self, requester: Requester, room_id: str, content: Mapping[str, Any]
    ) -> StoredEvent | None:
        """Leave a room that this server is not in; None where the user does not stand in one that way."""
        membership = await self._membership(requester, room_id)
        if membership is None or membership.membership == "join":
            return None
        # TODO: ask a server that is in the room first, once there is federation.
        return await self._out_of_band.leave(requester.user_id, room_id, content=content)

    async def _membership(self, requester: Requester, room_id: str) -> Membership | None:
        room = (await self._strings.find((room_id,))).get(room_id)
        memberships = await self._user_rooms.of_account(requester.user)
        return None if room is None else memberships.get(room)

    async def _check_invite(self, requester: Requester, room_id: str, target: str) -> None:
        """Whether the requester may try to invite; counts against the limits of invitations."""
        check_active(requester)
        check_invitable(target, self._server_name)
        await self._rooms.check_joined(requester.user_id, room_id)
        self._limits.count("rc_invites.per_room", room_id)
        self._limits.count("rc_invites.per_user", target)
        await self._invite_permission.check(target)

    async def _moderate(
        self,
        requester: Requester,
        room_id: str,
        target: str,
        membership: str,
        reason: str | None,
        check: Callable[[CurrentState], bool],
    ) -> None:
        """Set another user's membership if `check` finds that there is something to change."""
        check_active(requester)
        parse_user_id(target)
        content = (
            {"membership": membership} if reason is None else {"membership": membership, "reason": reason}
        )
        draft = Draft(requester.user_id, _MEMBER, content, state_key=target)

        def request(state: CurrentState) -> Sequence[Draft]:
            check_joined(state, requester.user_id)
            return (draft,) if check(state) else ()

        async with self._turns.of(room_id, target):
            await self._rooms.append(requester.user_id, room_id, request)

    async def _write_forgotten(self, membership: Membership) -> None:
        forgotten = attrs.evolve(membership, forgotten=True, index=1)
        await self._queue.submit(Unit(records=(forgotten,), positions=1))
