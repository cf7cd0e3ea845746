# SPDX-License-Identifier: Apache-2.0
"""Mainline ordering, and how far back power levels must be known for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.mainline_ordering import mainline_ordering
from federation.rules.state_resolution.mainlines import Mainlines
from storage.event import Event
from tests.support.resolving import ALICE, Story

TOPIC = "m.room.topic"


def ordered(story: Story, names: str, power_levels: str | None, known: set[str] | None = None) -> list[str]:
    """Names of events in their order by a mainline, with the events `known`."""
    events = {i: e for i, e in story.events.items() if known is None or i in known}
    auth_events = AuthEvents(version=story.version, events=events, rejected=())
    based_on = None if power_levels is None else story.events[f"${power_levels}"]
    chosen = [story.events[f"${name}"] for name in names.split()]
    return [e.event_id[1:] for e in mainline_ordering(chosen, based_on, auth_events)]


@pytest.fixture
def story() -> Story:
    """Power levels p1 ← p2 ← p3, and a side line p2 ← q1 ← q2."""
    story = Story("11")
    for name, cites in (("p1", ""), ("p2", "p1"), ("p3", "p2"), ("q1", "p2"), ("q2", "q1")):
        story.levels(name, ALICE, {}, cites)
    return story


def test_earlier_places_on_the_mainline_go_first(story: Story) -> None:
    for ts, name in ((9, "p1"), (7, "p2"), (1, "p3")):
        story.tell(f"t{name}", ALICE, TOPIC, {}, name, ts=ts)
    assert ordered(story, "tp3 tp1 tp2", "p3") == ["tp1", "tp2", "tp3"]


def test_a_side_line_counts_where_it_meets_the_mainline(story: Story) -> None:
    story.tell("on", ALICE, TOPIC, {}, "p2", ts=5)
    story.tell("before", ALICE, TOPIC, {}, "q2", ts=4)
    story.tell("after", ALICE, TOPIC, {}, "q1", ts=6)
    story.tell("old", ALICE, TOPIC, {}, "p1", ts=9)
    story.tell("new", ALICE, TOPIC, {}, "p3", ts=1)
    expected = ["old", "before", "on", "after", "new"]
    assert ordered(story, "new after on old before", "p3") == expected


def test_what_is_off_the_mainline_goes_first(story: Story) -> None:
    story.levels("other", ALICE, {}, "")
    story.tell("off", ALICE, TOPIC, {}, "other", ts=9)
    story.tell("none", ALICE, TOPIC, {}, "", ts=8)
    story.tell("old", ALICE, TOPIC, {}, "p1", ts=1)
    assert ordered(story, "old off none", "p3") == ["none", "off", "old"]


def test_without_power_levels_time_and_ids_order(story: Story) -> None:
    story.tell("c", ALICE, TOPIC, {}, "p1", ts=2)
    story.tell("b", ALICE, TOPIC, {}, "p3", ts=1)
    story.tell("a", ALICE, TOPIC, {}, "p1", ts=1)
    assert ordered(story, "c b a", None) == ["a", "b", "c"]


def test_power_levels_are_ordered_by_those_that_they_cite(story: Story) -> None:
    # p3 itself is at position 1, where p2 is; q1 as well, but later.
    story.tell("new", ALICE, TOPIC, {}, "p3", ts=0)
    assert ordered(story, "new q1 p3 p2 p1", "p3") == ["p1", "p2", "p3", "q1", "new"]


def test_power_levels_that_cite_each_other_in_a_circle_have_an_end() -> None:
    story = Story("2")
    story.levels("p1", ALICE, {}, "p2")
    story.levels("p2", ALICE, {}, "p1")
    story.levels("q1", ALICE, {}, "q2")
    story.levels("q2", ALICE, {}, "q1")
    story.tell("off", ALICE, TOPIC, {}, "q1", ts=9)
    story.tell("on1", ALICE, TOPIC, {}, "p1", ts=1)
    story.tell("on2", ALICE, TOPIC, {}, "p2", ts=2)
    # The mainline of p2 is p2, p1.
    assert ordered(story, "on1 off on2", "p2") == ["off", "on1", "on2"]
    assert list(Mainlines(story.events.values(), story.events, auth_events_of(story)).steps()) == []


def auth_events_of(story: Story) -> AuthEvents:
    return AuthEvents(version=story.version, events=story.events, rejected=())


def read(story: Story, starts: str) -> tuple[list[set[str]], dict[str, Event]]:
    """What is asked for, by names, beginning with the power levels `starts`; and all that is known then."""
    known = {f"${name}": story.events[f"${name}"] for name in ["create", *starts.split()]}
    beginnings = [known[f"${name}"] for name in starts.split()]
    asked = []
    auth_events = AuthEvents(version=story.version, events=known, rejected=())
    for step in Mainlines(beginnings, known, auth_events).steps():
        new = {event_id for event_id in step if event_id not in known}
        asked.append({event_id[1:] for event_id in new})
        known |= {event_id: story.events[event_id] for event_id in new}
    return asked, known


@pytest.mark.parametrize(
    ("starts", "asked"),
    [
        ("", []),
        ("p1", []),
        ("p3", []),  # one line is always one
        ("p3 p2", []),
        ("p3 p1", [{"p2"}]),
        ("p3 q1", [{"p2"}]),
        ("q2 p3", [{"q1"}, {"p2"}]),
        ("p3 q2 p1", [{"p2", "q1"}]),
    ],
)
def test_mainlines_are_read_until_they_meet(story: Story, starts: str, asked: list[set[str]]) -> None:
    assert read(story, starts)[0] == asked


def test_mainlines_that_do_not_meet_are_read_to_their_ends(story: Story) -> None:
    story.levels("r1", ALICE, {}, "", depth=0)
    story.levels("r2", ALICE, {}, "r1", depth=0)
    asked, _ = read(story, "p3 r2")
    assert set().union(*asked) == {"p2", "p1", "r1"}


def test_a_depth_that_lies_does_not_end_the_reading_early(story: Story) -> None:
    story.levels("s3", ALICE, {}, "p3", depth=0)
    asked, known = read(story, "s3 p1")
    assert set().union(*asked) == {"p2", "p3"}
    assert set(known) == {"$create", "$s3", "$p1", "$p2", "$p3"}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_not_read_changes_no_order(data: st.DataObject) -> None:
    story = Story("2")
    for i in range(data.draw(st.integers(1, 10))):
        parent = data.draw(st.none() | st.integers(0, i - 1)) if i else None
        cites = "" if parent is None else f"p{parent}"
        story.levels(f"p{i}", ALICE, {}, cites, depth=data.draw(st.integers(0, 12)))
    lines = sorted(name[1:] for name in story.events if name != "$create")
    for i in range(data.draw(st.integers(1, 6))):
        cites = data.draw(st.sampled_from(["", *lines]))
        story.tell(f"t{i}", ALICE, TOPIC, {}, cites, ts=data.draw(st.integers(0, 3)))
    topics = [name[1:] for name in story.events if name.startswith("$t")]
    based_on = data.draw(st.sampled_from(lines))
    cited = {e[1:] for name in topics for e in story.events[f"${name}"].auth_events} - {"create"}
    _, known = read(story, " ".join(sorted(cited | {based_on})))
    names = " ".join(topics)
    assert ordered(story, names, based_on, set(known)) == ordered(story, names, based_on)
