# SPDX-License-Identifier: Apache-2.0
"""Creating rooms: all first events of a room, its alias and its listing are one unit.

spec: client-server-api, "Creation"
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from federation.errors import (
    BadAlias,
    Forbidden,
    InvalidParam,
    InvalidRoomState,
    RoomInUse,
    UnsupportedRoomVersion,
)
from federation.graph.rooms import RoomGraphs
from federation.http.endpoint import Requester
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.accounts.limits import Limits
from homeserver.rooms.aliases import RoomAliases, aliases_in
from homeserver.rooms.checks import check_active, check_invitable, check_short
from homeserver.rooms.first_events import FirstEvents
from homeserver.rooms.invite_permission import InvitePermission
from homeserver.rooms.member_content import ProfileOf, member_content
from homeserver.rooms.room_options import RoomOptions
from storage.aliases import Alias, Aliases
from storage.engine.errors import DataError
from storage.published_rooms import PublishedRoom

_MOST_INVITED = 200
_MOST_INITIAL_STATE = 500
"""Each event of a new room costs processor time, and all of them come at once."""

_NOT_INITIAL = frozenset({"m.room.create", "m.room.member", "m.room.redaction"})


class RoomCreation:
    """Creates rooms; those whose creator names no version get `default_version`."""

    def __init__(
        self,
        *,
        server_name: str,
        graphs: RoomGraphs,
        aliases: Aliases,
        room_aliases: RoomAliases,
        profile_of: ProfileOf,
        invite_permission: InvitePermission,
        limits: Limits,
        default_version: str,
    ) -> None:
        self._server_name = server_name
        self._graphs = graphs
        self._aliases = aliases
        self._room_aliases = room_aliases
        self._profile_of = profile_of
        self._invite_permission = invite_permission
        self._limits = limits
        self._default_version = default_version

    async def create(self, requester: Requester, options: RoomOptions) -> str:
        """Create a room and return its id.

        Raises `UnsupportedRoomVersion`, `RoomInUse` where the alias is taken, `InvalidRoomState` where the
        authorisation rules refuse one of the events, `BadAlias`, `InvalidParam`, `InvalidIdentifier`,
        `BadJson`, `InviteBlocked`, `Unknown` for users of other servers, `UserSuspended`, `LimitExceeded`.
        """
        check_active(requester)
        version = self._version(options.room_version)
        alias = await self._new_alias(options.room_alias_name)
        _check_initial_state(options, alias)
        await self._check_invited(requester, options)
        events = FirstEvents(
            creator=requester.user_id,
            version=version,
            options=options,
            members=await self._members(requester, options),
            canonical_alias=alias,
        )
        drafts = events.after_create()

        def records(room: int) -> Iterable[Any]:
            if alias is not None:
                yield Alias(alias, room, requester.user)
            if options.visibility == "public":
                yield PublishedRoom(room)

        try:
            graph = await self._graphs.create(
                version,
                events.create(),
                lambda _room_id: lambda _state: drafts,
                lambda room: lambda _appended: records(room),
            )
        except AuthRefused as refusal:
            raise InvalidRoomState(refusal.reason) from refusal
        except DataError:
            if alias is None or await self._aliases.get(alias) is None:
                raise
            raise _in_use(alias) from None
        return graph.room_id

    def _version(self, name: str | None) -> RoomVersion:
        version = ROOM_VERSIONS.get(self._default_version if name is None else name)
        if version is None:
            raise UnsupportedRoomVersion(f"Rooms of version {name!r:.60} cannot be created here")
        return version

    async def _new_alias(self, name: str | None) -> str | None:
        if name is None:
            return None
        if ":" in name:
            raise InvalidParam("room_alias_name: is the name alone, without the server's and its colon")
        alias = f"#{name}:{self._server_name}"
        self._room_aliases.check_new(alias)
        if await self._aliases.get(alias) is not None:
            raise _in_use(alias)
        return alias

    async def _check_invited(self, requester: Requester, options: RoomOptions) -> None:
        if options.invite_3pid:
            # TODO: invites by third-party identifiers, once there are identity servers.
            raise Forbidden("invite_3pid: this server does not invite by e-mail address or phone number")
        invited = options.invited
        if len(invited) > _MOST_INVITED:
            raise InvalidParam(f"invite: at most {_MOST_INVITED} users can be invited at once")
        for user_id in invited:
            check_invitable(user_id, self._server_name)
        for user_id in invited:
            self._limits.count("rc_invites.per_issuer", requester.user_id)
            self._limits.count("rc_invites.per_user", user_id)
            await self._invite_permission.check(user_id)

    async def _members(self, requester: Requester, options: RoomOptions) -> dict[str, dict[str, Any]]:
        members = {}
        for user_id in options.invited:
            members[user_id] = await member_content(self._profile_of, user_id, "invite")
            if options.is_direct:
                members[user_id]["is_direct"] = True
        if requester.user_id in members:
            raise InvalidRoomState("invite: who creates a room is in it already")
        members[requester.user_id] = await member_content(self._profile_of, requester.user_id, "join")
        return members


def _check_initial_state(options: RoomOptions, alias: str | None) -> None:
    initial_state = options.initial_state or ()
    if len(initial_state) > _MOST_INITIAL_STATE:
        raise InvalidParam(f"initial_state: a room begins with at most {_MOST_INITIAL_STATE} events")
    for event in initial_state:
        check_short(event.type, "initial_state: an event type")
        check_short(event.state_key, "initial_state: a state key")
        if event.type in _NOT_INITIAL:
            raise InvalidRoomState(f"initial_state: {event.type} cannot be set by it")
        if event.type == "m.room.canonical_alias" and not event.state_key:
            foreign = aliases_in(event.content) - {alias}
            if foreign:
                raise BadAlias(f"initial_state: {min(foreign)} does not point to this room")


def _in_use(alias: str) -> RoomInUse:
    return RoomInUse(f"The room alias {alias} is taken")
