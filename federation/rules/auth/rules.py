# SPDX-License-Identifier: Apache-2.0
"""The authorisation rules, in their order. spec: rooms, "Authorisation rules".

Numbers in comments are those of version 11, unless they name another; `rule_numbers` has all.
"""

from __future__ import annotations

from federation.rules.auth.aliases import check_aliases
from federation.rules.auth.create import check_create, check_federate, check_room
from federation.rules.auth.membership import check_member
from federation.rules.auth.power_levels import PowerLevels, check_power_levels
from federation.rules.auth.redactions import check_redaction
from federation.rules.auth.refusal import refused
from federation.rules.auth.state import AuthState
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event


def check_auth(
    event: Event,
    state: AuthState,
    version: RoomVersion,
    *,
    power_levels: PowerLevels | None = None,
    join_authoriser_signed: bool = False,
) -> None:
    """Check that `state` allows `event`; its `auth_events` are checked by `selection.check_auth_events`.

    `power_levels` are those of `state`, where the caller has read them before. `join_authoriser_signed` says
    whether the server of the user in `content.join_authorised_via_users_server` validly signed the event
    (`signing.join_authoriser_server` names it); without that key it does not matter.
    For a create event `state` is not looked at. Raises `AuthRefused`.
    """
    # 1: the create event.
    if event.type == "m.room.create":
        check_create(event, version)
        return
    create = check_room(event, state.create, version)
    check_federate(event, create, version)
    # 4 (versions 1 to 5): aliases.
    if version.aliases_rule and event.type == "m.room.aliases":
        check_aliases(event, version)
        return
    levels = power_levels or PowerLevels.of(create, state.power_levels, version)
    # 4: memberships.
    if event.type == "m.room.member":
        check_member(event, create, state, levels, version, join_authoriser_signed)
        return
    # 5: others must be joined.
    if state.membership(event.sender) != "join":
        raise refused(version, Rule.SENDER_NOT_JOINED, f"{event.sender} is not in the room")
    _check_level(event, levels, version)
    # 9: power levels.
    if event.type == "m.room.power_levels":
        check_power_levels(event, create, state.power_levels, levels, version)
    # 11 (versions 1 and 2): redactions.
    elif version.redaction_rule and event.type == "m.room.redaction":
        check_redaction(event, levels, version)


def _check_level(event: Event, levels: PowerLevels, version: RoomVersion) -> None:
    own = levels.user(event.sender)
    # 6: inviting by a third-party identifier takes the invite level, and nothing else.
    if event.type == "m.room.third_party_invite":
        if own < levels.invite:
            raise refused(version, Rule.THIRD_PARTY_INVITE_LEVEL, f"{event.sender} may not invite")
        return
    # 7: the required power level.
    required = levels.required(event.type, event.is_state)
    if required > own:
        reason = f"{event.type} takes power level {required}, and {event.sender} has {own}"
        raise refused(version, Rule.REQUIRED_LEVEL, reason)
    # 8: a state key that is a user id must be the sender's own.
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        reason = f"the state key {event.state_key} belongs to another user"
        raise refused(version, Rule.STATE_KEY_OF_OTHER_USER, reason)
