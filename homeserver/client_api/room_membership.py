# SPDX-License-Identifier: Apache-2.0
"""Joining, inviting, leaving, kicking and banning. spec: client-server-api, "Room membership"."""

from __future__ import annotations

import functools

import attrs

from federation.errors import Forbidden, InvalidParam, MissingParam
from federation.http.endpoint import Call, Endpoint, Json, NoQuery
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.joining import Joining
from homeserver.rooms.membership import RoomMembership


@attrs.frozen
class ThirdPartySigned:
    """Proof that the user owns a third-party identifier that was invited."""

    sender: str
    mxid: str
    token: str
    signatures: dict[str, dict[str, str]]


@attrs.frozen
class JoinBody:
    """The body of the endpoints that join a room."""

    reason: str | None = None
    third_party_signed: ThirdPartySigned | None = None


@attrs.frozen
class JoinServers:
    """Servers to join through; `server_name` is the name that `via` had before."""

    via: list[str] = attrs.field(factory=list)
    server_name: list[str] = attrs.field(factory=list)


@attrs.frozen
class InviteBody:
    """The body of `POST /rooms/{roomId}/invite`: a user id, or a third-party identifier instead."""

    user_id: str | None = None
    reason: str | None = None
    id_server: str | None = None
    id_access_token: str | None = None
    medium: str | None = None
    address: str | None = None


@attrs.frozen
class TargetBody:
    """The body of `/kick`, `/ban` and `/unban`."""

    user_id: str
    reason: str | None = None


@attrs.frozen
class LeaveBody:
    """The body of `POST /rooms/{roomId}/leave`."""

    reason: str | None = None


class RoomMembershipApi:
    """`/join`, `/joined_rooms` and the membership endpoints below `/rooms/{roomId}`."""

    def __init__(self, *, joining: Joining, membership: RoomMembership, aliases: RoomAliases) -> None:
        self._joining = joining
        self._membership = membership
        self._aliases = aliases

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        base = "/_matrix/client/v3"
        return (
            Endpoint("GET", f"{base}/joined_rooms", self.joined_rooms),
            Endpoint(
                "POST",
                f"{base}/join/{{roomIdOrAlias}}",
                self.join_by_id_or_alias,
                limit="rc_joins.local",
                query=JoinServers,
                body=JoinBody,
                owner="roomIdOrAlias",
                repeatable=True,
            ),
            *self._of_room(f"{base}/rooms/{{roomId}}"),
        )

    def _of_room(self, room: str) -> tuple[Endpoint, ...]:
        """Those below `/rooms/{roomId}`. A second kick or unban finds nobody to kick or unban, and fails."""
        again = functools.partial(Endpoint, "POST", owner="roomId", repeatable=True)
        once = functools.partial(Endpoint, "POST", owner="roomId", repeatable=False)
        return (
            again(f"{room}/join", self.join, limit="rc_joins.local", body=JoinBody),
            again(f"{room}/invite", self.invite, limit="rc_invites.per_issuer", body=InviteBody),
            again(f"{room}/leave", self.leave, body=LeaveBody),
            again(f"{room}/forget", self.forget),
            once(f"{room}/kick", self.kick, body=TargetBody),
            again(f"{room}/ban", self.ban, body=TargetBody),
            once(f"{room}/unban", self.unban, body=TargetBody),
        )

    async def joined_rooms(self, call: Call) -> Json:
        """The rooms that the user is joined to."""
        return Json({"joined_rooms": await self._membership.joined_rooms(call.user)})

    async def join_by_id_or_alias(self, call: Call[JoinServers, JoinBody]) -> Json:
        """Join a room by its id or an alias."""
        room = call.path["roomIdOrAlias"]
        if room.startswith("#"):
            room = await self._aliases.room_id(room)
        elif not room.startswith("!"):
            raise InvalidParam(f"{room!r:.300} is neither a room id nor a room alias")
        return await self._join(call, room)

    async def join(self, call: Call[NoQuery, JoinBody]) -> Json:
        """Join a room by its id."""
        return await self._join(call, call.path["roomId"])

    async def _join(self, call: Call[object, JoinBody], room_id: str) -> Json:
        if call.body.third_party_signed is not None:
            # TODO: joins by a third-party invite, once there are identity servers.
            raise Forbidden("third_party_signed: this server does not know third-party invites")
        await self._joining.join(call.user, room_id, reason=call.body.reason)
        return Json({"room_id": room_id})

    async def invite(self, call: Call[NoQuery, InviteBody]) -> Json:
        """Invite a user."""
        body = call.body
        if body.user_id is None:
            if body.medium is None or body.address is None:
                raise MissingParam("user_id is missing")
            # TODO: invites by third-party identifiers, once there are identity servers.
            raise Forbidden("This server does not invite by e-mail address or phone number")
        await self._membership.invite(call.user, call.path["roomId"], body.user_id, reason=body.reason)
        return Json({})

    async def leave(self, call: Call[NoQuery, LeaveBody]) -> Json:
        """Leave a room or reject an invite."""
        await self._membership.leave(call.user, call.path["roomId"], reason=call.body.reason)
        return Json({})

    async def forget(self, call: Call) -> Json:
        """Forget a room that was left."""
        await self._membership.forget(call.user, call.path["roomId"])
        return Json({})

    async def kick(self, call: Call[NoQuery, TargetBody]) -> Json:
        """Kick a user."""
        body = call.body
        await self._membership.kick(call.user, call.path["roomId"], body.user_id, reason=body.reason)
        return Json({})

    async def ban(self, call: Call[NoQuery, TargetBody]) -> Json:
        """Ban a user."""
        body = call.body
        await self._membership.ban(call.user, call.path["roomId"], body.user_id, reason=body.reason)
        return Json({})

    async def unban(self, call: Call[NoQuery, TargetBody]) -> Json:
        """End the ban of a user."""
        body = call.body
        await self._membership.unban(call.user, call.path["roomId"], body.user_id, reason=body.reason)
        return Json({})
