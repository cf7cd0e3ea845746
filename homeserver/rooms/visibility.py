# SPDX-License-Identifier: Apache-2.0
"""Who may see which event of a room's history.

spec: client-server-api, "Room History Visibility", "Room Previews"
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from storage.event import StoredEvent

HISTORY_VISIBILITY = "m.room.history_visibility"
MEMBER = "m.room.member"
DUMMY = "org.matrix.dummy_event"
"""What servers send to join forward extremities, in the name of a user who has not spoken."""


class Visibility(StrEnum):
    """The history visibility of a room at some state."""

    WORLD_READABLE = "world_readable"
    SHARED = "shared"
    INVITED = "invited"
    JOINED = "joined"

    @classmethod
    def of(cls, content: Mapping[str, Any] | None) -> Visibility:
        """What the `content` of the event says; shared without one, or if it is not understood."""
        value = content.get("history_visibility") if content is not None else None
        return _VISIBILITIES.get(value, cls.SHARED) if isinstance(value, str) else cls.SHARED


_VISIBILITIES: Mapping[str, Visibility] = {visibility.value: visibility for visibility in Visibility}


def membership_of(content: Mapping[str, Any] | None) -> str:
    """What `content` of a user's `m.room.member` event says; `leave` without one, or if it is malformed."""
    value = content.get("membership") if content is not None else None
    return value if isinstance(value, str) else "leave"


def is_shown(stored: StoredEvent) -> bool:
    """Whether the event is shown to anybody at all as something that happened in the room.

    Rejected and soft-failed events are not, nor those before which the state is unknown, outliers among them.
    """
    return not (stored.rejected or stored.soft_failed or stored.before is None or stored.event.type == DUMMY)


@attrs.frozen
class Standing:
    """What a state of the room means for one user: the history visibility, and the user's own membership."""

    visibility: Visibility
    membership: str

    def allows(self, *, joined_since: bool) -> bool:
        """Whether an event sent in this state may be seen; `joined_since`: the user has joined later on."""
        return (
            self.visibility is Visibility.WORLD_READABLE
            or self.membership == "join"
            or (self.visibility is Visibility.SHARED and joined_since)
            or (self.visibility is Visibility.INVITED and self.membership == "invite")
        )


def visible(
    event_type: str,
    state_key: str | None,
    user_id: str,
    *,
    before: Standing | None,
    after: Standing | None,
    joined_since: bool,
) -> bool:
    """Whether `user_id` may see the event.

    `before` and `after` are what the states before and after it mean for the user, None where the state is
    not known: what is not known allows nothing. `after` matters for the two kinds of events that may be
    seen if either state allows it, changes of the history visibility and the user's own membership events;
    anywhere else it may be left None. `joined_since` says whether the user has joined the room at any point
    after the event.

    Rejected, soft-failed and redacted events are no subject of this function.
    """
    if before is not None and before.allows(joined_since=joined_since):
        return True
    if after is None or not changes_standing(event_type, state_key, user_id):
        return False
    return after.allows(joined_since=joined_since)


def changes_standing(event_type: str, state_key: str | None, user_id: str) -> bool:
    """Whether the state after the event counts as well, when `user_id` asks for it."""
    return (event_type == HISTORY_VISIBILITY and state_key == "") or (
        event_type == MEMBER and state_key == user_id
    )
