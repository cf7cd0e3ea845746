# SPDX-License-Identifier: Apache-2.0
"""What a client may ask of a new room: the body of `POST /createRoom`.

spec: client-server-api, "Creation"
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

Preset = Literal["private_chat", "public_chat", "trusted_private_chat"]


@attrs.frozen
class InitialStateEvent:
    """A state event that the room begins with."""

    type: str
    content: dict[str, Any]
    state_key: str = ""


@attrs.frozen
class Invite3pid:
    """Somebody who is known by a third-party identifier only."""

    id_server: str
    id_access_token: str
    medium: str
    address: str


@attrs.frozen(kw_only=True)
class RoomOptions:
    """The options; None and an empty list say nothing."""

    visibility: Literal["public", "private"] | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] | None = None
    invite_3pid: list[Invite3pid] | None = None
    room_version: str | None = None
    creation_content: dict[str, Any] | None = None
    initial_state: list[InitialStateEvent] | None = None
    preset: Preset | None = None
    is_direct: bool | None = None
    power_level_content_override: dict[str, Any] | None = None

    @property
    def chosen_preset(self) -> Preset:
        """The preset, or the one that goes with the visibility."""
        if self.preset is not None:
            return self.preset
        return "public_chat" if self.visibility == "public" else "private_chat"

    @property
    def invited(self) -> tuple[str, ...]:
        """Those who are to be invited, each once."""
        return tuple(dict.fromkeys(self.invite or ()))
