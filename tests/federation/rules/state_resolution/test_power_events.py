# SPDX-License-Identifier: Apache-2.0
"""Which events are power events, and what is settled with them."""

from __future__ import annotations

import pytest

from federation.rules.state_resolution.power_events import is_power_event, with_auth_chains
from tests.support.resolving import ALICE, BOB, Story


@pytest.mark.parametrize(
    ("event_type", "state_key", "content", "power"),
    [
        ("m.room.power_levels", "", {}, True),
        ("m.room.power_levels", "other", {}, True),
        ("m.room.power_levels", None, {}, False),
        ("m.room.join_rules", "", {}, True),
        ("m.room.join_rules", None, {}, False),
        ("m.room.member", BOB, {"membership": "ban"}, True),
        ("m.room.member", BOB, {"membership": "leave"}, True),
        ("m.room.member", BOB, {"membership": "invite"}, False),
        ("m.room.member", BOB, {"membership": ["ban"]}, False),
        ("m.room.member", BOB, {}, False),
        ("m.room.member", ALICE, {"membership": "leave"}, False),
        ("m.room.member", ALICE, {"membership": "ban"}, False),
        ("m.room.member", None, {"membership": "ban"}, False),
        ("m.room.create", "", {}, False),
        ("m.room.third_party_invite", "token", {}, False),
        ("m.room.topic", "", {}, False),
    ],
)
def test_power_events(
    event_type: str, state_key: str | None, content: dict[str, object], power: bool
) -> None:
    story = Story("11")
    story.tell("event", ALICE, event_type, content, state_key=state_key)
    assert is_power_event(story.events["$event"]) is power


def test_auth_chains_are_followed_within_the_set() -> None:
    story = Story("11")
    for name, cites in (("a", ""), ("b", "a"), ("c", "b"), ("d", "b c"), ("outside", "a"), ("e", "outside")):
        story.tell(name, ALICE, "m.room.topic", {}, cites)
    within = {"$a", "$b", "$c", "$d", "$e"}
    assert with_auth_chains(["$d"], within, story.events) == {"$a", "$b", "$c", "$d"}
    assert with_auth_chains(["$c", "$e"], within, story.events) == {"$a", "$b", "$c", "$e"}
    assert with_auth_chains(["$e"], within | {"$outside"}, story.events) == {"$a", "$e", "$outside"}


def test_a_circle_is_walked_once() -> None:
    story = Story("2")
    story.tell("a", ALICE, "m.room.topic", {}, "b a")
    story.tell("b", ALICE, "m.room.topic", {}, "a")
    assert with_auth_chains(["$a"], {"$a", "$b"}, story.events) == {"$a", "$b"}
