# SPDX-License-Identifier: Apache-2.0
"""Iterative auth checks, and the facts of the state that they build up."""

from __future__ import annotations

import pytest

from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.iterative_auth_checks import iterative_auth_checks
from federation.rules.state_resolution.partial_state import PartialState
from tests.support.resolving import ALICE, BOB, CAROL, DAVE, Story


@pytest.fixture(params=["2", "11", "12"])
def story(request: pytest.FixtureRequest) -> Story:
    story = Story(request.param)
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.levels("levels", ALICE, {ALICE: 100, BOB: 50}, "alice")
    story.join_rule("private", ALICE, "invite", "alice levels")
    return story


def auth_events_of(story: Story) -> AuthEvents:
    return AuthEvents(version=story.version, events=story.events, rejected=story.rejected)


def checked(story: Story, names: str, initial: str = "") -> set[str]:
    """The names of the events in the state that others make of an initial one."""
    state = {key: story.events[event_id] for key, event_id in story.state(initial).items()}
    events = [story.events[f"${name}"] for name in names.split()]
    resolved = iterative_auth_checks(state, events, story.version, auth_events_of(story))
    assert {key: (e.type, e.state_key) for key, e in resolved.items()} == {key: key for key in resolved}
    assert state == {key: story.events[event_id] for key, event_id in story.state(initial).items()}
    return {event.event_id[1:] for event in resolved.values()}


def test_allowed_events_are_applied_and_others_ignored(story: Story) -> None:
    story.member("invited", ALICE, BOB, "invite", "alice levels private")
    story.member("bob", BOB, BOB, "join", "levels private invited")
    story.tell("topic", BOB, "m.room.topic", {}, "levels bob")
    story.member("dave", DAVE, DAVE, "join", "levels private")
    state = "create alice levels private"
    assert checked(story, "invited bob topic dave", state) == {*state.split(), "bob", "topic"}
    # A topic before its sender is in the room: the state knows Bob as invited, so what it cites does not
    # count.
    assert checked(story, "invited topic bob", state) == {*state.split(), "bob"}


def test_what_the_state_lacks_is_taken_from_the_auth_events(story: Story) -> None:
    story.member("bob", BOB, BOB, "join", "levels private")
    story.tell("topic", BOB, "m.room.topic", {}, "levels bob")
    assert checked(story, "topic") == {"topic"}
    story.rejected.add("$bob")
    assert checked(story, "topic") == set()


def test_rejected_power_levels_among_the_auth_events_count_as_none(story: Story) -> None:
    story.member("bob", BOB, BOB, "join", "levels private")
    story.tell("topic", BOB, "m.room.topic", {}, "levels bob")
    assert checked(story, "topic") == {"topic"}
    # Without power levels Bob has 0, and a state event takes 50.
    story.rejected.add("$levels")
    assert checked(story, "topic") == set()


def test_without_the_create_event_nothing_is_allowed(story: Story) -> None:
    story.tell("topic", ALICE, "m.room.topic", {}, "alice levels")
    assert checked(story, "topic") == {"topic"}
    story.rejected.add("$create")
    assert checked(story, "topic") == set()


def test_an_event_that_the_room_id_names_and_that_is_no_create_event_makes_no_room() -> None:
    story = Story("12")
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.tell("topic", ALICE, "m.room.topic", {}, "alice")
    story.tell("create", ALICE, "m.room.name", {})
    assert checked(story, "topic") == set()


def test_a_member_without_a_membership_is_none(story: Story) -> None:
    story.tell("odd", BOB, "m.room.member", {"membership": 1}, "levels", state_key=BOB)
    state = {("m.room.member", BOB): story.events["$odd"]}
    partial = PartialState(state, version=story.version, auth_events=auth_events_of(story))
    assert partial.membership(BOB) is None
    assert partial.membership(CAROL) is None


def test_a_third_party_invite_is_found(story: Story) -> None:
    story.member("bob", BOB, BOB, "join", "levels private")
    story.tell("pending", BOB, "m.room.third_party_invite", {}, "levels bob", state_key="token")
    key = story.tell("other", BOB, "m.room.third_party_invite", {}, "levels bob", state_key="more")
    partial = PartialState(
        {key: story.events["$other"]}, version=story.version, auth_events=auth_events_of(story)
    )
    assert partial.third_party_invite("more") is story.events["$other"]
    assert partial.third_party_invite("token") is None
    # A token that the state does not know may be known to the event that is judged.
    signed = {"mxid": CAROL, "token": "token", "signatures": {}}
    content = {"membership": "invite", "third_party_invite": {"signed": signed}}
    story.tell("invite", BOB, "m.room.member", content, "levels bob private pending", state_key=CAROL)
    assert not partial.allows(story.events["$invite"])
    assert partial.third_party_invite("token") is story.events["$pending"]


def test_who_authorises_a_restricted_join_is_taken_to_have_signed_it() -> None:
    story = Story("11")
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.levels("levels", ALICE, {ALICE: 100}, "alice")
    story.join_rule("restricted", ALICE, "restricted", "alice levels")
    content = {"membership": "join", "join_authorised_via_users_server": ALICE}
    story.tell("bob", BOB, "m.room.member", content, "levels restricted alice", state_key=BOB)
    assert checked(story, "bob") == {"bob"}
