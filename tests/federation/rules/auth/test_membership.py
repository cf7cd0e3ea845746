# SPDX-License-Identifier: Apache-2.0
"""`m.room.member`, branch by branch. spec: rooms, version 11, rule 4; version 12, rule 5."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.rules.room_versions import RoomVersion
from tests.support.judging import (
    ADMIN,
    CREATOR,
    LEVELS,
    MODERATOR,
    OTHER,
    USER,
    VERSIONS,
    Facts,
    number,
)

Numbers = tuple[str, str] | None

AUTHORISER = "join_authorised_via_users_server"
JOINED = {CREATOR: "join", ADMIN: "join", MODERATOR: "join"}

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)


def room(version: RoomVersion, **facts: Any) -> Facts:
    return Facts(version, **{"users": LEVELS, **facts, "members": {**JOINED, **facts.get("members", {})}})


@pytest.mark.parametrize("membership", ["join", "invite", "leave", "ban", "knock", "other"])
def test_a_member_event_needs_a_state_key(version: RoomVersion, membership: str) -> None:
    facts = room(version, join_rule="public")
    assert facts.refusal(facts.member(USER, None, membership)) == number(("4.1", "5.1"), version)


def test_a_member_event_needs_a_membership(version: RoomVersion) -> None:
    facts = room(version, join_rule="public")
    event = facts.event("m.room.member", USER, {}, state_key=USER)
    assert facts.refusal(event) == number(("4.1", "5.1"), version)


@pytest.mark.parametrize("membership", ["", "joined", "JOIN", None, 5, [], {}, "org.example.other"])
def test_unknown_memberships(version: RoomVersion, membership: Any) -> None:
    facts = room(version, join_rule="public", members={USER: "join"})
    assert facts.refusal(facts.member(USER, USER, membership)) == number(("4.8", "5.8"), version)


@pytest.mark.parametrize("membership", ["join", "invite", "leave", "ban", "knock", "other"])
@pytest.mark.parametrize("authoriser", [ADMIN, "nobody", 5, None])
def test_who_authorises_must_have_signed(version: RoomVersion, membership: str, authoriser: Any) -> None:
    facts = room(version, join_rule="public", members={USER: "join"})
    event = facts.member(USER, USER, membership, **{AUTHORISER: authoriser})
    assert facts.refusal(event) == number(("4.2.1", "5.2.1"), version)


def test_a_signed_authorisation_does_not_matter_in_a_public_room(version: RoomVersion) -> None:
    facts = room(version, join_rule="public")
    event = facts.member(USER, USER, "join", **{AUTHORISER: ADMIN})
    assert facts.refusal(event, join_authoriser_signed=True) is None


def test_versions_without_restricted_joins_take_the_key_for_nothing(version: RoomVersion) -> None:
    older = attrs.evolve(version, restricted=False)
    facts = room(older, join_rule="public")
    assert facts.refusal(facts.member(USER, USER, "join", **{AUTHORISER: ADMIN})) is None


class TestJoin:
    """4.3, 5.3."""

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
        assert facts.refusal(event) == number(("4.3.7", "5.3.7"), version)

    def test_others_after_the_create_event(self, version: RoomVersion) -> None:
        facts = Facts(version)
        event = self.first_join(facts, USER, USER, facts.create.event_id)
        assert facts.refusal(event) == number(("4.3.7", "5.3.7"), version)

    def test_an_additional_creator_is_not_the_sender_of_the_create_event(self, version: RoomVersion) -> None:
        facts = Facts(version, create={"additional_creators": [USER]})
        event = self.first_join(facts, USER, USER, facts.create.event_id)
        assert facts.refusal(event) == number(("4.3.7", "5.3.7"), version)

    def test_the_rule_asks_for_the_state_key_alone(self, version: RoomVersion) -> None:
        """4.3.1 comes before 4.3.2, as the text has it."""
        facts = Facts(version)
        event = self.first_join(facts, USER, CREATOR, facts.create.event_id)
        assert facts.refusal(event) is None

    @pytest.mark.parametrize("join_rule", ["public", "invite", "restricted"])
    def test_nobody_joins_for_another(self, version: RoomVersion, join_rule: str) -> None:
        facts = room(version, join_rule=join_rule, members={USER: "invite"})
        event = facts.member(ADMIN, USER, "join")
        assert facts.refusal(event) == number(("4.3.2", "5.3.2"), version)

    @pytest.mark.parametrize("join_rule", ["public", "invite", "knock", "restricted", "knock_restricted"])
    def test_the_banned(self, version: RoomVersion, join_rule: str) -> None:
        facts = room(version, join_rule=join_rule, members={USER: "ban"})
        event = facts.member(USER, USER, "join")
        assert facts.refusal(event) == number(("4.3.3", "5.3.3"), version)

    @pytest.mark.parametrize(
        ("join_rule", "current", "rules"),
        [
            *[("public", current, None) for current in (None, "leave", "invite", "join", "knock")],
            *[
                (join_rule, current, None)
                for join_rule in ("invite", "knock", "restricted", "knock_restricted", None, {})
                for current in ("invite", "join")
            ],
            *[
                (join_rule, current, ("4.3.7", "5.3.7"))
                for join_rule in ("invite", "knock", None, {})
                for current in (None, "leave", "knock")
            ],
            *[
                (join_rule, current, ("4.3.5.2", "5.3.5.2"))
                for join_rule in ("restricted", "knock_restricted")
                for current in (None, "leave", "knock")
            ],
            *[
                (join_rule, current, ("4.3.7", "5.3.7"))
                for join_rule in ("private", "other", "", {"join_rule": 5}, {"join_rule": ["public"]})
                for current in (None, "leave", "invite", "join", "knock")
            ],
        ],
    )
    def test_join_rules(
        self, version: RoomVersion, join_rule: Any, current: str | None, rules: Numbers
    ) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, join_rule=join_rule, members=members)
        assert facts.refusal(facts.member(USER, USER, "join")) == number(rules, version)

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
        expected = None if allowed else number(("4.3.5.2", "5.3.5.2"), version)
        assert facts.refusal(event, join_authoriser_signed=True) == expected

    @pytest.mark.parametrize(("switch", "rule"), [("restricted", "restricted"), ("knock", "knock")])
    def test_versions_that_lack_a_join_rule(self, version: RoomVersion, switch: str, rule: str) -> None:
        older = attrs.evolve(version, **{switch: False, "knock_restricted": False})
        for join_rule in (rule, "knock_restricted"):
            facts = room(older, join_rule=join_rule, members={USER: "invite"})
            event = facts.member(USER, USER, "join")
            assert facts.refusal(event) == {"11": "4.3.7", "12": "5.3.7"}[version.identifier]


class TestInvite:
    """4.4, 5.4; by a third-party identifier in test_third_party_invite."""

    @pytest.mark.parametrize("current", [None, "leave", "invite", "knock", "ban"])
    def test_the_sender_must_be_joined(self, version: RoomVersion, current: str | None) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, members=members)
        event = facts.member(USER, OTHER, "invite")
        assert facts.refusal(event) == number(("4.4.2", "5.4.2"), version)

    @pytest.mark.parametrize("current", ["join", "ban"])
    def test_the_target_must_be_neither_joined_nor_banned(self, version: RoomVersion, current: str) -> None:
        facts = room(version, members={USER: current})
        event = facts.member(ADMIN, USER, "invite")
        assert facts.refusal(event) == number(("4.4.3", "5.4.3"), version)

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
        expected = None if allowed else number(("4.4.5", "5.4.5"), version)
        assert facts.refusal(facts.member(sender, USER, "invite")) == expected

    def test_creators_stand_above_the_invite_level(self, version: RoomVersion) -> None:
        facts = room(version, levels={"invite": 1000})
        expected = {"11": "4.4.5", "12": None}[version.identifier]
        assert facts.refusal(facts.member(CREATOR, USER, "invite")) == expected


class TestLeave:
    """4.5, 5.5."""

    @pytest.mark.parametrize(
        ("current", "rules"),
        [
            ("invite", None),
            ("join", None),
            ("knock", None),
            (None, ("4.5.1", "5.5.1")),
            ("leave", ("4.5.1", "5.5.1")),
            ("ban", ("4.5.1", "5.5.1")),
        ],
    )
    def test_oneself(self, version: RoomVersion, current: str | None, rules: Numbers) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, members=members)
        assert facts.refusal(facts.member(USER, USER, "leave")) == number(rules, version)

    def test_versions_without_knocking(self, version: RoomVersion) -> None:
        older = attrs.evolve(version, knock=False)
        facts = room(older, members={USER: "knock"})
        expected = {"11": "4.5.1", "12": "5.5.1"}[version.identifier]
        assert facts.refusal(facts.member(USER, USER, "leave")) == expected

    @pytest.mark.parametrize("current", [None, "leave", "invite", "knock", "ban"])
    def test_who_is_not_joined_cannot_kick(self, version: RoomVersion, current: str | None) -> None:
        members = {} if current is None else {OTHER: current}
        facts = room(version, users={**LEVELS, OTHER: 100}, members={**members, USER: "join"})
        event = facts.member(OTHER, USER, "leave")
        assert facts.refusal(event) == number(("4.5.2", "5.5.2"), version)

    @pytest.mark.parametrize(
        ("sender", "target", "current", "levels", "rules"),
        [
            (MODERATOR, USER, "join", {}, None),  # the kick level is 50 by default
            (MODERATOR, USER, "invite", {}, None),
            (MODERATOR, USER, "knock", {}, None),
            (MODERATOR, USER, "leave", {}, None),
            (MODERATOR, USER, None, {}, None),
            (MODERATOR, USER, "join", {"kick": 51}, ("4.5.5", "5.5.5")),
            (ADMIN, USER, "join", {"kick": 100}, None),
            (OTHER, USER, "join", {}, ("4.5.5", "5.5.5")),
            (OTHER, USER, "join", {"kick": 0}, ("4.5.5", "5.5.5")),  # of the same level
            (OTHER, USER, "join", {"kick": 0, "users_default": -1}, ("4.5.5", "5.5.5")),
            (MODERATOR, ADMIN, "join", {}, ("4.5.5", "5.5.5")),
            (ADMIN, ADMIN + "x", "join", {"users_default": 100}, ("4.5.5", "5.5.5")),
            (ADMIN, CREATOR, "join", {}, ("4.5.5", "5.5.5")),
            # Ending a ban takes the ban level and the kick level.
            (MODERATOR, USER, "ban", {}, None),
            (MODERATOR, USER, "ban", {"ban": 51}, ("4.5.3", "5.5.3")),
            (MODERATOR, USER, "ban", {"ban": 50, "kick": 51}, ("4.5.5", "5.5.5")),
            (MODERATOR, ADMIN, "ban", {}, ("4.5.5", "5.5.5")),
        ],
    )
    def test_others(
        self,
        version: RoomVersion,
        sender: str,
        target: str,
        current: str | None,
        levels: dict[str, int],
        rules: Numbers,
    ) -> None:
        members = {OTHER: "join", **({} if current is None else {target: current})}
        facts = room(version, levels=levels, members=members)
        assert facts.refusal(facts.member(sender, target, "leave")) == number(rules, version)

    def test_between_creators(self, version: RoomVersion) -> None:
        """Levels that are equal, infinite ones too, kick nobody."""
        facts = room(version, create={"additional_creators": [OTHER]}, members={OTHER: "join"})
        event = facts.member(CREATOR, OTHER, "leave")
        assert facts.refusal(event) == {"11": None, "12": "5.5.5"}[version.identifier]
        assert (
            facts.refusal(facts.member(OTHER, ADMIN, "leave"))
            == {"11": "4.5.5", "12": None}[version.identifier]
        )


class TestBan:
    """4.6, 5.6."""

    @pytest.mark.parametrize("current", [None, "leave", "invite", "knock", "ban"])
    def test_the_sender_must_be_joined(self, version: RoomVersion, current: str | None) -> None:
        members = {} if current is None else {OTHER: current}
        facts = room(version, users={**LEVELS, OTHER: 100}, members=members)
        event = facts.member(OTHER, USER, "ban")
        assert facts.refusal(event) == number(("4.6.1", "5.6.1"), version)

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
        expected = None if allowed else number(("4.6.3", "5.6.3"), version)
        assert facts.refusal(facts.member(sender, target, "ban")) == expected


class TestKnock:
    """4.7, 5.7."""

    @pytest.mark.parametrize(
        "join_rule", [None, {}, "public", "invite", "restricted", "private", {"join_rule": 5}]
    )
    def test_rooms_without_knocking(self, version: RoomVersion, join_rule: Any) -> None:
        facts = room(version, join_rule=join_rule)
        event = facts.member(USER, USER, "knock")
        assert facts.refusal(event) == number(("4.7.1", "5.7.1"), version)

    @pytest.mark.parametrize("join_rule", ["knock", "knock_restricted"])
    def test_nobody_knocks_for_another(self, version: RoomVersion, join_rule: str) -> None:
        facts = room(version, join_rule=join_rule)
        event = facts.member(ADMIN, USER, "knock")
        assert facts.refusal(event) == number(("4.7.2", "5.7.2"), version)

    @pytest.mark.parametrize("join_rule", ["knock", "knock_restricted"])
    @pytest.mark.parametrize(
        ("current", "rules"),
        [
            (None, None),
            ("leave", None),
            ("knock", None),
            ("ban", ("4.7.4", "5.7.4")),
            ("invite", ("4.7.4", "5.7.4")),
            ("join", ("4.7.4", "5.7.4")),
        ],
    )
    def test_memberships(
        self, version: RoomVersion, join_rule: str, current: str | None, rules: Numbers
    ) -> None:
        members = {} if current is None else {USER: current}
        facts = room(version, join_rule=join_rule, members=members)
        assert facts.refusal(facts.member(USER, USER, "knock")) == number(rules, version)

    def test_versions_without_knocking(self, version: RoomVersion) -> None:
        older = attrs.evolve(version, knock=False, knock_restricted=False)
        facts = room(older, join_rule="knock")
        expected = {"11": "4.8", "12": "5.8"}[version.identifier]
        assert facts.refusal(facts.member(USER, USER, "knock")) == expected
