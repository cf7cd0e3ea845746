# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from homeserver.push.rules.actions import NOTHING, Actions, read_actions
from homeserver.push.rules.compiled import DEFAULT_RULES, compile_rules
from homeserver.push.rules.context import Owner, RoomContext
from homeserver.push.rules.evaluation import evaluate
from homeserver.push.rules.ruleset import Change, Rule, UserRules
from storage.event import Event
from tests.homeserver.push.rules.events import make_event, make_room

ALICE = Owner("@alice:example.org", "Alice")
ROOM = make_room()
SILENCE = (False, False, None)
NOTIFIES = (True, False, None)
RINGS = (True, False, "default")
HIGHLIGHTS = (True, True, None)
MENTIONED = (True, True, "default")


def outcome(actions: Actions) -> tuple[bool, bool, str | None]:
    return actions.notify, actions.highlight, actions.sound


def message(**content: Any) -> Event:
    return make_event(content={"msgtype": "m.text", "body": "hello", **content})


def member(membership: str, state_key: str) -> Event:
    return make_event("m.room.member", {"membership": membership}, state_key=state_key)


@pytest.mark.parametrize(
    ("event", "room", "expected"),
    [
        (message(), ROOM, NOTIFIES),
        (message(), make_room(member_count=2), RINGS),
        (message(msgtype="m.notice"), ROOM, SILENCE),
        (message(body="Alice, alice"), ROOM, NOTIFIES),
        (message(body="@room"), make_room(sender_level=100), NOTIFIES),
        (make_event("m.room.encrypted"), ROOM, NOTIFIES),
        (make_event("m.room.encrypted"), make_room(member_count=2), RINGS),
        (make_event("m.call.invite"), ROOM, (True, False, "ring")),
        (make_event("m.sticker"), ROOM, SILENCE),
        (make_event("m.reaction"), make_room(member_count=2), SILENCE),
        (member("invite", "@alice:example.org"), ROOM, RINGS),
        (member("invite", "@bob:example.org"), ROOM, SILENCE),
        (member("join", "@alice:example.org"), ROOM, SILENCE),
        (
            message(**{"m.mentions": {"user_ids": ["@bob:example.org", "@alice:example.org"]}}),
            ROOM,
            MENTIONED,
        ),
        (message(**{"m.mentions": {"user_ids": ["@ALICE:example.org"]}}), ROOM, NOTIFIES),
        (message(**{"m.mentions": {"user_ids": "@alice:example.org"}}), ROOM, NOTIFIES),
        (message(**{"m.mentions": ["@alice:example.org"]}), ROOM, NOTIFIES),
        (make_event("m.reaction", {"m.mentions": {"user_ids": ["@alice:example.org"]}}), ROOM, MENTIONED),
        (message(**{"m.mentions": {"room": True}}), ROOM, NOTIFIES),
        (message(**{"m.mentions": {"room": True}}), make_room(sender_level=50), HIGHLIGHTS),
        (message(**{"m.mentions": {"room": "true"}}), make_room(sender_level=50), NOTIFIES),
        (make_event("m.room.tombstone", state_key=""), ROOM, HIGHLIGHTS),
        (make_event("m.room.tombstone", state_key="x"), ROOM, SILENCE),
        (make_event("m.room.tombstone"), ROOM, SILENCE),
        (make_event("m.room.server_acl", state_key=""), ROOM, SILENCE),
        (message(**{"m.relates_to": {"rel_type": "m.replace"}}), make_room(member_count=2), SILENCE),
        (message(**{"m.relates_to": {"rel_type": "m.thread"}}), ROOM, NOTIFIES),
        (make_event("M.Room.Message", {}), ROOM, NOTIFIES),
    ],
)
def test_default_rules(event: Event, room: RoomContext, expected: tuple[bool, bool, str | None]) -> None:
    assert outcome(evaluate(DEFAULT_RULES, event, room, ALICE)) == expected


def test_nobody_is_notified_of_what_they_sent() -> None:
    event = make_event("m.room.tombstone", state_key="", sender="@alice:example.org")

    assert evaluate(DEFAULT_RULES, event, ROOM, ALICE) == NOTHING


def tweak(name: str) -> dict[str, Any]:
    return {"set_tweak": "sound", "value": name}


def rule(rule_id: str, **members: Any) -> Rule:
    return Rule(rule_id, ("notify", tweak(rule_id)), **members)


def test_kinds_and_rules_in_order() -> None:
    event = message(body="tea time")
    kinds = {
        "override": (rule("o1"), rule("o2")),
        "content": (rule("c1", pattern="time"), rule("c2", pattern="tea")),
        "room": (rule("!room:example.org"),),
        "sender": (rule("@sender:example.org"),),
        "underride": (rule("u1"),),
    }
    order = ["o1", "o2", "c1", "c2", "!room:example.org", "@sender:example.org", "u1"]

    for expected in order:
        assert evaluate(compile_rules(UserRules(**kinds)), event, ROOM, ALICE).sound == expected
        kinds = {kind: tuple(r for r in rules if r.rule_id != expected) for kind, rules in kinds.items()}
    assert outcome(evaluate(compile_rules(UserRules(**kinds)), event, ROOM, ALICE)) == NOTIFIES


def test_rules_of_other_rooms_and_senders_do_not_match() -> None:
    rules = UserRules(room=(Rule("!other:example.org", ()),), sender=(Rule("@other:example.org", ()),))

    assert outcome(evaluate(compile_rules(rules), message(), ROOM, ALICE)) == NOTIFIES


def test_own_rules_come_before_default_ones_and_the_master_rule_before_all() -> None:
    notice = message(msgtype="m.notice")
    rules = UserRules(override=(rule("own"),))
    silenced = UserRules(override=(rule("own"),), changes={".m.rule.master": Change(enabled=True)})

    assert evaluate(compile_rules(rules), notice, ROOM, ALICE).sound == "own"
    assert evaluate(compile_rules(silenced), notice, ROOM, ALICE) == NOTHING


def test_disabled_rules_never_match() -> None:
    rules = UserRules(
        override=(rule("own", enabled=False),),
        content=(rule("word", pattern="hello", enabled=False),),
        room=(rule("!room:example.org", enabled=False),),
        changes={".m.rule.message": Change(enabled=False)},
    )

    assert evaluate(compile_rules(rules), message(), ROOM, ALICE) == NOTHING


def test_changed_actions_of_a_default_rule() -> None:
    rules = UserRules(changes={".m.rule.message": Change(actions=("notify", {"set_tweak": "highlight"}))})

    assert outcome(evaluate(compile_rules(rules), message(), ROOM, ALICE)) == HIGHLIGHTS


def test_all_conditions_must_hold_and_unknown_ones_never_do() -> None:
    hello = {"kind": "event_match", "key": "content.body", "pattern": "hello"}
    small = {"kind": "room_member_count", "is": "<=10"}
    unknown = {"kind": "of.tomorrow"}

    def sound(*conditions: dict[str, Any], member_count: int = 10) -> str | None:
        rules = compile_rules(UserRules(override=(rule("own", conditions=conditions),)))
        return evaluate(rules, message(), make_room(member_count=member_count), ALICE).sound

    assert sound(hello, small) == "own"
    assert sound(hello, small, member_count=11) is None
    assert sound(hello, unknown) is None


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], NOTHING),
        (["dont_notify"], NOTHING),
        (["coalesce"], NOTHING),
        (["of.tomorrow", 5, None, {}, {"set_tweak": 5}], NOTHING),
        ([{"set_tweak": "highlight"}], NOTHING),
        (["notify"], Actions(notify=True)),
        (["notify", {"set_tweak": "highlight"}], Actions(True, True, {"highlight": True})),
        (["notify", {"set_tweak": "highlight", "value": False}], Actions(True, False, {"highlight": False})),
        (["notify", {"set_tweak": "highlight", "value": 1}], Actions(True, False, {"highlight": 1})),
        (["notify", {"set_tweak": "sound"}], Actions(notify=True)),
        (["notify", {"set_tweak": "flash", "value": [1]}], Actions(True, False, {"flash": [1]})),
    ],
)
def test_actions(actions: list[Any], expected: Actions) -> None:
    assert read_actions(actions) == expected


def test_plans_are_kept_for_a_bounded_number_of_types() -> None:
    rules = compile_rules(UserRules())

    for number in range(1000):
        assert evaluate(rules, make_event(f"type{number}"), ROOM, ALICE) == NOTHING
    assert outcome(evaluate(rules, message(), ROOM, ALICE)) == NOTIFIES
