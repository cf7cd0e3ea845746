# SPDX-License-Identifier: Apache-2.0
"""Auth events selection. spec: server-server-api, "Auth events selection"; rooms, rules 2, 3 (12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from federation.rules.auth.selection import auth_event_keys, check_auth_events
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event
from tests.support.judging import VERSIONS, number, since
from tests.support.rooms import ALICE, BOB, Room, make_room

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)

CAROL = "@carol:c.example"

CREATE = ("m.room.create", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")
AUTHORISER = "join_authorised_via_users_server"
TOKEN = {"third_party_invite": {"signed": {"token": "t"}}}


def member(user: str) -> tuple[str, str]:
    return ("m.room.member", user)


INVITE = ("m.room.third_party_invite", "t")


@pytest.mark.parametrize(
    ("event_type", "state_key", "content", "keys"),
    [
        ("m.room.message", None, {"membership": "join", AUTHORISER: CAROL}, []),
        ("m.room.name", "", {}, []),
        ("m.room.power_levels", "", {}, []),
        ("m.room.third_party_invite", "t", TOKEN, []),
        ("m.room.member", ALICE, {"membership": "join"}, [RULES]),
        ("m.room.member", BOB, {"membership": "join"}, [member(BOB), RULES]),
        ("m.room.member", BOB, {"membership": "invite"}, [member(BOB), RULES]),
        ("m.room.member", ALICE, {"membership": "knock"}, [RULES]),
        ("m.room.member", ALICE, {"membership": "leave"}, []),
        ("m.room.member", BOB, {"membership": "leave"}, [member(BOB)]),
        ("m.room.member", BOB, {"membership": "ban", **TOKEN, AUTHORISER: CAROL}, [member(BOB)]),
        ("m.room.member", BOB, {"membership": "invite", **TOKEN}, [member(BOB), RULES, INVITE]),
        ("m.room.member", ALICE, {"membership": "join", **TOKEN}, [RULES]),
        (
            "m.room.member",
            BOB,
            {"membership": "invite", "third_party_invite": {"signed": {"token": 5}}},
            [member(BOB), RULES],
        ),
        (
            "m.room.member",
            BOB,
            {"membership": "invite", "third_party_invite": {"signed": "t"}},
            [member(BOB), RULES],
        ),
        ("m.room.member", BOB, {"membership": "invite", "third_party_invite": "t"}, [member(BOB), RULES]),
        ("m.room.member", ALICE, {"membership": "join", AUTHORISER: CAROL}, [RULES, member(CAROL)]),
        ("m.room.member", ALICE, {"membership": "join", AUTHORISER: ALICE}, [RULES]),
        ("m.room.member", BOB, {"membership": "join", AUTHORISER: BOB}, [member(BOB), RULES]),
        ("m.room.member", ALICE, {"membership": "join", AUTHORISER: 5}, [RULES]),
        ("m.room.member", ALICE, {"membership": "knock", AUTHORISER: CAROL}, [RULES]),
        ("m.room.member", ALICE, {"membership": "invite", AUTHORISER: CAROL}, [RULES]),
        ("m.room.member", ALICE, {"membership": ["join"]}, []),
        ("m.room.member", None, {"membership": "join"}, [RULES]),
        ("m.room.member", None, {}, []),
    ],
)
def test_selection(
    version: RoomVersion,
    event_type: str,
    state_key: str | None,
    content: dict[str, Any],
    keys: list[tuple[str, str]],
) -> None:
    """For events by Alice; the create event is selected before version 12."""
    create = [] if since(version, 12) else [CREATE]
    if event_type == "m.room.member" and not since(version, 8):
        keys = [key for key in keys if key != member(CAROL)]
    selected = auth_event_keys(event_type, state_key, ALICE, content, version)
    assert selected == [*create, LEVELS, member(ALICE), *keys]


def test_a_create_event_selects_nothing(version: RoomVersion) -> None:
    assert auth_event_keys("m.room.create", "", ALICE, {}, version) == []


@pytest.fixture
def room(version: RoomVersion) -> Room:
    return make_room(version, members=[BOB])


def refusal(event: Event, cited: Sequence[Event], room: Room, rejected: Sequence[Event] = ()) -> str | None:
    try:
        check_auth_events(event, cited, {other.event_id for other in rejected}, room.version)
    except AuthRefused as error:
        return error.rule
    return None


def cited(event: Event, room: Room) -> list[Event]:
    return [other for other in room.events if other.event_id in event.auth_events]


def test_what_the_selection_names_is_allowed(version: RoomVersion, room: Room) -> None:
    for event in room.events:
        assert refusal(event, cited(event, room), room) is None


def test_events_that_the_state_lacks_may_be_missing(version: RoomVersion, room: Room) -> None:
    event = room.message(BOB)
    needed = [] if version.room_id_is_create_hash else [room.create]
    assert refusal(event, needed, room) is None


def test_duplicates(version: RoomVersion, room: Room) -> None:
    event = room.message(BOB)
    again = room.join(BOB, {"displayname": "B"})
    for extra in (again, room.state["m.room.member", BOB], cited(event, room)[0]):
        assert refusal(event, [*cited(event, room), extra], room) == number(
            Rule.AUTH_EVENTS_DUPLICATE, version
        )


def test_events_that_the_selection_does_not_name(version: RoomVersion, room: Room) -> None:
    event = room.message(BOB)
    extras = [
        room.state["m.room.member", ALICE],
        room.state["m.room.join_rules", ""],
        room.set_state(ALICE, "m.room.name", {"name": "a"}),
        room.message(ALICE),
        room.set_state(ALICE, "m.room.power_levels", {}, state_key="other"),
    ]
    for extra in extras:
        assert refusal(event, [*cited(event, room), extra], room) == number(
            Rule.AUTH_EVENTS_UNEXPECTED, version
        )


def test_the_create_event_is_cited_or_implied(version: RoomVersion, room: Room) -> None:
    event = room.message(BOB)
    others = [other for other in cited(event, room) if other != room.create]
    with_create = refusal(event, [room.create, *others], room)
    expected = ("3.2", None) if since(version, 12) else (None, "2.4")
    assert (with_create, refusal(event, others, room)) == expected


def test_rejected_events(version: RoomVersion, room: Room) -> None:
    event = room.message(BOB)
    for rejected in cited(event, room):
        if rejected != room.create:
            assert refusal(event, cited(event, room), room, [rejected]) == number(
                Rule.AUTH_EVENTS_REJECTED, version
            )
    assert refusal(event, cited(event, room), room, [room.message(BOB)]) is None


def test_a_rejected_create_event(version: RoomVersion, room: Room) -> None:
    event = room.message(BOB)
    assert refusal(event, cited(event, room), room, [room.create]) == ("2" if since(version, 12) else "2.3")


def test_events_of_another_room(version: RoomVersion, room: Room) -> None:
    other = make_room(version, members=[BOB], localpart="other")
    event = room.message(BOB)
    mixed = [*cited(event, room)[:-1], other.state["m.room.member", BOB]]
    assert refusal(event, mixed, room) == number(Rule.AUTH_EVENTS_OTHER_ROOM, version)


def test_a_create_event_is_judged_by_other_rules(version: RoomVersion, room: Room) -> None:
    assert refusal(room.create, [], room, [room.create]) is None
    assert refusal(room.create, [room.events[1]], room) is None
