# SPDX-License-Identifier: Apache-2.0
"""Algorithm 1 on cases worked by hand."""

from __future__ import annotations

from hashlib import sha1

import pytest

from federation.rules.state_resolution.resolution import resolve
from tests.support.resolving import ALICE, BOB, CAROL, DAVE, Story

LEVELS = {ALICE: 100, BOB: 50}
TOPIC = "m.room.topic"
POWER_LEVELS = "m.room.power_levels"
JOIN_RULES = "m.room.join_rules"

BASE = "create alice levels public bob carol"


@pytest.fixture
def story() -> Story:
    """A public room: its creator has sent what is usual, and Bob and Carol have joined. Depths 0 to 5."""
    story = Story("1")
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.levels("levels", ALICE, LEVELS, "alice")
    story.join_rule("public", ALICE, "public", "alice levels")
    story.member("bob", BOB, BOB, "join", "levels public")
    story.member("carol", CAROL, CAROL, "join", "levels public")
    return story


def by_sha1(*names: str) -> list[str]:
    """Names of events by ascending SHA-1 of their ids."""
    return sorted(names, key=lambda name: sha1(f"${name}".encode()).hexdigest())


def with_levels(name: str) -> str:
    return BASE.replace("levels", name)


def test_power_levels_go_up_by_depth_as_far_as_each_is_allowed(story: Story) -> None:
    story.levels("levels1", ALICE, {**LEVELS, CAROL: 10}, "alice levels", depth=10)
    story.levels("levels2", BOB, {**LEVELS, CAROL: 20}, "levels bob", depth=11)
    story.levels("levels3", ALICE, {**LEVELS, CAROL: 30}, "alice levels", depth=12)
    states = [with_levels(name) for name in ("levels3", "levels1", "levels2")]
    assert story.resolve(*states) == {POWER_LEVELS: "levels3"}


def test_it_stops_at_the_first_power_levels_that_are_not_allowed(story: Story) -> None:
    story.levels("levels1", ALICE, {**LEVELS, CAROL: 10}, "alice levels", depth=10)
    story.levels("levels2", CAROL, {**LEVELS, CAROL: 100}, "levels carol", depth=11)
    story.levels("levels3", ALICE, {**LEVELS, CAROL: 30}, "alice levels", depth=12)
    states = [with_levels(name) for name in ("levels3", "levels1", "levels2")]
    # Carol at 10 sends no power levels; whether Alice's, at the depth below, would be allowed does not
    # matter.
    assert story.resolve(*states) == {POWER_LEVELS: "levels1"}


def test_the_first_power_levels_are_taken_unasked(story: Story) -> None:
    story.levels("levels1", CAROL, {CAROL: 100}, "levels carol", depth=10)
    story.levels("levels2", ALICE, {ALICE: 100}, "alice levels", depth=11)
    # By levels1 Alice has nothing.
    assert story.resolve(with_levels("levels1"), with_levels("levels2")) == {POWER_LEVELS: "levels1"}


def test_power_levels_of_one_depth_go_by_descending_sha1(story: Story) -> None:
    lower, higher = by_sha1("levels-a", "levels-b")
    for name in (lower, higher):
        story.levels(name, ALICE, {**LEVELS, CAROL: 10}, "alice levels", depth=10)
    # The higher one first, the lower one last, and both are allowed.
    assert story.resolve(with_levels(lower), with_levels(higher)) == {POWER_LEVELS: lower}
    assert story.resolve(with_levels(higher), with_levels(lower)) == {POWER_LEVELS: lower}


def test_power_levels_are_judged_without_members_in_conflict(story: Story) -> None:
    story.levels("levels1", ALICE, {**LEVELS, CAROL: 10}, "alice levels", depth=10)
    story.levels("levels2", BOB, {**LEVELS, CAROL: 20}, "levels bob", depth=11)
    story.member("bob2", BOB, BOB, "join", "levels public bob", depth=12)
    one = with_levels("levels1")
    two = with_levels("levels2").replace("bob", "bob2")
    # R knows nothing of Bob yet.
    assert story.resolve(one, two) == {POWER_LEVELS: "levels1", BOB: "bob2"}


def test_join_rules_are_judged_by_the_resolved_power_levels(story: Story) -> None:
    story.levels("levels1", ALICE, {ALICE: 100}, "alice levels", depth=10)
    story.levels("levels2", ALICE, {ALICE: 100, BOB: 0}, "alice levels", depth=11)
    story.join_rule("private", ALICE, "invite", "alice levels", depth=10)
    story.join_rule("knock", BOB, "knock", "levels bob", depth=11)
    one = "create alice levels1 private bob carol"
    two = "create alice levels2 knock bob carol"
    assert story.resolve(one, two) == {POWER_LEVELS: "levels2", JOIN_RULES: "private"}


def test_members_are_judged_by_the_resolved_join_rules(story: Story) -> None:
    story.join_rule("private1", ALICE, "invite", "alice levels", depth=10)
    story.join_rule("private2", ALICE, "invite", "alice levels", depth=11)
    story.member("left", DAVE, DAVE, "leave", "levels", depth=10)
    story.member("dave", DAVE, DAVE, "join", "levels public left", depth=11)
    one, two = BASE.replace("public", "private1"), BASE.replace("public", "private2")
    assert story.resolve(f"{one} left", f"{two} dave") == {JOIN_RULES: "private2", DAVE: "left"}


def test_a_ban_holds_against_a_join_at_a_greater_depth(story: Story) -> None:
    story.member("ban", ALICE, BOB, "ban", "alice levels bob", depth=10)
    story.member("bob2", BOB, BOB, "join", "levels public bob", depth=11)
    assert story.resolve(BASE.replace("bob", "bob2"), BASE.replace("bob", "ban")) == {BOB: "ban"}


def test_a_ban_by_one_who_has_left_is_lost(story: Story) -> None:
    story.levels("levels2", ALICE, {**LEVELS, CAROL: 60}, "alice levels")
    story.member("ban", CAROL, BOB, "ban", "levels2 carol bob", depth=10)
    story.member("left", CAROL, CAROL, "leave", "levels2 carol", depth=11)
    state = "create alice levels2 public left"
    # The banned user is back in the room: what this algorithm is known for.
    assert story.resolve(f"{state} bob", f"{state} ban") == {BOB: "bob"}


def test_no_member_is_judged_by_what_becomes_of_another(story: Story) -> None:
    story.member("bob-banned", ALICE, BOB, "ban", "alice levels bob", depth=10)
    story.member("carol-banned", BOB, CAROL, "ban", "levels bob carol", depth=11)
    # Both of Bob's are in conflict, so while Carol's are resolved he is not in the room, banned or not.
    resolved = story.resolve(f"{BASE}", "create alice levels public bob-banned carol-banned")
    assert resolved == {BOB: "bob-banned", CAROL: "carol"}


def test_of_other_events_the_deepest_one_that_is_allowed_is_taken(story: Story) -> None:
    story.tell("by-alice", ALICE, TOPIC, {}, "alice levels", depth=10)
    story.tell("by-bob", BOB, TOPIC, {}, "levels bob", depth=11)
    story.tell("by-carol", CAROL, TOPIC, {}, "levels carol", depth=12)
    states = [f"{BASE} {name}" for name in ("by-alice", "by-bob", "by-carol")]
    assert story.resolve(*states) == {TOPIC: "by-bob"}


def test_of_other_events_of_one_depth_that_with_the_lowest_sha1_is_taken(story: Story) -> None:
    lower, higher = by_sha1("topic-a", "topic-b")
    for name in (lower, higher):
        story.tell(name, ALICE, TOPIC, {}, "alice levels", depth=10)
    assert story.resolve(f"{BASE} {lower}", f"{BASE} {higher}") == {TOPIC: lower}
    assert story.resolve(f"{BASE} {higher}", f"{BASE} {lower}") == {TOPIC: lower}


def test_a_key_whose_events_are_all_refused_has_no_value(story: Story) -> None:
    for name in ("topic1", "topic2"):
        story.tell(name, CAROL, TOPIC, {}, "levels carol")
    conflict = story.conflict(story.state(f"{BASE} topic1"), story.state(f"{BASE} topic2"))
    assert resolve(conflict) == {(TOPIC, ""): None}


def test_a_third_party_invite_is_one_of_the_others(story: Story) -> None:
    story.tell("invite1", BOB, "m.room.third_party_invite", {}, "levels bob", state_key="token", depth=10)
    story.tell("invite2", DAVE, "m.room.third_party_invite", {}, "levels", state_key="token", depth=11)
    assert story.resolve(f"{BASE} invite1", f"{BASE} invite2") == {"token": "invite1"}


def test_a_key_that_a_state_lacks_is_in_no_conflict(story: Story) -> None:
    # Whoever would be allowed: there is nothing to choose. What is united in this way is part of R: by it
    # Dave, whom one state lacks, has 50 and is in the room.
    story.member("dave", DAVE, DAVE, "join", "levels public")
    story.tell("name", CAROL, "m.room.name", {}, "levels carol")
    story.levels("levels2", ALICE, {**LEVELS, DAVE: 50}, "alice levels")
    story.tell("topic1", ALICE, TOPIC, {}, "alice levels", depth=20)
    story.tell("topic2", DAVE, TOPIC, {}, "levels2 dave", depth=21)
    one = "create alice public bob carol topic1"
    two = "create alice public bob carol topic2 levels2 dave name"
    assert story.resolve(one, two) == {
        "m.room.name": "name",
        POWER_LEVELS: "levels2",
        DAVE: "dave",
        TOPIC: "topic2",
    }


def test_what_an_event_cites_does_not_help_it(story: Story) -> None:
    story.member("dave", DAVE, DAVE, "join", "levels public")
    story.levels("levels2", ALICE, {**LEVELS, DAVE: 50}, "alice levels")
    story.tell("topic1", ALICE, TOPIC, {}, "alice levels", depth=20)
    story.tell("topic2", DAVE, TOPIC, {}, "levels2 dave", depth=21)
    state = "create alice public bob carol levels2"
    assert story.resolve(f"{state} topic1", f"{state} topic2") == {TOPIC: "topic1"}
