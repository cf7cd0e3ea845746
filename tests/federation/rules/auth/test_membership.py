# SPDX-License-Identifier: Apache-2.0
"""`m.room.member`, branch by branch. spec: rooms, "Authorisation rules"; rule 4 of versions 6 to 11,
rule 5 of the others.
"""

from __future__ import annotations

from typing import Any

import pytest

from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from tests.support.judging import (
    ADMIN,
    CREATOR,
    JOIN_RULES,
    LEVELS,
    MODERATOR,
    OTHER,
    USER,
    VERSIONS,
    Facts,
    number,
    since,
)

AUTHORISER = "join_authorised_via_users_server"
JOINED = {CREATOR: "join", ADMIN: "join", MODERATOR: "join"}

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)


def room(version: RoomVersion, **facts: Any) -> Facts:
    return Facts(version, **{"users": LEVELS, **facts, "members": {**JOINED, **facts.get("members", {})}})


@pytest.mark.parametrize("membership", ["join", "invite", "leave", "ban", "knock", "other"])
def test_a_member_event_needs_a_state_key(version: RoomVersion, membership: str) -> None:
    facts = room(version, join_rule="public")
    assert facts.refusal(facts.member(USER, None, membership)) == number(Rule.MEMBER_SHAPE, version)


def test_a_member_event_needs_a_membership(version: RoomVersion) -> None:
    facts = room(version, join_rule="public")
    event = facts.event("m.room.member", USER, {}, state_key=USER)
    assert facts.refusal(event) == number(Rule.MEMBER_SHAPE, version)


@pytest.mark.parametrize("membership", ["", "joined", "JOIN", None, 5, [], {}, "org.example.other"])
def test_unknown_memberships(version: RoomVersion, membership: Any) -> None:
    facts = room(version, join_rule="public", members={USER: "join"})
    assert facts.refusal(facts.member(USER, USER, membership)) == number(Rule.MEMBER_UNKNOWN, version)


@pytest.mark.parametrize("membership", ["join", "invite", "leave", "ban", "knock", "other"])
@pytest.mark.parametrize("authoriser", [ADMIN, "nobody", 5, None])
def test_who_authorises_must_have_signed(version: RoomVersion, membership: str, authoriser: Any) -> None:
    facts = room(version, join_rule="public", members={USER: "join"})
    event = facts.member(USER, USER, membership, **{AUTHORISER: authoriser})
    if since(version, 8):
        assert facts.refusal(event) == number(Rule.MEMBER_AUTHORISER_SIGNATURE, version)
    else:
        without = facts.member(USER, USER, membership)
        assert facts.refusal(event) == facts.refusal(without)


def test_a_signed_authorisation_does_not_matter_in_a_public_room(version: RoomVersion) -> None:
    facts = room(version, join_rule="public")
    event = facts.member(USER, USER, "join", **{AUTHORISER: ADMIN})
    assert facts.refusal(event, join_authoriser_signed=True) is None


class TestJoin:
    """`membership` is `join`."""

    def first_join(self, facts: Facts, sender: str, target: str, *prev_events: str) -> Any:
        return facts.event(
            "m.room.member", sender, {"membership": "join"}, state_key=target, prev_events=list(prev_events)
        )

    def test_the_creator_after_the_create_event(self, version: RoomVersion) -> None:
        facts = Facts(version)
        create = facts.create.event_id
        assert facts.refusal(self.first_join(facts, CREATOR, CREATOR, create)) is None

    @pytest.mark.parametrize("more", [(), ("$other",)], ids=["no prev event", "two prev events"])
    def test_the_creator_after_anything_else(self, version: RoomVersion, more: tuple[str, ...]) -> None:
        facts = Facts(version)
        prev_events = (facts.create.event_id, *more) if more else ("$other",)
        event = self.first_join(facts, CREATOR, CREATOR, *prev_events)
        assert facts.refusal(event) == number(Rule.JOIN_OTHERWISE, version)

    def test_others_after_the_create_event(self, version: RoomVersion) -> None:
        facts = Facts(version)
        event = self.first_join(facts, USER, USER, facts.create.event_id)
        assert facts.refusal(event) == number(Rule.JOIN_OTHERWISE, version)

    @pytest.mark.parametrize("creator", [USER, "nobody", 5, None])
    def test_the_creator_whom_the_create_event_names(self, version: RoomVersion, creator: Any) -> None:
        """In versions 1 to 10 the creator is `content.creator`, whoever sent the event."""
        facts = Facts(version, create={"creator": creator})
        create = facts.create.event_id
        refused = number(Rule.JOIN_OTHERWISE, version)
        by_sender = facts.refusal(self.first_join(facts, CREATOR, CREATOR, create))
        named = facts.refusal(self.first_join(facts, USER, USER, create))
        if since(version, 11):
            assert (by_sender, named) == (None, refused)
        else:
            assert (by_sender, named) == (refused, None if creator == USER else refused)

    def test_an_additional_creator_is_not_the_sender_of_the_create_event(self, version: RoomVersion) -> None:
        facts = Facts(version, create={"additional_creators": [USER]})
        event = self.first_join(facts, USER, USER, facts.create.event_id)
        assert facts.refusal(event) == number(Rule.JOIN_OTHERWISE, version)

    def test_the_rule_asks_for_the_state_key_alone(self, version: RoomVersion) -> None:
        """The creator's first join comes before the check of the sender, as the text has it."""
        facts = Facts(version)
        event = self.first_join(facts, USER, CREATOR, facts.create.event_id)
        assert facts.refusal(event) is None

    @pytest.mark.parametrize("join_rule", ["public", "invite", "restricted"])
    def test_nobody_joins_for_another(self, version: RoomVersion, join_rule: str) -> None:
        facts = room(version, join_rule=join_rule, members={USER: "invite"})
        event = facts.member(ADMIN, USER, "join")
        assert facts.refusal(event) == number(Rule.JOIN_OTHER_USER, version)

    @pytest.mark.parametrize("join_rule", ["public", "invite", "knock", "restricted", "knock_restricted"])
    def test_the_banned(self, version: RoomVersion, join_rule: str) -> None:
        facts = room(version, join_rule=join_rule, members={USER: "ban"})
        event = facts.member(USER, USER, "join")
        assert facts.refusal(event) == number(Rule.JOIN_BANNED, version)

    @pytest.mark.parametrize(
        ("join_rule", "current", "rule"),
        [
            *[("public", current, None) for current in (None, "leave", "invite", "join", "knock")],
            *[
                (join_rule, current, None)
                for join_rule in ("invite", "knock", "restricted", "knock_restricted", None, {})
                for current in ("invite", "join")
            ],
            *[
                (join_rule, current, Rule.JOIN_OTHERWISE)
                for join_rule in ("invite", "knock", None, {})
                for current in (None, "leave", "knock")
            ],
            *[
                (join_rule, current, Rule.JOIN_AUTHORISER)
                for join_rule in ("restricted", "knock_restricted")
                for current in (None, "leave", "knock")
            ],
            *[
                (join_rule, current, Rule.JOIN_OTHERWISE)
                for join_rule in ("private", "other", "", {"join_rule": 5}, {"join_rule": ["public"]})
                for current in (None, "leave", "invite", "join", "knock")
            ],
        ],
    )
    def test_join_rules(
        self, version: RoomVersion, join_rule: Any, current: str | None, rule: Rule | None
    ) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, join_rule=join_rule, members=members)
        if isinstance(join_rule, str) and not since(version, JOIN_RULES.get(join_rule, 1)):
            rule = Rule.JOIN_OTHERWISE
        assert facts.refusal(facts.member(USER, USER, "join")) == number(rule, version)

    @pytest.mark.parametrize("join_rule", ["restricted", "knock_restricted"])
    @pytest.mark.parametrize(
        ("authoriser", "allowed"),
        [
            (ADMIN, True),
            (MODERATOR, True),
            (CREATOR, True),
            (OTHER, False),  # joined, below the invite level
            ("@left:a.example", False),
            ("@invited:a.example", False),
            ("@absent:a.example", False),
            (USER, False),
            (5, False),
            (None, False),
            ([ADMIN], False),
        ],
    )
    def test_restricted_joins(
        self, version: RoomVersion, join_rule: str, authoriser: Any, allowed: bool
    ) -> None:
        members = {OTHER: "join", "@left:a.example": "leave", "@invited:a.example": "invite"}
        facts = room(
            version,
            join_rule=join_rule,
            levels={"invite": 50},
            users={**LEVELS, "@left:a.example": 100, "@invited:a.example": 100, "@absent:a.example": 100},
            members=members,
        )
        event = facts.member(USER, USER, "join", **{AUTHORISER: authoriser})
        rule = None if allowed else Rule.JOIN_AUTHORISER
        if not since(version, JOIN_RULES[join_rule]):
            rule = Rule.JOIN_OTHERWISE
        assert facts.refusal(event, join_authoriser_signed=True) == number(rule, version)


class TestInvite:
    """`membership` is `invite`; by a third-party identifier in test_third_party_invite."""

    @pytest.mark.parametrize("current", [None, "leave", "invite", "knock", "ban"])
    def test_the_sender_must_be_joined(self, version: RoomVersion, current: str | None) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, members=members)
        event = facts.member(USER, OTHER, "invite")
        assert facts.refusal(event) == number(Rule.INVITE_SENDER_NOT_JOINED, version)

    @pytest.mark.parametrize("current", ["join", "ban"])
    def test_the_target_must_be_neither_joined_nor_banned(self, version: RoomVersion, current: str) -> None:
        facts = room(version, members={USER: current})
        event = facts.member(ADMIN, USER, "invite")
        assert facts.refusal(event) == number(Rule.INVITE_TARGET_JOINED_OR_BANNED, version)

    @pytest.mark.parametrize("current", [None, "leave", "invite", "knock"])
    def test_others_may_be_invited(self, version: RoomVersion, current: str | None) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, members=members)
        assert facts.refusal(facts.member(ADMIN, USER, "invite")) is None

    @pytest.mark.parametrize(
        ("sender", "levels", "allowed"),
        [
            (OTHER, {}, True),  # the invite level is 0 by default
            (OTHER, {"invite": 0}, True),
            (OTHER, {"invite": 1}, False),
            (OTHER, {"invite": 1, "users_default": 1}, True),
            (MODERATOR, {"invite": 50}, True),
            (MODERATOR, {"invite": 51}, False),
            (CREATOR, {"invite": 100}, True),
        ],
    )
    def test_the_invite_level(
        self, version: RoomVersion, sender: str, levels: dict[str, int], allowed: bool
    ) -> None:
        facts = room(version, levels=levels, members={OTHER: "join"})
        expected = None if allowed else number(Rule.INVITE_OTHERWISE, version)
        assert facts.refusal(facts.member(sender, USER, "invite")) == expected

    def test_creators_stand_above_the_invite_level(self, version: RoomVersion) -> None:
        facts = room(version, levels={"invite": 1000})
        expected = None if since(version, 12) else number(Rule.INVITE_OTHERWISE, version)
        assert facts.refusal(facts.member(CREATOR, USER, "invite")) == expected


class TestLeave:
    """`membership` is `leave`."""

    @pytest.mark.parametrize(
        ("current", "rule"),
        [
            ("invite", None),
            ("join", None),
            ("knock", None),
            (None, Rule.LEAVE_NOT_IN_ROOM),
            ("leave", Rule.LEAVE_NOT_IN_ROOM),
            ("ban", Rule.LEAVE_NOT_IN_ROOM),
        ],
    )
    def test_oneself(self, version: RoomVersion, current: str | None, rule: Rule | None) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, members=members)
        if current == "knock" and not since(version, 7):
            rule = Rule.LEAVE_NOT_IN_ROOM
        assert facts.refusal(facts.member(USER, USER, "leave")) == number(rule, version)

    @pytest.mark.parametrize("current", [None, "leave", "invite", "knock", "ban"])
    def test_who_is_not_joined_cannot_kick(self, version: RoomVersion, current: str | None) -> None:
        members = {} if current is None else {OTHER: current}
        facts = room(version, users={**LEVELS, OTHER: 100}, members={**members, USER: "join"})
        event = facts.member(OTHER, USER, "leave")
        assert facts.refusal(event) == number(Rule.LEAVE_SENDER_NOT_JOINED, version)

    @pytest.mark.parametrize(
        ("sender", "target", "current", "levels", "rule"),
        [
            (MODERATOR, USER, "join", {}, None),  # the kick level is 50 by default
            (MODERATOR, USER, "invite", {}, None),
            (MODERATOR, USER, "knock", {}, None),
            (MODERATOR, USER, "leave", {}, None),
            (MODERATOR, USER, None, {}, None),
            (MODERATOR, USER, "join", {"kick": 51}, Rule.LEAVE_OTHERWISE),
            (ADMIN, USER, "join", {"kick": 100}, None),
            (OTHER, USER, "join", {}, Rule.LEAVE_OTHERWISE),
            (OTHER, USER, "join", {"kick": 0}, Rule.LEAVE_OTHERWISE),  # of the same level
            (OTHER, USER, "join", {"kick": 0, "users_default": -1}, Rule.LEAVE_OTHERWISE),
            (MODERATOR, ADMIN, "join", {}, Rule.LEAVE_OTHERWISE),
            (ADMIN, ADMIN + "x", "join", {"users_default": 100}, Rule.LEAVE_OTHERWISE),
            (ADMIN, CREATOR, "join", {}, Rule.LEAVE_OTHERWISE),
            # Ending a ban takes the ban level and the kick level.
            (MODERATOR, USER, "ban", {}, None),
            (MODERATOR, USER, "ban", {"ban": 51}, Rule.LEAVE_TARGET_BANNED),
            (MODERATOR, USER, "ban", {"ban": 50, "kick": 51}, Rule.LEAVE_OTHERWISE),
            (MODERATOR, ADMIN, "ban", {}, Rule.LEAVE_OTHERWISE),
        ],
    )
    def test_others(
        self,
        version: RoomVersion,
        sender: str,
        target: str,
        current: str | None,
        levels: dict[str, int],
        rule: Rule | None,
    ) -> None:
        members = {OTHER: "join", **({} if current is None else {target: current})}
        facts = room(version, levels=levels, members=members)
        assert facts.refusal(facts.member(sender, target, "leave")) == number(rule, version)

    def test_between_creators(self, version: RoomVersion) -> None:
        """Levels that are equal, infinite ones too, kick nobody."""
        facts = room(version, create={"additional_creators": [OTHER]}, members={OTHER: "join"})
        event = facts.member(CREATOR, OTHER, "leave")
        refused = number(Rule.LEAVE_OTHERWISE, version)
        assert facts.refusal(event) == (refused if since(version, 12) else None)
        kick = facts.member(OTHER, ADMIN, "leave")
        assert facts.refusal(kick) == (None if since(version, 12) else refused)


class TestBan:
    """`membership` is `ban`."""

    @pytest.mark.parametrize("current", [None, "leave", "invite", "knock", "ban"])
    def test_the_sender_must_be_joined(self, version: RoomVersion, current: str | None) -> None:
        members = {} if current is None else {OTHER: current}
        facts = room(version, users={**LEVELS, OTHER: 100}, members=members)
        event = facts.member(OTHER, USER, "ban")
        assert facts.refusal(event) == number(Rule.BAN_SENDER_NOT_JOINED, version)

    @pytest.mark.parametrize(
        ("sender", "target", "current", "levels", "allowed"),
        [
            *[(MODERATOR, USER, current, {}, True) for current in (None, "join", "invite", "leave", "ban")],
            (MODERATOR, USER, "join", {"ban": 51}, False),
            (ADMIN, USER, "join", {"ban": 100}, True),
            (MODERATOR, USER, "join", {"ban": 50, "kick": 100}, True),
            (OTHER, USER, "join", {}, False),
            (OTHER, USER, "join", {"ban": 0}, False),
            (MODERATOR, MODERATOR, "join", {}, False),
            (MODERATOR, ADMIN, "join", {}, False),
            (ADMIN, CREATOR, "join", {}, False),
        ],
    )
    def test_levels(
        self,
        version: RoomVersion,
        sender: str,
        target: str,
        current: str | None,
        levels: dict[str, int],
        allowed: bool,
    ) -> None:
        members = {OTHER: "join", **({} if current is None else {target: current})}
        facts = room(version, levels=levels, members=members)
        expected = None if allowed else number(Rule.BAN_OTHERWISE, version)
        assert facts.refusal(facts.member(sender, target, "ban")) == expected


class TestKnock:
    """`membership` is `knock`."""

    def number(self, rule: Rule | None, version: RoomVersion, join_rule: str = "knock") -> str | None:
        """What becomes of a knock where the join rule may be one that the version does not know."""
        if not since(version, 7):
            return number(Rule.MEMBER_UNKNOWN, version)
        return number(rule if since(version, JOIN_RULES[join_rule]) else Rule.KNOCK_JOIN_RULE, version)

    @pytest.mark.parametrize(
        "join_rule", [None, {}, "public", "invite", "restricted", "private", {"join_rule": 5}]
    )
    def test_rooms_without_knocking(self, version: RoomVersion, join_rule: Any) -> None:
        facts = room(version, join_rule=join_rule)
        event = facts.member(USER, USER, "knock")
        assert facts.refusal(event) == self.number(Rule.KNOCK_JOIN_RULE, version)

    @pytest.mark.parametrize("join_rule", ["knock", "knock_restricted"])
    def test_nobody_knocks_for_another(self, version: RoomVersion, join_rule: str) -> None:
        facts = room(version, join_rule=join_rule)
        event = facts.member(ADMIN, USER, "knock")
        assert facts.refusal(event) == self.number(Rule.KNOCK_OTHER_USER, version, join_rule)

    @pytest.mark.parametrize("join_rule", ["knock", "knock_restricted"])
    @pytest.mark.parametrize(
        ("current", "rule"),
        [
            (None, None),
            ("leave", None),
            ("knock", None),
            ("ban", Rule.KNOCK_OTHERWISE),
            ("invite", Rule.KNOCK_OTHERWISE),
            ("join", Rule.KNOCK_OTHERWISE),
        ],
    )
    def test_memberships(
        self, version: RoomVersion, join_rule: str, current: str | None, rule: Rule | None
    ) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, join_rule=join_rule, members=members)
        assert facts.refusal(facts.member(USER, USER, "knock")) == self.number(rule, version, join_rule)
