# SPDX-License-Identifier: Apache-2.0
"""The content of member events: the membership with the user's profile beside it.

spec: client-server-api, "m.room.member"
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import NoneType
from typing import Any, TypeAlias

from federation.errors import BadJson
from homeserver.rooms.checks import MEMBERSHIPS

ProfileOf: TypeAlias = Callable[[str], Awaitable[Mapping[str, Any]]]
"""The profile of a local user by user id; empty where there is none."""

_FIELDS = ("displayname", "avatar_url")
_SHOWN = frozenset({"join", "invite", "knock"})


async def member_content(
    profile_of: ProfileOf, user_id: str, membership: str, *, reason: str | None = None
) -> dict[str, Any]:
    """What `m.room.member` of a local user says after one of the membership endpoints."""
    content: dict[str, Any] = {"membership": membership}
    if reason is not None:
        content["reason"] = reason
    return await with_profile(profile_of, user_id, content)


async def with_profile(profile_of: ProfileOf, user_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with what it does not say of the profile of a user who is, or is asked, to be in the room."""
    shown = dict(content)
    if content["membership"] in _SHOWN and any(field not in content for field in _FIELDS):
        profile = await profile_of(user_id)
        for field in _FIELDS:
            if field not in content and isinstance(profile.get(field), str):
                shown[field] = profile[field]
    return shown


def membership_in(content: Mapping[str, Any]) -> str:
    """The membership that a client's `m.room.member` asks for. Raises `BadJson`, also for a bad profile."""
    membership = content.get("membership")
    if not isinstance(membership, str) or membership not in MEMBERSHIPS:
        raise BadJson(f"membership: must be one of {', '.join(MEMBERSHIPS)}")
    for field in _FIELDS:
        if not isinstance(content.get(field), (str, NoneType)):
            raise BadJson(f"{field}: must be a string")
    return membership
