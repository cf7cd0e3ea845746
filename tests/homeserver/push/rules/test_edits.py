# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from federation.errors import InvalidParam, MatrixError, MissingParam, NotFound, TooLarge, Unknown
from homeserver.push.rules.edits import (
    MAX_CONDITIONS,
    MAX_RULES,
    delete_rule,
    find_rule,
    put_rule,
    read_kind,
    set_actions,
    set_enabled,
)
from homeserver.push.rules.ruleset import Change, Kind, Rule, UserRules

NOTIFY = ["notify"]
HIGHLIGHT = ["notify", {"set_tweak": "highlight"}]


def with_rules(*rule_ids: str, kind: Kind = Kind.OVERRIDE) -> UserRules:
    """Rules of these ids, the first one the most important."""
    rules = UserRules()
    for rule_id in reversed(rule_ids):
        rules = put_rule(rules, kind, rule_id, actions=NOTIFY)
    return rules


def ids(rules: UserRules, kind: Kind = Kind.OVERRIDE) -> str:
    return " ".join(rule.rule_id for rule in rules.of_kind(kind))


@pytest.mark.parametrize(
    ("rule_id", "place", "order"),
    [
        ("x", {}, "x a b c"),
        ("x", {"before": "b"}, "a x b c"),
        ("x", {"after": "b"}, "a b x c"),
        ("x", {"after": "c"}, "a b c x"),
        ("x", {"before": "c", "after": "a"}, "a b x c"),
        ("b", {}, "a b c"),
        ("a", {"after": "c"}, "b c a"),
        ("c", {"before": "a"}, "c a b"),
        ("b", {"after": "a"}, "a b c"),
    ],
)
def test_where_a_rule_is_put(rule_id: str, place: dict[str, str], order: str) -> None:
    rules = put_rule(with_rules("a", "b", "c"), Kind.OVERRIDE, rule_id, actions=NOTIFY, **place)

    assert ids(rules) == order


@pytest.mark.parametrize(
    "place", [{"before": "x"}, {"after": "x"}, {"before": ".m.rule.master"}, {"before": "b"}]
)
def test_neighbours_must_be_other_rules_of_the_users_own(place: dict[str, str]) -> None:
    with pytest.raises(Unknown, match="before/after rule not found"):
        put_rule(with_rules("a", "b"), Kind.OVERRIDE, "b", actions=NOTIFY, **place)


def test_kinds_have_ids_of_their_own() -> None:
    rules = put_rule(with_rules("a"), Kind.UNDERRIDE, "a", actions=NOTIFY)

    assert (ids(rules), ids(rules, Kind.UNDERRIDE)) == ("a", "a")


def test_a_changed_rule_keeps_being_disabled_and_a_new_one_is_enabled() -> None:
    rules = set_enabled(with_rules("a"), Kind.OVERRIDE, "a", False)

    rules = put_rule(rules, Kind.OVERRIDE, "a", actions=HIGHLIGHT, conditions=[{"kind": "of.tomorrow"}])
    rules = put_rule(rules, Kind.OVERRIDE, "b", actions=NOTIFY)

    assert [(r.rule_id, r.enabled) for r in rules.override] == [("b", True), ("a", False)]
    assert rules.override[1].actions == tuple(HIGHLIGHT)
    assert rules.override[1].conditions == ({"kind": "of.tomorrow"},)


def test_members_of_other_kinds_are_left_out() -> None:
    conditions = [{"kind": "room_member_count", "is": "2"}]
    rules = UserRules()
    for kind in Kind:
        rules = put_rule(rules, kind, "a", actions=NOTIFY, conditions=conditions, pattern="tea")

    assert [(len(rules.of_kind(k)[0].conditions), rules.of_kind(k)[0].pattern) for k in Kind] == [
        (1, None),
        (0, "tea"),
        (0, None),
        (0, None),
        (1, None),
    ]


@pytest.mark.parametrize(
    ("members", "error", "names"),
    [
        ({"rule_id": ".m.rule.mine"}, InvalidParam, "ruleId"),
        ({"rule_id": ""}, InvalidParam, "ruleId"),
        ({"rule_id": "a/b"}, InvalidParam, "ruleId"),
        ({"rule_id": "a\\b"}, InvalidParam, "ruleId"),
        ({"rule_id": "a\0b"}, InvalidParam, "ruleId"),
        ({"rule_id": "a" * 513}, InvalidParam, "ruleId"),
        ({"actions": ["of.tomorrow"]}, InvalidParam, r"actions\[0\]"),
        ({"actions": ["notify", 5]}, InvalidParam, r"actions\[1\]"),
        ({"actions": [{"set_tweak": None}]}, InvalidParam, r"actions\[0\]"),
        ({"conditions": ["room_member_count"]}, InvalidParam, r"conditions\[0\]"),
        ({"conditions": [{"kind": 5}]}, InvalidParam, r"conditions\[0\]"),
        ({"kind": Kind.CONTENT}, MissingParam, "pattern"),
        ({"actions": [{"set_tweak": "sound", "value": "a" * 20_000}]}, TooLarge, "16384 bytes"),
        ({"kind": Kind.CONTENT, "pattern": "a" * 8193}, TooLarge, "patterns"),
        ({"kind": Kind.CONTENT, "pattern": "?" * 513}, TooLarge, "patterns"),
        (
            {"conditions": [{"kind": "event_match", "key": "sender", "pattern": "*" + "a" * 8193 + "*"}]},
            TooLarge,
            "patterns",
        ),
        (
            {"conditions": [{"kind": "event_match", "key": "content.body", "pattern": "a" * 8193}]},
            TooLarge,
            "patterns",
        ),
    ],
)
def test_what_is_refused(members: dict[str, Any], error: type[MatrixError], names: str) -> None:
    arguments = {"kind": Kind.OVERRIDE, "rule_id": "a", "actions": NOTIFY, **members}

    with pytest.raises(error, match=names):
        put_rule(UserRules(), **arguments)


def test_the_number_of_rules_is_bounded() -> None:
    most = UserRules(room=tuple(Rule(f"!{number}:example.org", ()) for number in range(MAX_RULES)))

    with pytest.raises(TooLarge, match=f"{MAX_RULES} push rules"):
        put_rule(most, Kind.SENDER, "@spambot:example.org", actions=[])
    assert put_rule(most, Kind.ROOM, "!1:example.org", actions=NOTIFY).room[1].actions == ("notify",)


def test_the_number_of_conditions_is_bounded() -> None:
    condition = {"kind": "room_member_count", "is": "2"}
    most = UserRules(override=(Rule("a", (), conditions=(condition,) * MAX_CONDITIONS),))

    with pytest.raises(TooLarge, match=f"{MAX_CONDITIONS} conditions"):
        put_rule(most, Kind.UNDERRIDE, "b", actions=[], conditions=[condition])


def test_long_patterns_for_whole_values_are_no_burden() -> None:
    muted = [{"kind": "event_match", "key": "room_id", "pattern": "!" + "a" * 200}] * 50

    assert put_rule(UserRules(), Kind.OVERRIDE, "a", actions=[], conditions=muted).override


def test_historical_actions_are_stripped() -> None:
    rules = put_rule(UserRules(), Kind.ROOM, "a", actions=["dont_notify", "notify", "coalesce"])

    assert rules.room[0].actions == ("notify",)


def test_deleting() -> None:
    assert ids(delete_rule(with_rules("a", "b"), Kind.OVERRIDE, "a")) == "b"
    for kind, rule_id in ((Kind.OVERRIDE, "x"), (Kind.ROOM, "a"), (Kind.OVERRIDE, ".m.rule.master")):
        with pytest.raises(NotFound):
            delete_rule(with_rules("a"), kind, rule_id)


def test_own_rules_are_enabled_and_given_actions() -> None:
    rules = set_enabled(with_rules("a", "b"), Kind.OVERRIDE, "b", False)
    rules = set_actions(rules, Kind.OVERRIDE, "a", ["dont_notify"])

    assert [(r.rule_id, r.enabled, r.actions) for r in rules.override] == [
        ("a", True, ()),
        ("b", False, ("notify",)),
    ]


def test_default_rules_are_changed_and_undoing_it_leaves_nothing() -> None:
    rules = set_enabled(UserRules(), Kind.OVERRIDE, ".m.rule.master", True)
    rules = set_actions(rules, Kind.UNDERRIDE, ".m.rule.message", HIGHLIGHT)
    assert rules.changes == {
        ".m.rule.master": Change(enabled=True),
        ".m.rule.message": Change(actions=tuple(HIGHLIGHT)),
    }

    rules = set_enabled(rules, Kind.OVERRIDE, ".m.rule.master", False)
    rules = set_actions(rules, Kind.UNDERRIDE, ".m.rule.message", NOTIFY)
    assert rules == UserRules()


@pytest.mark.parametrize(
    ("kind", "rule_id"), [(Kind.UNDERRIDE, ".m.rule.master"), (Kind.ROOM, ".m.rule.call"), (Kind.ROOM, "x")]
)
def test_only_rules_that_exist_are_changed(kind: Kind, rule_id: str) -> None:
    with pytest.raises(NotFound):
        set_enabled(UserRules(), kind, rule_id, True)
    with pytest.raises(NotFound):
        set_actions(UserRules(), kind, rule_id, NOTIFY)
    with pytest.raises(NotFound):
        find_rule(UserRules(), kind, rule_id, "@alice:example.org")


def test_actions_are_checked_and_bounded() -> None:
    with pytest.raises(InvalidParam, match="actions"):
        set_actions(with_rules("a"), Kind.OVERRIDE, "a", ["of.tomorrow"])
    with pytest.raises(TooLarge):
        set_actions(with_rules("a"), Kind.OVERRIDE, "a", [{"set_tweak": "sound", "value": "a" * 20_000}])


def test_finding() -> None:
    rules = set_enabled(with_rules("a"), Kind.OVERRIDE, ".m.rule.master", True)

    assert find_rule(rules, Kind.OVERRIDE, ".m.rule.master", "@alice:example.org")["enabled"] is True
    assert find_rule(rules, Kind.OVERRIDE, "a", "@alice:example.org")["default"] is False


def test_kinds() -> None:
    assert read_kind("underride") is Kind.UNDERRIDE
    with pytest.raises(InvalidParam, match="kind"):
        read_kind("device")
