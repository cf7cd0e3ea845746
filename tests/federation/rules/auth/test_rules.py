# SPDX-License-Identifier: Apache-2.0
"""The rules for events that are neither memberships nor create events, and whole rooms judged by them.

spec: rooms, "Authorisation rules", after the rule for memberships.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import check_auth_events
from federation.rules.auth.state import AuthStateOf
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event
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
from tests.support.rooms import ALICE, BOB, make_room

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)

MEMBERS = {CREATOR: "join", ADMIN: "join", MODERATOR: "join", USER: "join"}


@pytest.mark.parametrize("membership", [None, "leave", "invite", "knock", "ban"])
@pytest.mark.parametrize(
    ("event_type", "state_key"),
    [
        ("m.room.message", None),
        ("m.room.redaction", None),
        ("m.room.name", ""),
        ("m.room.power_levels", ""),
        ("m.room.third_party_invite", "token"),
        ("org.example.own", OTHER),
    ],
)
def test_the_sender_must_be_joined(
    version: RoomVersion, membership: str | None, event_type: str, state_key: str | None
) -> None:
    members = {} if membership is None else {OTHER: membership}
    facts = Facts(version, users={**LEVELS, OTHER: 100}, members=members)
    event = facts.event(event_type, OTHER, state_key=state_key)
    assert facts.refusal(event) == number(Rule.SENDER_NOT_JOINED, version)


@pytest.mark.parametrize(
    ("sender", "levels", "allowed"),
    [
        (USER, {}, True),
        (USER, {"invite": 0, "state_default": 100, "events": {"m.room.third_party_invite": 100}}, True),
        (USER, {"invite": 1}, False),
        (MODERATOR, {"invite": 50}, True),
        (MODERATOR, {"invite": 51}, False),
    ],
)
@pytest.mark.parametrize("state_key", ["token", "@other:c.example", None])
def test_third_party_invites_take_the_invite_level_alone(
    version: RoomVersion, sender: str, levels: dict[str, Any], allowed: bool, state_key: str | None
) -> None:
    facts = Facts(version, users=LEVELS, levels=levels, members=MEMBERS)
    event = facts.event("m.room.third_party_invite", sender, state_key=state_key)
    assert facts.refusal(event) == (None if allowed else number(Rule.THIRD_PARTY_INVITE_LEVEL, version))


@pytest.mark.parametrize(
    ("sender", "event_type", "state_key", "levels", "allowed"),
    [
        (USER, "m.room.message", None, {}, True),
        (USER, "m.room.message", None, {"events_default": 1}, False),
        (USER, "m.room.message", None, {"events": {"m.room.message": 1}}, False),
        (USER, "m.room.message", None, {"events": {"m.room.message": 0}, "events_default": 1}, True),
        (USER, "m.room.message", None, {"events": {"m.room.message": 5}, "users_default": 5}, True),
        (USER, "m.room.name", "", {}, False),
        (USER, "m.room.name", "", {"state_default": 0}, True),
        (USER, "m.room.name", "", {"events": {"m.room.name": 0}}, True),
        (USER, "m.room.name", None, {}, True),  # no state event
        (MODERATOR, "m.room.name", "", {}, True),
        (MODERATOR, "m.room.name", "", {"state_default": 51}, False),
        (MODERATOR, "m.room.tombstone", "", {"events": {"m.room.tombstone": 100}}, False),
        (ADMIN, "m.room.tombstone", "", {"events": {"m.room.tombstone": 100}}, True),
        (USER, "m.room.redaction", None, {"redact": 100}, True),  # the redact level is not asked for
        (USER, "m.room.redaction", None, {"events": {"m.room.redaction": 1}}, False),
        (USER, "m.room.power_levels", "", {}, False),
        (USER, "m.room.encryption", "", {}, False),
        (USER, "m.room.aliases", "b.example", {}, False),
    ],
)
def test_the_required_level(
    version: RoomVersion,
    sender: str,
    event_type: str,
    state_key: str | None,
    levels: dict[str, Any],
    allowed: bool,
) -> None:
    facts = Facts(version, users=LEVELS, levels=levels, members=MEMBERS)
    event = facts.event(event_type, sender, state_key=state_key)
    rule = None if allowed else Rule.REQUIRED_LEVEL
    if event_type == "m.room.aliases" and not since(version, 6):
        rule = None
    if event_type == "m.room.redaction" and not since(version, 3) and allowed:
        rule = Rule.REDACTION_OTHERWISE
    assert facts.refusal(event) == number(rule, version)


def test_without_power_levels_the_creator_may_all_and_others_talk(version: RoomVersion) -> None:
    facts = Facts(version, members=MEMBERS)
    assert facts.refusal(facts.event("m.room.name", CREATOR, state_key="")) is None
    assert facts.refusal(facts.event("m.room.message", USER)) is None
    assert facts.refusal(facts.event("m.room.name", USER, state_key="")) == number(
        Rule.REQUIRED_LEVEL, version
    )


def test_creators_stand_above_every_level(version: RoomVersion) -> None:
    facts = Facts(version, users={}, levels={"state_default": 10**9}, members=MEMBERS)
    expected = None if since(version, 12) else number(Rule.REQUIRED_LEVEL, version)
    assert facts.refusal(facts.event("m.room.name", CREATOR, state_key="")) == expected


@pytest.mark.parametrize(
    ("state_key", "allowed"),
    [
        (USER, True),
        (OTHER, False),
        ("@", False),
        ("@user:b.exampl", False),
        ("@user:b.example2", False),
        ("", True),
        ("user", True),
        (" @other:c.example", True),
        (None, True),
    ],
)
def test_state_keys_that_are_user_ids(version: RoomVersion, state_key: str | None, allowed: bool) -> None:
    facts = Facts(version, users=LEVELS, levels={"state_default": 0}, members=MEMBERS)
    event = facts.event("org.example.own", USER, state_key=state_key)
    assert facts.refusal(event) == (None if allowed else number(Rule.STATE_KEY_OF_OTHER_USER, version))


def test_the_state_key_of_power_levels(version: RoomVersion) -> None:
    """The rules judge events of that type with any state key, and with none."""
    facts = Facts(version, users=LEVELS, members=MEMBERS)
    bad = {"users": "x"}
    for state_key in ("", "other", None):
        event = facts.event("m.room.power_levels", MODERATOR, bad, state_key=state_key)
        assert facts.refusal(event) == number(Rule.LEVELS_USERS_SHAPE, version)
    event = facts.event("m.room.power_levels", MODERATOR, bad, state_key=OTHER)
    assert facts.refusal(event) == number(Rule.STATE_KEY_OF_OTHER_USER, version)


def auth_state(event: Event, room_events: list[Event], version: RoomVersion) -> AuthStateOf:
    """The facts in an event's auth events; the create event of version 12 is put to them."""
    cited = [other for other in room_events if other.event_id in event.auth_events]
    check_auth_events(event, cited, frozenset(), version)
    implied = [room_events[0]] if version.room_id_is_create_hash else []
    return AuthStateOf.from_events([*implied, *cited])


@pytest.mark.parametrize("join_rule", JOIN_RULES)
def test_a_whole_room_passes_by_its_auth_events(version: RoomVersion, join_rule: str) -> None:
    """spec: server-server-api, "Checks performed on receipt of a PDU", 4, for every event of a valid room."""
    if not since(version, JOIN_RULES[join_rule]):
        join_rule = "invite"
    room = make_room(version, members=[BOB, USER], join_rule=join_rule, levels={BOB: 50})
    room.message(USER)
    room.set_state(BOB, "m.room.name", {"name": "a"})
    room.leave(USER)
    room.ban(BOB, USER)
    room.member(BOB, USER, "leave")
    if join_rule in ("knock", "knock_restricted"):
        room.member(OTHER, OTHER, "knock")
    if join_rule in ("restricted", "knock_restricted"):
        room.join(OTHER, {"join_authorised_via_users_server": ALICE})
    room.power_levels(ALICE, {"users": {BOB: 75}})
    for event in room.events:
        check_auth(event, auth_state(event, room.events, version), version, join_authoriser_signed=True)


def test_a_banned_user_is_heard_by_older_state_alone(version: RoomVersion) -> None:
    """The case of the specification's "Soft failure": judged by its auth events and by the current state."""
    room = make_room(version, members=[BOB])
    before = room.heads
    room.ban(ALICE, BOB)
    late = room.message(BOB, after=before)
    check_auth(late, auth_state(late, room.events, version), version)
    with pytest.raises(AuthRefused, match="is not in the room"):
        check_auth(late, room.auth_state, version)


KEYS = [
    *("membership", "third_party_invite", "join_authorised_via_users_server", "join_rule", "users", "events"),
    *(
        "notifications",
        "users_default",
        "redact",
        "ban",
        "creator",
        "additional_creators",
        "m.federate",
        "public_keys",
    ),
]
NAMES = st.sampled_from([CREATOR, USER, "token", "join", "invite", "public", "knock", "restricted", "-7 "])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | NAMES
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            NAMES | st.sampled_from(["signed", "mxid", "token", "public_key"]), inner, max_size=3
        )
    ),
    max_leaves=4,
)
CONTENTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
TYPES = st.sampled_from(
    [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.third_party_invite",
        "m.room.aliases",
        "m.room.redaction",
        "m.room.message",
    ]
)


@given(
    st.tuples(TYPES, st.none() | st.sampled_from([USER, CREATOR, "", "b.example"]), CONTENTS),
    st.tuples(CONTENTS, st.none() | CONTENTS, st.none() | CONTENTS, CONTENTS),
    st.sampled_from(["join", "leave", "invite", "ban"]),
)
@settings(max_examples=25)
def test_any_content_is_allowed_or_refused(
    version: RoomVersion,
    judged: tuple[str, str | None, dict[str, Any]],
    state: tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None, dict[str, Any]],
    membership: str,
) -> None:
    """Remote contents have any form: in the event, and in the state that it is judged by."""
    event_type, state_key, content = judged
    create, levels, join_rules, invite = state
    pending = Facts(version).event("m.room.third_party_invite", CREATOR, invite, state_key="token")
    facts = Facts(
        version,
        members={USER: membership},
        levels=levels,
        join_rule=join_rules,
        create=create,
        invites={"token": pending},
    )
    event = facts.event(event_type, USER, content, state_key=state_key, redacts=content.get("redact"))
    refused = facts.refusal(event)
    assert refused is None or refused in version.rule_numbers.values()


def test_reasons_are_for_people(version: RoomVersion) -> None:
    facts = Facts(version, members={USER: "ban"}, join_rule="public")
    with pytest.raises(AuthRefused) as caught:
        check_auth(facts.member(USER, USER, "join"), facts.state, version)
    error = caught.value
    assert error.reason == "@user:b.example is banned"
    assert str(error) == f"@user:b.example is banned (rule {number(Rule.JOIN_BANNED, version)})"
