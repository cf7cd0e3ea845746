# SPDX-License-Identifier: Apache-2.0
"""`m.room.member`: rule 4 of versions 6 to 11, rule 5 of the others. spec: rooms, "Authorisation rules"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from federation.rules.auth.power_levels import PowerLevels, room_creator
from federation.rules.auth.refusal import refused
from federation.rules.auth.state import AuthState
from federation.rules.auth.third_party_invite import check_third_party_invite
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event


@attrs.frozen
class _Change:
    """A member event and what it is judged by; `target` is the user whose membership it sets."""

    event: Event
    target: str
    create: Event
    state: AuthState
    levels: PowerLevels
    version: RoomVersion

    @property
    def sender(self) -> str:
        return self.event.sender

    @property
    def creator(self) -> str | None:
        return room_creator(self.create, self.version)

    @property
    def join_rule(self) -> object:
        """The room's join rule; without one it is `invite`."""
        join_rules = self.state.join_rules
        return "invite" if join_rules is None else join_rules.content.get("join_rule", "invite")

    def refused(self, rule: Rule, reason: str) -> AuthRefused:
        return refused(self.version, rule, reason)


def check_member(
    event: Event,
    create: Event,
    state: AuthState,
    levels: PowerLevels,
    version: RoomVersion,
    join_authoriser_signed: bool,
) -> None:
    """Check an `m.room.member` event.

    `join_authoriser_signed` says whether the server of `join_authorised_via_users_server` validly signed it.
    Raises `AuthRefused`.
    """
    # .1: it must have a `state_key` and a `membership`.
    if event.state_key is None or "membership" not in event.content:
        raise refused(version, Rule.MEMBER_SHAPE, "a member event has no `state_key` or no `membership`")
    # .2: who authorises a join must have signed it.
    if (
        version.restricted
        and "join_authorised_via_users_server" in event.content
        and not join_authoriser_signed
    ):
        reason = "the server of `join_authorised_via_users_server` did not sign the event"
        raise refused(version, Rule.MEMBER_AUTHORISER_SIGNATURE, reason)
    membership = event.content["membership"]
    check = _CHECKS.get(membership) if isinstance(membership, str) else None
    # .8: other memberships are unknown.
    if check is None or (membership == "knock" and not version.knock):
        raise refused(version, Rule.MEMBER_UNKNOWN, "the membership is unknown")
    check(
        _Change(
            event=event, target=event.state_key, create=create, state=state, levels=levels, version=version
        )
    )


def _check_join(change: _Change) -> None:
    """.3: join."""
    event, target = change.event, change.target
    # .3.1: the creator's first join, right after the create event.
    if event.prev_events == (change.create.event_id,) and target == change.creator:
        return
    # .3.2: users join themselves.
    if change.sender != target:
        raise change.refused(Rule.JOIN_OTHER_USER, f"{change.sender} cannot join for {target}")
    current = change.state.membership(target)
    # .3.3: unless they are banned.
    if current == "ban":
        raise change.refused(Rule.JOIN_BANNED, f"{target} is banned")
    join_rule = change.join_rule
    # .3.4 and .3.5.1: by invitation, or joined already.
    if _asks_for_invite(join_rule, change.version) and current in ("invite", "join"):
        return
    # .3.5.2: by leave of a member who may invite.
    if _is_restricted(join_rule, change.version):
        _check_authoriser(change)
        return
    # .3.6: into a public room.
    if join_rule != "public":
        raise change.refused(Rule.JOIN_OTHERWISE, f"{target} is not invited")


def _asks_for_invite(join_rule: object, version: RoomVersion) -> bool:
    return join_rule == "invite" or _lets_knock(join_rule, version) or _is_restricted(join_rule, version)


def _is_restricted(join_rule: object, version: RoomVersion) -> bool:
    return (join_rule == "restricted" and version.restricted) or (
        join_rule == "knock_restricted" and version.knock_restricted
    )


def _lets_knock(join_rule: object, version: RoomVersion) -> bool:
    return (join_rule == "knock" and version.knock) or (
        join_rule == "knock_restricted" and version.knock_restricted
    )


def _check_authoriser(change: _Change) -> None:
    authoriser = change.event.content.get("join_authorised_via_users_server")
    if not isinstance(authoriser, str) or change.state.membership(authoriser) != "join":
        raise change.refused(Rule.JOIN_AUTHORISER, "no member of the room authorises the join")
    if change.levels.user(authoriser) < change.levels.invite:
        raise change.refused(Rule.JOIN_AUTHORISER, f"{authoriser} may not invite and so not authorise a join")


def _check_invite(change: _Change) -> None:
    """.4: invite."""
    # .4.1: by a third-party identifier.
    if "third_party_invite" in change.event.content:
        check_third_party_invite(change.event, change.target, change.state, change.version)
        return
    # .4.2: the sender must be joined.
    if change.state.membership(change.sender) != "join":
        raise change.refused(Rule.INVITE_SENDER_NOT_JOINED, f"{change.sender} is not in the room")
    # .4.3: the target must be neither joined nor banned.
    current = change.state.membership(change.target)
    if current in ("join", "ban"):
        what = "is in the room already" if current == "join" else "is banned"
        raise change.refused(Rule.INVITE_TARGET_JOINED_OR_BANNED, f"{change.target} {what}")
    # .4.4: at the invite level.
    if change.levels.user(change.sender) < change.levels.invite:
        raise change.refused(Rule.INVITE_OTHERWISE, f"{change.sender} may not invite")


def _check_leave(change: _Change) -> None:
    """.5: leave; of oneself, or of another as a kick or the end of a ban."""
    current = change.state.membership(change.target)
    # .5.1: oneself, if and only if invited, joined or knocking.
    if change.sender == change.target:
        if current == "invite" or current == "join" or (current == "knock" and change.version.knock):
            return
        raise change.refused(Rule.LEAVE_NOT_IN_ROOM, f"{change.target} is not in the room")
    # .5.2: the sender must be joined.
    if change.state.membership(change.sender) != "join":
        raise change.refused(Rule.LEAVE_SENDER_NOT_JOINED, f"{change.sender} is not in the room")
    levels = change.levels
    own = levels.user(change.sender)
    # .5.3: ending a ban takes the ban level.
    if current == "ban" and own < levels.ban:
        raise change.refused(Rule.LEAVE_TARGET_BANNED, f"{change.sender} may not unban")
    # .5.4: at the kick level, and above the target.
    if own < levels.kick or levels.user(change.target) >= own:
        raise change.refused(Rule.LEAVE_OTHERWISE, f"{change.sender} may not kick {change.target}")


def _check_ban(change: _Change) -> None:
    """.6: ban."""
    # .6.1: the sender must be joined.
    if change.state.membership(change.sender) != "join":
        raise change.refused(Rule.BAN_SENDER_NOT_JOINED, f"{change.sender} is not in the room")
    # .6.2: at the ban level, and above the target.
    own = change.levels.user(change.sender)
    if own < change.levels.ban or change.levels.user(change.target) >= own:
        raise change.refused(Rule.BAN_OTHERWISE, f"{change.sender} may not ban {change.target}")


def _check_knock(change: _Change) -> None:
    """.7: knock."""
    # .7.1: where the join rule lets people knock.
    if not _lets_knock(change.join_rule, change.version):
        raise change.refused(Rule.KNOCK_JOIN_RULE, "the room cannot be knocked upon")
    # .7.2: users knock themselves.
    if change.sender != change.target:
        raise change.refused(Rule.KNOCK_OTHER_USER, f"{change.sender} cannot knock for {change.target}")
    # .7.3: unless banned, invited or joined.
    current = change.state.membership(change.target)
    if current in ("ban", "invite", "join"):
        raise change.refused(Rule.KNOCK_OTHERWISE, f"{change.target} is banned, invited or joined already")


_CHECKS: Mapping[str, Callable[[_Change], None]] = MappingProxyType(
    {
        "join": _check_join,
        "invite": _check_invite,
        "leave": _check_leave,
        "ban": _check_ban,
        "knock": _check_knock,
    }
)
