# SPDX-License-Identifier: Apache-2.0
"""What a gathering asks for, and what it gives."""

from __future__ import annotations

import pickle

import attrs
import pytest

from federation.rules.state_resolution.gathering import Gathering
from federation.rules.state_resolution.resolution import resolve
from tests.support.resolving import ALICE, BOB, Story, gather

MEMBER_BOB = ("m.room.member", BOB)
MEMBER_ALICE = ("m.room.member", ALICE)
CREATE = ("m.room.create", "")
LEVELS = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")
TOPIC = ("m.room.topic", "")

BASE = "create alice levels public bob"


def room(version: str) -> Story:
    """A room in which Bob has joined, set a topic, and been banned."""
    story = Story(version)
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.levels("levels", ALICE, {ALICE: 100, BOB: 50}, "alice")
    story.join_rule("public", ALICE, "public", "alice levels")
    story.member("bob", BOB, BOB, "join", "levels public")
    story.tell("topic", BOB, "m.room.topic", {}, "levels bob")
    story.member("ban", ALICE, BOB, "ban", "alice levels bob")
    return story


def gathering_of(story: Story) -> Gathering:
    """Bob's ban against his topic."""
    return story.gathering(story.state(f"{BASE} topic"), story.state("create alice levels public ban"))


def names(ids: frozenset[str]) -> str:
    return " ".join(sorted(event_id[1:] for event_id in ids))


def learn(gathering: Gathering, story: Story) -> None:
    missing = gathering.missing()
    gathering.learn([story.events[e] for e in missing], missing & story.rejected)


@pytest.mark.parametrize(
    ("version", "steps"),
    [
        ("1", ["ban bob topic"]),
        ("2", ["ban bob topic", "alice create levels public"]),
        ("11", ["ban bob topic", "alice create levels public"]),
        # The create event is implied by the room id.
        ("12", ["ban bob topic", "alice levels public", "create"]),
    ],
)
def test_it_asks_for_the_conflict_and_what_that_cites(version: str, steps: list[str]) -> None:
    story = room(version)
    gathering = gathering_of(story)
    asked = []
    while gathering.missing():
        asked.append(names(gathering.missing()))
        learn(gathering, story)
    assert asked == steps


def test_it_asks_again_for_what_it_did_not_learn() -> None:
    story = room("11")
    gathering = gathering_of(story)
    gathering.learn([story.events["$bob"]])
    assert names(gathering.missing()) == names(gathering.missing()) == "ban topic"
    gathering.learn([story.events["$ban"], story.events["$levels"]])
    assert names(gathering.missing()) == "topic"
    learn(gathering, story)
    assert names(gathering.missing()) == "alice create public"


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        # By which the events are judged. Alice's is asked for since she sent the ban.
        ("1", {CREATE, LEVELS, JOIN_RULES, MEMBER_ALICE}),
        ("11", {CREATE, LEVELS, JOIN_RULES, MEMBER_ALICE}),
        # Nothing is judged by the unconflicted state.
        ("12", set()),
    ],
)
def test_the_unconflicted_keys(version: str, keys: set[tuple[str, str]]) -> None:
    story = room(version)
    gathering = gathering_of(story)
    while gathering.missing():
        learn(gathering, story)
    assert gathering.unconflicted_keys() == keys


@pytest.mark.parametrize("version", ["11", "12"])
def test_keys_that_the_auth_difference_brings_in_may_be_unconflicted(version: str) -> None:
    story = room(version)
    conflicted = {TOPIC: ["$topic"]}
    gathering = Gathering(story.version, conflicted, auth_difference=["$bob", "$public"])
    while gathering.missing():
        learn(gathering, story)
    assert {MEMBER_BOB, JOIN_RULES} <= gathering.unconflicted_keys()
    gathering.set_unconflicted({JOIN_RULES: "$public", CREATE: "$create", ("m.room.name", ""): "$unasked"})
    while gathering.missing():
        learn(gathering, story)
    conflict = gathering.conflict()
    assert conflict.unconflicted.get(JOIN_RULES) == "$public"
    assert ("m.room.name", "") not in conflict.unconflicted
    assert resolve(conflict).keys() == {TOPIC, MEMBER_BOB}


@pytest.mark.parametrize(("version", "asked"), [("1", True), ("11", True), ("12", False)])
def test_unconflicted_events_are_asked_for_where_they_judge(version: str, asked: bool) -> None:
    story = room(version)
    story.levels("levels2", ALICE, {ALICE: 100, BOB: 50}, "alice levels")
    story.tell("name", ALICE, "m.room.name", {}, "alice levels")
    gathering = Gathering(story.version, {TOPIC: ["$topic"]}, auth_difference=["$name"])
    while gathering.missing():
        learn(gathering, story)
    gathering.set_unconflicted({LEVELS: "$levels2", ("m.room.name", ""): "$name2", CREATE: "$create"})
    missing = gathering.missing()
    assert ("$levels2" in missing) is asked
    assert "$name2" not in missing


@pytest.mark.parametrize("version", ["2", "12"])
def test_it_reads_mainlines_until_they_meet(version: str) -> None:
    story = room(version)
    for i in range(2, 6):
        before = "levels" if i == 2 else f"levels{i - 1}"
        story.levels(f"levels{i}", ALICE, {ALICE: 100, BOB: 50}, f"alice {before}")
    story.tell("topic5", BOB, "m.room.topic", {}, "levels5 bob")
    gathering = Gathering(story.version, {TOPIC: ["$topic", "$topic5"]}, auth_difference=["$levels4"])
    while gathering.missing():
        learn(gathering, story)
    gathering.set_unconflicted({LEVELS: "$levels5", CREATE: "$create", MEMBER_BOB: "$bob"})
    asked = []
    while gathering.missing():
        asked.append(names(gathering.missing()))
        learn(gathering, story)
    # levels4 cites levels3, which was read with it; levels is that of the older topic.
    assert "levels2" in asked
    assert resolve(gathering.conflict())[TOPIC] == "$topic5"


def test_it_does_not_give_what_is_incomplete() -> None:
    story = room("11")
    gathering = gathering_of(story)
    with pytest.raises(ValueError, match="missing"):
        gathering.unconflicted_keys()
    with pytest.raises(ValueError, match="missing"):
        gathering.set_unconflicted({})
    while gathering.missing():
        learn(gathering, story)
    with pytest.raises(ValueError, match="not set"):
        gathering.conflict()
    story.levels("levels2", ALICE, {ALICE: 100, BOB: 50}, "alice levels")
    gathering.set_unconflicted({LEVELS: "$levels2"})
    with pytest.raises(ValueError, match="missing"):
        gathering.conflict()
    learn(gathering, story)
    assert gathering.conflict().size == 3


@pytest.mark.parametrize(("version", "size"), [("1", 3), ("11", 3), ("12", 4)])
def test_the_subgraph_is_resolved_in_version_12_and_connects_before(version: str, size: int) -> None:
    story = room(version)
    conflicted = {MEMBER_BOB: ["$bob", "$ban"], TOPIC: ["$topic"]}
    gathering = Gathering(story.version, conflicted, subgraph=["$bob", "$public"])
    conflict = gather(gathering, story.events, (), {})
    assert conflict.size == size
    assert set(conflict.connecting) == (set() if size == 4 else {"$public"})


def test_nothing_in_conflict_resolves_to_nothing() -> None:
    for version in ("1", "11", "12"):
        story = Story(version)
        assert resolve(story.conflict(story.state("create"), story.state("create"))) == {}


@pytest.mark.parametrize("version", ["1", "11", "12"])
def test_a_conflict_travels_between_processes(version: str) -> None:
    story = room(version)
    story.rejected.add("$topic")
    conflict = story.conflict(story.state(f"{BASE} topic"), story.state("create alice levels public ban"))
    sent = pickle.dumps(conflict)
    received = pickle.loads(sent)
    for field in ("version", "conflicted", "full_conflicted_set", "connecting", "unconflicted", "rejected"):
        assert getattr(received, field) == getattr(conflict, field)
    assert {i: attrs.asdict(e) for i, e in received.events.items()} == {
        i: attrs.asdict(e) for i, e in conflict.events.items()
    }
    assert resolve(received) == resolve(conflict)
    # Little more than the events' own JSON and ids.
    assert len(sent) < sum(len(e.json) + 100 for e in conflict.events.values()) + 1000
