# SPDX-License-Identifier: Apache-2.0
"""Reverse topological power ordering."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.reverse_topological_power_ordering import (
    reverse_topological_power_ordering,
)
from tests.support.resolving import ALICE, BOB, CAROL, Story, auth_chain

TOPIC = "m.room.topic"


def ordered(story: Story, names: str, connecting: str = "") -> list[str]:
    """Names of events in their order."""
    events, others = ([story.events[f"${name}"] for name in some.split()] for some in (names, connecting))
    auth_events = AuthEvents(version=story.version, events=story.events, rejected=())
    return [e.event_id[1:] for e in reverse_topological_power_ordering(events, others, auth_events)]


@pytest.fixture(params=["2", "11", "12"])
def story(request: pytest.FixtureRequest) -> Story:
    story = Story(request.param)
    story.levels("levels", ALICE, {ALICE: 100, BOB: 50}, "")
    return story


def test_power_goes_before_time_and_time_before_ids(story: Story) -> None:
    story.tell("weak", CAROL, TOPIC, {}, "levels", ts=1)
    story.tell("strong", ALICE, TOPIC, {}, "levels", ts=9)
    story.tell("later", BOB, TOPIC, {}, "levels", ts=6)
    story.tell("b", BOB, TOPIC, {}, "levels", ts=5)
    story.tell("a", BOB, TOPIC, {}, "levels", ts=5)
    assert ordered(story, "later weak b strong a") == ["strong", "a", "b", "later", "weak"]


def test_what_is_cited_goes_before_power(story: Story) -> None:
    story.tell("weak", CAROL, TOPIC, {}, "levels")
    story.tell("middle", BOB, TOPIC, {}, "levels")
    story.tell("strong", ALICE, TOPIC, {}, "levels weak")
    assert ordered(story, "strong middle weak") == ["middle", "weak", "strong"]


def test_power_is_that_by_the_auth_events(story: Story) -> None:
    story.levels("levels2", ALICE, {ALICE: 100, CAROL: 60}, "levels")
    story.tell("bob", BOB, TOPIC, {}, "levels", ts=1)
    story.tell("carol", CAROL, TOPIC, {}, "levels2", ts=2)
    assert ordered(story, "bob carol") == ["carol", "bob"]


def test_without_power_levels_the_creator_has_power(story: Story) -> None:
    story.tell("bob", BOB, TOPIC, {}, "", ts=1)
    story.tell("alice", ALICE, TOPIC, {}, "", ts=2)
    assert ordered(story, "bob alice") == ["alice", "bob"]


def test_creators_of_version_12_stand_above_all_levels() -> None:
    story = Story("12", {"additional_creators": [CAROL]})
    story.levels("levels", ALICE, {BOB: 2**53 - 1}, "")
    story.tell("bob", BOB, TOPIC, {}, "levels", ts=1)
    story.tell("carol", CAROL, TOPIC, {}, "levels", ts=3)
    story.tell("alice", ALICE, TOPIC, {}, "levels", ts=2)
    assert ordered(story, "bob carol alice") == ["alice", "carol", "bob"]


def test_the_create_event_goes_first(story: Story) -> None:
    story.tell("bob", BOB, TOPIC, {}, "levels", ts=-1)
    expected = ["create", "levels", "bob"]
    if story.version.room_id_is_create_hash:
        # Nothing cites it, and its sender is above Bob.
        assert ordered(story, "bob create") == ["create", "bob"]
    else:
        assert ordered(story, "bob levels create") == expected


def test_an_event_whose_create_event_is_unknown_has_no_power() -> None:
    story = Story("11")
    story.tell("alice", ALICE, TOPIC, {}, "", ts=2)
    story.tell("bob", BOB, TOPIC, {}, "", ts=1)
    del story.events["$create"]
    assert ordered(story, "alice bob") == ["bob", "alice"]


def test_what_connects_orders_and_is_left_out(story: Story) -> None:
    story.tell("weak", CAROL, TOPIC, {}, "levels")
    story.tell("between", CAROL, TOPIC, {}, "levels weak")
    story.tell("strong", ALICE, TOPIC, {}, "levels between")
    assert ordered(story, "strong weak") == ["strong", "weak"]
    assert ordered(story, "strong weak", "between") == ["weak", "strong"]


def test_what_connects_holds_up_nobody(story: Story) -> None:
    story.tell("middle", BOB, TOPIC, {}, "levels")
    story.tell("between", CAROL, TOPIC, {}, "levels", ts=99)
    story.tell("strong", ALICE, TOPIC, {}, "levels between")
    assert ordered(story, "strong middle", "between") == ["strong", "middle"]


def test_a_circle_is_broken_at_its_smallest_event() -> None:
    story = Story("2")
    story.tell("a", BOB, TOPIC, {}, "b", ts=5)
    story.tell("b", BOB, TOPIC, {}, "c", ts=4)
    story.tell("c", BOB, TOPIC, {}, "a", ts=3)
    story.tell("d", BOB, TOPIC, {}, "d", ts=2)
    story.tell("e", BOB, TOPIC, {}, "a", ts=1)
    story.tell("f", ALICE, TOPIC, {}, "", ts=9)
    # f is free. Then d, the smallest of those that cite themselves; e waits for a but is smaller: without a
    # circle of its own it would wait, but when nobody can go on it is the smallest of all that are left.
    assert ordered(story, "a b c d e f") == ["f", "e", "d", "c", "b", "a"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_is_the_smallest_topological_order(data: st.DataObject) -> None:
    story = Story("11")
    story.levels("levels", ALICE, {ALICE: 100, BOB: 50}, "")
    names = data.draw(st.permutations("abcde"))
    for i, name in enumerate(names):
        sender = data.draw(st.sampled_from([ALICE, BOB, CAROL]))
        cites = data.draw(st.lists(st.sampled_from(names[:i]), unique=True, max_size=2)) if i else []
        story.tell(name, sender, TOPIC, {}, " ".join(["levels", *cites]), ts=data.draw(st.integers(0, 2)))
    chosen = data.draw(st.sets(st.sampled_from(names), min_size=1))
    rank = {
        name: (-{ALICE: 100, BOB: 50, CAROL: 0}[e.sender], e.origin_server_ts, e.event_id)
        for name in names
        for e in [story.events[f"${name}"]]
    }
    chains = {name: auth_chain([f"${name}"], story.events) for name in names}
    orders = [
        order
        for order in permutations(chosen)
        if not any(f"${later}" in chains[order[i]] for i in range(len(order)) for later in order[i:])
    ]
    smallest = min(orders, key=lambda order: [rank[name] for name in order])
    # Those that were not chosen connect.
    others = " ".join(name for name in names if name not in chosen)
    assert ordered(story, " ".join(chosen), others) == list(smallest)
