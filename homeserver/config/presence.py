# SPDX-License-Identifier: Apache-2.0
"""Who is online, and what the server tells its users by itself."""

from __future__ import annotations

import attrs

from homeserver.config.addresses import Localpart
from homeserver.config.keys import RecordOf, key, optional
from homeserver.config.kinds import Boolean, Text


@attrs.frozen(kw_only=True)
class PresenceConfig:
    """Presence."""

    enabled: bool = key(Boolean(), """Whether users see who is online.""", default=True)


@attrs.frozen(kw_only=True)
class ServerNoticesConfig:
    """The account that sends server notices."""

    system_mxid_localpart: str = key(
        Localpart(), """The localpart of the account that they come from.""", default="notices"
    )
    system_mxid_display_name: str = key(Text(), """Its display name.""", default="Server Notices")
    system_mxid_avatar_url: str | None = optional(
        Text("an mxc:// URI"), """Its avatar.""", example="mxc://example.org/oumMVlgDnLYFaPVkExemNVVZ"
    )
    room_name: str = key(Text(), """The name of the room that they stand in.""", default="Server Notices")
    room_avatar_url: str | None = optional(
        Text("an mxc:// URI"), """The room's avatar.""", example="mxc://example.org/oumMVlgDnLYFaPVkExemNVVZ"
    )
    room_topic: str | None = optional(
        Text(), """The room's topic.""", example="Messages from the people who run this server"
    )
    auto_join: bool = key(Boolean(), """Whether users join that room by themselves.""", default=False)


@attrs.frozen(kw_only=True)
class NoticesConfig:
    """Presence and server notices."""

    presence: PresenceConfig = key(RecordOf(PresenceConfig), """Who is online.""", default={})
    server_notices: ServerNoticesConfig | None = optional(
        RecordOf(ServerNoticesConfig),
        """Messages to users from the people who run the server. Without it there are none.""",
        example={"system_mxid_localpart": "notices"},
    )
