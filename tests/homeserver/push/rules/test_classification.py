# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.push.rules.classification import Classification, Deviation, classify
from homeserver.push.rules.compiled import DEFAULT_RULES, compile_rules
from homeserver.push.rules.context import Owner
from homeserver.push.rules.display_names import DisplayNameIndex
from homeserver.push.rules.evaluation import evaluate
from homeserver.push.rules.ruleset import Change, Rule, UserRules
from storage.event import Event
from tests.homeserver.push.rules.events import make_event, make_room

MEMBERS = {
    "@sender:example.org": "Sender",
    "@alice:example.org": "Alice",
    "@bob:example.org": None,
    "@carol:example.org": "Carol of tea",
    "@dan:example.org": "\u0414\u0430\u043d",
    "@erin:example.org": "alice",
}
INVITED = "@invited:example.org"
STRANGER = "@stranger:elsewhere.org"


def mentions(*user_ids: str, **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": list(user_ids), **more}}


def test_a_message_notifies_everyone() -> None:
    event = make_event(content={"body": "hello"})

    assert classify(DEFAULT_RULES, event, make_room(recipients=MEMBERS)) == Classification(True, False, {})


def test_a_mention_highlights_the_mentioned_members_but_the_sender() -> None:
    event = make_event(content=mentions("@alice:example.org", "@sender:example.org", STRANGER))

    found = classify(DEFAULT_RULES, event, make_room(recipients=MEMBERS))

    assert found == Classification(True, False, {"@alice:example.org": Deviation(0, 1)})
    assert found.counts_for("@alice:example.org") == (1, 1)
    assert found.counts_for("@bob:example.org") == (1, 0)


def test_a_mention_in_what_notifies_nobody_else() -> None:
    event = make_event("m.reaction", mentions("@alice:example.org"))

    assert classify(DEFAULT_RULES, event, make_room(recipients=MEMBERS)) == Classification(
        False, False, {"@alice:example.org": Deviation(1, 1)}
    )


def test_a_room_mention_highlights_everyone_and_needs_no_exceptions() -> None:
    event = make_event(content=mentions("@alice:example.org", room=True))

    assert classify(DEFAULT_RULES, event, make_room(recipients=MEMBERS, sender_level=50)) == Classification(
        True, True, {}
    )


def test_an_invite_notifies_the_invited_alone() -> None:
    event = make_event("m.room.member", {"membership": "invite"}, state_key=INVITED)

    assert classify(DEFAULT_RULES, event, make_room(recipients={*MEMBERS, INVITED})) == Classification(
        False, False, {INVITED: Deviation(1, 0)}
    )
    assert classify(DEFAULT_RULES, event, make_room(recipients=MEMBERS)) == Classification(False, False, {})


def test_an_empty_state_key_names_nobody() -> None:
    event = make_event("m.room.member", {"membership": "invite"}, state_key="")

    assert classify(DEFAULT_RULES, event, make_room(recipients={*MEMBERS})) == Classification(
        False, False, {}
    )


def test_rules_that_look_for_names_need_names() -> None:
    rules = compile_rules(UserRules(override=(NAMED,)))
    event = make_event(content={"body": "Alice"})

    with pytest.raises(ValueError, match="display names"):
        classify(rules, event, make_room(recipients=MEMBERS))


NAMED = Rule(
    "named",
    ("notify", {"set_tweak": "highlight"}),
    conditions=({"kind": "contains_display_name"},),
)
OWN_RULES = [
    UserRules(),
    UserRules(override=(NAMED,)),
    UserRules(underride=(NAMED,), changes={".m.rule.message": Change(enabled=False)}),
    UserRules(changes={".m.rule.master": Change(enabled=True)}),
    UserRules(
        changes={".m.rule.is_user_mention": Change(actions=()), ".m.rule.reaction": Change(enabled=False)}
    ),
    UserRules(
        changes={i: Change(enabled=False) for i in (".m.rule.is_user_mention", ".m.rule.invite_for_me")}
    ),
    UserRules(room=(Rule("!room:example.org", ()),)),
    UserRules(sender=(Rule("@sender:example.org", ("notify", {"set_tweak": "highlight"})),)),
    UserRules(content=(Rule("tea", ("notify", {"set_tweak": "highlight"}), pattern="tea"),)),
    UserRules(
        override=(
            Rule(
                "names of few",
                (),
                conditions=({"kind": "contains_display_name"}, {"kind": "room_member_count", "is": "2"}),
            ),
        )
    ),
]

user_ids = st.sampled_from([*MEMBERS, INVITED, STRANGER, ""])
bodies = st.lists(
    st.sampled_from(["Alice", "ALICE", "malice", "tea", "\u0434\u0430\u043d", "of", "Carol"]), max_size=5
).map(" ".join)
contents = st.fixed_dictionaries(
    {},
    optional={
        "body": bodies | st.just(5),
        "msgtype": st.sampled_from(["m.text", "m.notice"]),
        "membership": st.sampled_from(["invite", "join"]),
        "m.mentions": st.fixed_dictionaries(
            {},
            optional={
                "user_ids": st.lists(user_ids, max_size=3) | user_ids,
                "room": st.sampled_from([True, False, 1]),
            },
        ),
        "m.relates_to": st.fixed_dictionaries({"rel_type": st.sampled_from(["m.replace", "m.thread"])}),
    },
)
types = st.sampled_from(
    [
        "m.room.message",
        "m.room.encrypted",
        "m.room.member",
        "m.reaction",
        "m.room.tombstone",
        "m.call.invite",
        "m.room.server_acl",
        "other",
    ]
)
events = st.builds(make_event, types, contents, sender=user_ids, state_key=st.none() | user_ids)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(OWN_RULES), events, st.sampled_from([2, 3]), st.sampled_from([0, 50]))
def test_agrees_with_evaluating_for_each_member(
    own: UserRules, event: Event, member_count: int, level: int
) -> None:
    rules = compile_rules(own)
    names = DisplayNameIndex()
    for user_id, display_name in MEMBERS.items():
        names.add(user_id, display_name)
    recipients = {*MEMBERS, INVITED}
    room = make_room(member_count=member_count, sender_level=level, recipients=recipients, names=names)

    found = classify(rules, event, room)

    for user_id in recipients - {event.sender}:
        actions = evaluate(rules, event, room, Owner(user_id, MEMBERS.get(user_id)))
        assert found.counts_for(user_id) == (actions.notify, actions.highlight)
    assert found.exceptions.keys() <= recipients - {event.sender}
    assert Deviation(0, 0) not in found.exceptions.values()
