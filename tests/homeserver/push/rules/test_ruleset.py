# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from homeserver.push.rules.ruleset import Change, Kind, Rule, UserRules

ALICE = "@alice:example.org"

OVERRIDES = [
    ".m.rule.master",
    ".m.rule.suppress_notices",
    ".m.rule.invite_for_me",
    ".m.rule.member_event",
    ".m.rule.is_user_mention",
    ".m.rule.is_room_mention",
    ".m.rule.tombstone",
    ".m.rule.reaction",
    ".m.rule.room.server_acl",
    ".m.rule.suppress_edits",
]
UNDERRIDES = [
    ".m.rule.call",
    ".m.rule.encrypted_room_one_to_one",
    ".m.rule.room_one_to_one",
    ".m.rule.message",
    ".m.rule.encrypted",
]

OWN = UserRules(
    override=(
        Rule("a", ("notify",), conditions=({"kind": "of.tomorrow", "x": [1]},)),
        Rule("b", (), enabled=False),
    ),
    content=(Rule("cake", ("notify", {"set_tweak": "sound", "value": "cakealarm.wav"}), pattern="cake"),),
    room=(Rule("!room:example.org", ()),),
    sender=(Rule("@spambot:example.org", ()),),
    underride=(Rule("u", ("notify",)),),
    changes={".m.rule.master": Change(enabled=True), ".m.rule.call": Change(actions=())},
)


def test_the_default_rules() -> None:
    rules = UserRules().json(ALICE)

    assert [rule["rule_id"] for rule in rules["override"]] == OVERRIDES
    assert [rule["rule_id"] for rule in rules["underride"]] == UNDERRIDES
    assert rules["content"] == rules["room"] == rules["sender"] == []
    assert [r["rule_id"] for r in rules["override"] if not r["enabled"]] == [".m.rule.master"]
    assert all(rule["default"] for kind in rules.values() for rule in kind)
    by_id = {rule["rule_id"]: rule for kind in rules.values() for rule in kind}
    assert by_id[".m.rule.invite_for_me"]["conditions"][2] == {
        "kind": "event_match",
        "key": "state_key",
        "pattern": ALICE,
    }
    assert by_id[".m.rule.is_user_mention"] == {
        "rule_id": ".m.rule.is_user_mention",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "event_property_contains", "key": "content.m\\.mentions.user_ids", "value": ALICE}
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight"}],
    }


def test_own_rules_stand_between_the_master_rule_and_the_other_defaults() -> None:
    rules = OWN.json(ALICE)

    assert [r["rule_id"] for r in rules["override"]] == [OVERRIDES[0], "a", "b", *OVERRIDES[1:]]
    assert [r["rule_id"] for r in rules["underride"]] == ["u", *UNDERRIDES]


def test_rules_as_the_api_shows_them() -> None:
    rules = OWN.json(ALICE)

    assert rules["override"][1] == {
        "rule_id": "a",
        "default": False,
        "enabled": True,
        "actions": ["notify"],
        "conditions": [{"kind": "of.tomorrow", "x": [1]}],
    }
    assert rules["content"] == [
        {
            "rule_id": "cake",
            "default": False,
            "enabled": True,
            "actions": ["notify", {"set_tweak": "sound", "value": "cakealarm.wav"}],
            "pattern": "cake",
        }
    ]
    assert rules["room"] == [
        {"rule_id": "!room:example.org", "default": False, "enabled": True, "actions": []}
    ]


def test_changes_of_default_rules_show() -> None:
    rules = OWN.json(ALICE)

    assert rules["override"][0]["enabled"] is True
    assert rules["underride"][1]["actions"] == []
    assert UserRules().json(ALICE)["override"][0]["enabled"] is False


def test_encoded_and_decoded() -> None:
    assert UserRules.decode(OWN.encode()) == OWN
    assert UserRules.decode(b"{}") == UserRules()


def test_equal_rules_are_equal_bytes() -> None:
    one = UserRules(changes={"a": Change(enabled=True), "b": Change(enabled=False)})
    other = UserRules(changes={"b": Change(enabled=False), "a": Change(enabled=True)})

    assert one.encode() == other.encode() != UserRules().encode()


def test_foreign_json_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        UserRules.decode(b'{"override": [{"rule_id": 5}]}')


def test_kinds_in_the_order_in_which_they_are_tried() -> None:
    assert [kind.value for kind in Kind] == ["override", "content", "room", "sender", "underride"]
