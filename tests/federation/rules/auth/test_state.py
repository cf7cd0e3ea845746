# SPDX-License-Identifier: Apache-2.0
"""The facts that a few events hold."""

from __future__ import annotations

from federation.rules.auth.state import AuthState, AuthStateOf
from federation.rules.room_versions import ROOM_VERSIONS
from tests.support.judging import Facts
from tests.support.rooms import ALICE, BOB, make_room


def test_an_empty_state_knows_nothing() -> None:
    state: AuthState = AuthStateOf.from_events([])
    assert (state.create, state.power_levels, state.join_rules) == (None, None, None)
    assert state.membership(ALICE) is None
    assert state.third_party_invite("token") is None


def test_the_facts_of_a_room() -> None:
    room = make_room(members=[BOB])
    invite = room.set_state(ALICE, "m.room.third_party_invite", {}, state_key="token")
    state = AuthStateOf.from_events(room.state.values())
    assert state.create == room.create
    assert state.power_levels == room.state["m.room.power_levels", ""]
    assert state.join_rules == room.state["m.room.join_rules", ""]
    assert (state.membership(ALICE), state.membership(BOB)) == ("join", "join")
    assert state.third_party_invite("token") == invite
    assert state.third_party_invite("other") is None


def test_a_later_event_replaces_an_earlier_one() -> None:
    room = make_room(members=[BOB])
    room.ban(ALICE, BOB)
    assert AuthStateOf.from_events(room.events).membership(BOB) == "ban"


def test_what_is_no_fact() -> None:
    facts = Facts(ROOM_VERSIONS["12"])
    events = [
        facts.event("m.room.join_rules", ALICE, {}),
        facts.event("m.room.power_levels", ALICE, {}, state_key="other"),
        facts.event("m.room.member", ALICE, {"membership": 5}, state_key=ALICE),
        facts.event("m.room.member", ALICE, {"membership": "join"}),
        facts.event("m.room.name", ALICE, {}, state_key=""),
    ]
    assert AuthStateOf.from_events(events) == AuthStateOf()
