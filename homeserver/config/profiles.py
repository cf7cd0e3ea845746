# SPDX-License-Identifier: Apache-2.0
"""What users may change about themselves, and who sees it."""

from __future__ import annotations

import attrs

from homeserver.config.keys import key
from homeserver.config.kinds import Boolean


@attrs.frozen(kw_only=True)
class ProfilesConfig:
    """Display names, avatars, addresses."""

    enable_set_displayname: bool = key(
        Boolean(), """Whether users may set their display name; administrators always may.""", default=True
    )
    enable_set_avatar_url: bool = key(
        Boolean(), """Whether users may set their avatar; administrators always may.""", default=True
    )
    enable_3pid_changes: bool = key(
        Boolean(), """Whether users may add and remove e-mail addresses and phone numbers.""", default=True
    )
    require_auth_for_profile_requests: bool = key(
        Boolean(), """Whether one must be logged in to see a profile.""", default=False
    )
    limit_profile_requests_to_users_who_share_rooms: bool = key(
        Boolean(), """Whether one must share a room with a user to see their profile.""", default=False
    )
    include_profile_data_on_invite: bool = key(
        Boolean(),
        """Whether invitations show the display name and avatar of the inviting user.""",
        default=True,
    )
