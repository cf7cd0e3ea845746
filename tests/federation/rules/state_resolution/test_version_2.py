# SPDX-License-Identifier: Apache-2.0
"""Algorithms 2 and 2.1 on cases worked by hand.

In version 12 `ALICE`, who created the room, stands above all levels; in versions 2 and 11 she has 100.
"""

from __future__ import annotations

import pytest

from federation.rules.state_resolution.resolution import resolve
from tests.support.resolving import ALICE, BOB, CAROL, DAVE, Story

VERSIONS = ["2", "11", "12"]
LEVELS = {ALICE: 100, BOB: 50}
TOPIC = "m.room.topic"
POWER_LEVELS = "m.room.power_levels"
JOIN_RULES = "m.room.join_rules"

BASE = "create alice levels public bob carol"


def room(version: str, users: dict[str, int] | None = None) -> Story:
    """A public room: its creator has sent what is usual, and Bob and Carol have joined."""
    story = Story(version)
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.levels("levels", ALICE, users or LEVELS, "alice")
    story.join_rule("public", ALICE, "public", "alice levels")
    story.member("bob", BOB, BOB, "join", "levels public")
    story.member("carol", CAROL, CAROL, "join", "levels public")
    return story


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ban_goes_before_what_the_banned_user_does_meanwhile(version: str) -> None:
    story = room(version)
    story.member("ban", ALICE, BOB, "ban", "alice levels bob")
    story.tell("topic", BOB, TOPIC, {}, "levels bob")
    # The ban is a power event. Bob's join is of its auth chain and in conflict, so both are settled first:
    # join, ban. The topic comes after that, although Bob sent it when he knew of no ban.
    resolved = story.resolve(f"{BASE} topic", "create alice levels public ban carol")
    assert resolved == {BOB: "ban"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_topic_of_before_the_ban_stays_if_all_know_it(version: str) -> None:
    story = room(version)
    story.tell("topic", BOB, TOPIC, {}, "levels bob")
    story.member("ban", ALICE, BOB, "ban", "alice levels bob")
    # The topic is unconflicted: nobody judges it.
    resolved = story.resolve(f"{BASE} topic", "create alice levels public ban carol topic")
    assert resolved == {BOB: "ban"}


@pytest.mark.parametrize("version", VERSIONS)
def test_of_two_topics_under_the_same_power_levels_the_later_one_is_taken(version: str) -> None:
    story = room(version)
    story.tell("later", ALICE, TOPIC, {}, "alice levels", ts=2_000)
    story.tell("earlier", BOB, TOPIC, {}, "levels bob", ts=1_000)
    assert story.resolve(f"{BASE} later", f"{BASE} earlier") == {TOPIC: "later"}


@pytest.mark.parametrize("version", VERSIONS)
def test_of_two_topics_of_one_instant_the_larger_event_id_is_taken(version: str) -> None:
    story = room(version)
    story.tell("topic-z", ALICE, TOPIC, {}, "alice levels", ts=1_000)
    story.tell("topic-a", BOB, TOPIC, {}, "levels bob", ts=1_000)
    assert story.resolve(f"{BASE} topic-z", f"{BASE} topic-a") == {TOPIC: "topic-z"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_topic_under_newer_power_levels_goes_after_one_under_older_ones(version: str) -> None:
    story = room(version)
    story.tell("old", BOB, TOPIC, {}, "levels bob", ts=9_000)
    story.levels("levels2", ALICE, {**LEVELS, CAROL: 50}, "alice levels")
    story.tell("new", CAROL, TOPIC, {}, "levels2 carol", ts=1_000)
    state = "create alice levels2 public bob carol"
    # levels2 is in both states, but only the topic "new" cites it: the auth difference has it, and in version
    # 12, too, it is what the mainline begins with. "old" is at position 1, "new" at 0, so "new" comes last.
    # By time it would be the other way round.
    assert story.resolve(f"{state} old", f"{state} new") == {TOPIC: "new"}


@pytest.mark.parametrize(("version", "topic"), [("2", "new"), ("11", "new"), ("12", "old")])
def test_without_power_levels_in_conflict_version_12_has_no_mainline(version: str, topic: str) -> None:
    story = room(version)
    story.tell("old", BOB, TOPIC, {}, "levels bob", ts=9_000)
    story.levels("levels2", ALICE, {**LEVELS, CAROL: 50}, "alice levels")
    story.tell("new", CAROL, TOPIC, {}, "levels2 carol", ts=1_000)
    story.member("dave", DAVE, DAVE, "join", "levels2 public")
    state = "create alice levels2 public bob carol dave"
    # Now Dave's join puts levels2 into the auth chain of both states. Algorithm 2 finds it in the
    # unconflicted state map. Algorithm 2.1 begins with an empty state, so after step 2 there are no power
    # levels in it; all positions are infinite and time decides.
    assert story.resolve(f"{state} old", f"{state} new") == {TOPIC: topic}


@pytest.mark.parametrize("version", VERSIONS)
def test_two_power_levels_of_which_the_weaker_one_still_may_follow(version: str) -> None:
    story = room(version)
    story.levels("by-bob", BOB, {**LEVELS, CAROL: 20}, "levels bob", ts=1_000)
    story.levels("by-alice", ALICE, {**LEVELS, CAROL: 10}, "alice levels", ts=2_000)
    # Alice has the greater power level and goes first whatever the time; Bob at 50 may change Carol from 10
    # to 20.
    resolved = story.resolve(BASE.replace("levels", "by-bob"), BASE.replace("levels", "by-alice"))
    assert resolved == {POWER_LEVELS: "by-bob"}


@pytest.mark.parametrize("version", VERSIONS)
def test_who_is_demoted_meanwhile_changes_no_power_levels(version: str) -> None:
    story = room(version)
    story.levels("by-bob", BOB, {**LEVELS, CAROL: 20}, "levels bob", ts=1_000)
    story.levels("demotion", ALICE, {ALICE: 100, BOB: 0}, "alice levels", ts=2_000)
    resolved = story.resolve(BASE.replace("levels", "by-bob"), BASE.replace("levels", "demotion"))
    assert resolved == {POWER_LEVELS: "demotion"}


@pytest.mark.parametrize("demotion_first", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_who_demotes_themselves_has_given_up_what_they_do_beside_it(
    version: str, demotion_first: bool
) -> None:
    story = room(version, {ALICE: 100, BOB: 90})
    down, change = (1_000, 2_000) if demotion_first else (2_000, 1_000)
    story.levels("down", BOB, {ALICE: 100, BOB: 0}, "levels bob", ts=down)
    story.levels("change", BOB, {ALICE: 100, BOB: 90, CAROL: 50}, "levels bob", ts=change)
    # The same power level, so time decides. First the demotion: at 0 Bob may not do the other. First the
    # change: the demotion follows. (It takes Carol's level away, which at 90 he may.)
    resolved = story.resolve(BASE.replace("levels", "down"), BASE.replace("levels", "change"))
    assert resolved == {POWER_LEVELS: "down"}


@pytest.mark.parametrize("version", VERSIONS)
def test_who_joins_while_the_room_becomes_private_is_not_in_it(version: str) -> None:
    story = room(version)
    story.member("dave", DAVE, DAVE, "join", "levels public", ts=1_000)
    story.join_rule("private", ALICE, "invite", "alice levels", ts=2_000)
    # Join rules are power events: "private" replaces "public" before anyone looks at the join.
    resolved = story.resolve(f"{BASE} dave", BASE.replace("public", "private"))
    assert resolved == {JOIN_RULES: "private"}


@pytest.mark.parametrize("version", VERSIONS)
def test_who_was_invited_while_the_room_became_private_joins(version: str) -> None:
    story = room(version)
    story.member("invited", BOB, DAVE, "invite", "levels public bob")
    story.member("dave", DAVE, DAVE, "join", "levels public invited", ts=1_000)
    story.join_rule("private", ALICE, "invite", "alice levels", ts=2_000)
    resolved = story.resolve(f"{BASE} dave", BASE.replace("public", "private") + " invited")
    assert resolved == {JOIN_RULES: "private", DAVE: "dave"}


@pytest.mark.parametrize("version", VERSIONS)
def test_two_moderators_who_kick_each_other_are_settled_by_time(version: str) -> None:
    story = room(version, {ALICE: 100, BOB: 50, CAROL: 49})
    story.member("carol-kicked", BOB, CAROL, "leave", "levels bob carol", ts=2_000)
    story.levels("levels2", ALICE, {ALICE: 100, BOB: 50, CAROL: 60}, "alice levels")
    story.member("bob-kicked", CAROL, BOB, "leave", "levels2 carol bob", ts=3_000)
    # Each looks at their own auth events: there Carol has 60 and Bob 50, so her kick goes first, after
    # levels2 in its auth chain. Then Bob is not in the room any more.
    one = "create alice levels public bob carol-kicked"
    resolved = story.resolve(one, "create alice levels2 public bob-kicked carol")
    assert resolved == {POWER_LEVELS: "levels2", BOB: "bob-kicked", CAROL: "carol"}


@pytest.mark.parametrize(("version", "rule"), [("2", "public"), ("11", "public"), ("12", "private")])
def test_version_12_judges_old_events_without_what_came_later(version: str, rule: str) -> None:
    story = room(version)
    story.join_rule("private", BOB, "invite", "levels bob")
    story.member("bob-left", BOB, BOB, "leave", "levels bob")
    state = "create alice levels bob-left carol"
    # That Bob has left is unconflicted. Algorithm 2 begins with it, so it takes the change back that he made
    # when he was there: a state reset. Algorithm 2.1 judges the change by its own auth events.
    assert story.resolve(f"{state} public", f"{state} private") == {JOIN_RULES: rule}


@pytest.mark.parametrize(("version", "levels"), [("2", "levels"), ("11", "levels"), ("12", "levels3")])
def test_version_12_replays_what_lies_between_conflicted_events(version: str, levels: str) -> None:
    story = room(version)
    story.levels("levels2", ALICE, {ALICE: 100, BOB: 100}, "alice levels")
    story.levels("levels3", BOB, {ALICE: 100, BOB: 100, CAROL: 100}, "levels2 bob")
    story.member("dave", DAVE, DAVE, "join", "levels2 public")
    state = "create alice public bob carol dave"
    # levels2, by which Bob got 100, is in no state, and by Dave's join in the auth chain of both: it is not
    # in the auth difference. Algorithm 2 goes from levels, where Bob has 50, right to levels3, by which he
    # gives Carol 100: refused. In version 12 it lies on the path from levels3 to levels and is replayed.
    assert story.resolve(f"{state} levels", f"{state} levels3") == {POWER_LEVELS: levels}


def test_in_version_2_a_path_that_leaves_the_set_orders_what_it_connects() -> None:
    story = Story("11")
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.levels("levels", ALICE, {ALICE: 100, BOB: 50, DAVE: 100}, "alice")
    story.join_rule("private", ALICE, "invite", "alice levels")
    story.member("bob", BOB, BOB, "join", "levels")
    story.join_rule("public", BOB, "public", "levels bob")
    story.member("dave", DAVE, DAVE, "join", "levels public")
    story.levels("demotion", DAVE, {ALICE: 100, DAVE: 100}, "levels dave")
    # demotion → dave → public: Dave's join is unconflicted, and by the name in the auth chains of both
    # states, so it is not in the full conflicted set. Yet "public" is in the auth chain of "demotion" and
    # comes before it, although Bob has 50 and Dave 100; it is still Bob's to set.
    story.tell("name", DAVE, "m.room.name", {}, "levels dave")
    state = "create alice bob dave name"
    assert story.resolve(f"{state} levels public", f"{state} demotion private") == {
        JOIN_RULES: "public",
        POWER_LEVELS: "demotion",
    }


def unseen_dave(version: str, rejected: bool = False) -> Story:
    """A room whose topic Dave set, who is in none of its states. It has become private since he joined."""
    story = room(version, {ALICE: 100, BOB: 50, DAVE: 50})
    story.member("dave", DAVE, DAVE, "join", "levels public", rejected=rejected)
    story.tell("topic", DAVE, TOPIC, {}, "levels dave")
    story.join_rule("private", ALICE, "invite", "alice levels")
    return story


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_of_the_auth_difference_alone_gets_a_value(version: str) -> None:
    story = unseen_dave(version)
    # The topic's auth chain brings Dave's join into the full conflicted set; the room is public.
    assert story.resolve(f"{BASE} topic", BASE) == {TOPIC: "topic", DAVE: "dave"}


@pytest.mark.parametrize(("version", "dave"), [("2", None), ("11", None), ("12", "$dave")])
def test_a_key_of_the_auth_difference_alone_may_get_none(version: str, dave: str | None) -> None:
    story = unseen_dave(version)
    private = BASE.replace("public", "private")
    conflict = story.conflict(story.state(f"{private} topic"), story.state(private))
    # By the unconflicted join rule Dave may not join. His topic is judged by the state, which knows nothing
    # of him, and so by its own auth event: he was joined. Algorithm 2.1 knows of no join rule but that which
    # Dave's join cites.
    assert resolve(conflict) == {("m.room.topic", ""): "$topic", ("m.room.member", DAVE): dave}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_auth_event_that_was_rejected_speaks_for_nobody(version: str) -> None:
    story = unseen_dave(version, rejected=True)
    story.tell("other", DAVE, TOPIC, {}, "levels dave")
    private = BASE.replace("public", "private")
    conflict = story.conflict(story.state(f"{private} topic"), story.state(f"{private} other"))
    # Dave's join is in the auth chain of both states and not in conflict. The state has no member event of
    # his, and that which the topics cite does not count.
    assert resolve(conflict) == {("m.room.topic", ""): None}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rejected_event_is_judged_as_any_other(version: str) -> None:
    story = unseen_dave(version, rejected=True)
    assert story.resolve(f"{BASE} topic", BASE) == {TOPIC: "topic", DAVE: "dave"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unconflicted_key_is_not_in_the_result(version: str) -> None:
    story = room(version)
    story.levels("levels2", ALICE, {ALICE: 100}, "alice levels")
    story.levels("levels3", ALICE, {**LEVELS, CAROL: 50}, "alice levels")
    story.tell("topic", CAROL, TOPIC, {}, "levels3 carol")
    # levels3 comes in by the topic's auth chain alone. While it is replayed Carol has her 50; but the states
    # agree on levels2, and that stays.
    state = BASE.replace("levels", "levels2")
    assert story.resolve(f"{state} topic", state) == {TOPIC: "topic"}


@pytest.mark.parametrize("version", VERSIONS)
def test_more_than_two_states(version: str) -> None:
    story = room(version)
    story.tell("topic1", ALICE, TOPIC, {}, "alice levels", ts=1_000)
    story.tell("topic2", BOB, TOPIC, {}, "levels bob", ts=2_000)
    story.member("ban", ALICE, BOB, "ban", "alice levels bob", ts=3_000)
    banned = BASE.replace("bob", "ban")
    assert story.resolve(f"{BASE} topic1", f"{BASE} topic2", banned) == {TOPIC: "topic1", BOB: "ban"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_event_without_a_state_key_changes_nothing(version: str) -> None:
    story = room(version)
    # An event that cites a message is rejected, so no state holds it; even so nothing comes of the message.
    story.tell("message", BOB, "m.room.message", {}, "levels bob", state_key=None)
    story.tell("topic", BOB, TOPIC, {}, "levels bob message")
    assert story.resolve(f"{BASE} topic", BASE) == {TOPIC: "topic"}
