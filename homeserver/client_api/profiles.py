# SPDX-License-Identifier: Apache-2.0
"""Profiles. spec: client-server-api, "Profiles"."""

from __future__ import annotations

from collections.abc import Set

from federation.errors import Forbidden, GuestAccessForbidden, MissingParam, NotFound
from federation.http.endpoint import Answer, Auth, Call, Endpoint, Json, JsonObject, NoQuery
from homeserver.profiles.fields import DISPLAYNAME
from homeserver.profiles.profiles import Profiles
from homeserver.profiles.visibility import ProfileVisibility
from homeserver.rooms.checks import check_active


class ProfilesApi:
    """`/profile`.

    `visibility` decides who sees whose profile; where it is None, everybody does, with `require_auth`
    everybody who is logged in. `locked_fields` are changed by administrators alone.
    """

    def __init__(
        self,
        *,
        profiles: Profiles,
        visibility: ProfileVisibility | None,
        require_auth: bool,
        locked_fields: Set[str],
    ) -> None:
        self._profiles = profiles
        self._visibility = visibility
        self._auth = Auth.REQUIRED if require_auth or visibility is not None else Auth.OPTIONAL
        self._locked_fields = locked_fields

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of this section."""
        profile = "/_matrix/client/v3/profile/{userId}"
        field = f"{profile}/{{keyName}}"
        return (
            Endpoint("GET", profile, self.profile, auth=self._auth, guests=True),
            Endpoint("GET", field, self.field, auth=self._auth, guests=True),
            Endpoint("PUT", field, self.put, body=JsonObject, guests=True, owner="userId"),
            Endpoint("DELETE", field, self.delete, guests=True, owner="userId"),
        )

    async def profile(self, call: Call) -> Answer:
        """All of a user's profile."""
        return Json(await self._profiles.get(await self._visible(call)))

    async def field(self, call: Call) -> Answer:
        """One field of a user's profile."""
        name = call.path["keyName"]
        profile = await self._profiles.get(await self._visible(call))
        if name not in profile:
            raise NotFound(f"The profile has no field {name!r:.300}")
        return Json({name: profile[name]})

    async def put(self, call: Call[NoQuery, JsonObject]) -> Answer:
        """Set one field."""
        self._check_may_change(call)
        name = call.path["keyName"]
        if name not in call.body:
            raise MissingParam(f"{name!r:.300} is missing")
        await self._profiles.put(call.path["userId"], name, call.body[name])
        return Json({})

    async def delete(self, call: Call) -> Answer:
        """Delete one field."""
        self._check_may_change(call)
        await self._profiles.delete(call.path["userId"], call.path["keyName"])
        return Json({})

    async def _visible(self, call: Call) -> int:
        """The user that the path names. Raises `NotFound`, or `Forbidden` where some users are hidden."""
        user_id, requester = call.path["userId"], call.requester
        if self._visibility is None:
            return await self._profiles.account(user_id)
        hidden = Forbidden(f"You do not share a room with {user_id}")
        try:
            account = await self._profiles.account(user_id)
        except NotFound:
            raise hidden from None
        if requester is None or not await self._visibility.sees(requester.user, account):
            raise hidden
        return account

    def _check_may_change(self, call: Call[NoQuery, object]) -> None:
        """Raise `Forbidden`, `UserSuspended` or `GuestAccessForbidden`."""
        requester, name = call.user, call.path["keyName"]
        check_active(requester)
        if requester.is_admin:
            return
        if call.path["userId"] != requester.user_id:
            raise Forbidden("The profile of another user cannot be changed")
        if requester.is_guest and name != DISPLAYNAME:
            raise GuestAccessForbidden("Guests may change nothing of their profile but the display name")
        if name in self._locked_fields:
            raise Forbidden(f"{name} cannot be changed on this server")
