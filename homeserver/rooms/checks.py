# SPDX-License-Identifier: Apache-2.0
"""What is checked of whoever writes into a room, and of the names that they give."""

from __future__ import annotations

from federation.errors import Forbidden, InvalidParam, Unknown, UserSuspended
from federation.graph.current_state import CurrentState
from federation.http.endpoint import Requester
from federation.rules.event_format import MAX_MEMBER_SIZE
from federation.rules.identifiers import parse_user_id

MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")
"""spec: client-server-api, "m.room.member" """


def not_in_room(user_id: str) -> Forbidden:
    """The same for a room that the user is not in and for one that does not exist."""
    return Forbidden(f"{user_id} is not in the room")


def check_joined(state: CurrentState, user_id: str) -> None:
    """Raise `Forbidden` for a user who is not joined to the room."""
    if state.membership(user_id) != "join":
        raise not_in_room(user_id)


def check_active(requester: Requester) -> None:
    """Raise `UserSuspended` for a suspended account. spec: client-server-api, "Account suspension" """
    if requester.is_suspended:
        raise UserSuspended("You cannot perform this action while suspended.")


def check_short(text: str, what: str) -> None:
    """Raise `InvalidParam` for an event's member that is too long. spec: "Size limits" """
    if len(text) * 4 > MAX_MEMBER_SIZE and len(text.encode()) > MAX_MEMBER_SIZE:
        raise InvalidParam(f"{what} is longer than {MAX_MEMBER_SIZE} bytes")


def check_invitable(user_id: str, server_name: str) -> None:
    """Check the id of somebody who is to be invited. Raises `InvalidIdentifier`, `Unknown`."""
    # TODO: users of other servers, once there is federation.
    if parse_user_id(user_id).server_name != server_name:
        raise Unknown(f"{user_id} cannot be invited: this server does not reach other servers yet")
