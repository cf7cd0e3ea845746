# SPDX-License-Identifier: Apache-2.0
"""`m.room.aliases`: a rule of its own in versions 1 to 5. spec: rooms, "Authorisation rules", 4."""

from __future__ import annotations

import pytest

from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from tests.support.judging import CREATOR, LEVELS, MODERATOR, USER, VERSIONS, Facts, number, since

OLD = [version for version in VERSIONS if not since(version, 6)]
LATER = [version for version in VERSIONS if since(version, 6)]


def room(version: RoomVersion, membership: str | None = "join", federate: bool = True) -> Facts:
    members = {MODERATOR: "join", **({} if membership is None else {USER: membership})}
    return Facts(version, users=LEVELS, members=members, create={"m.federate": federate})


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.identifier)
@pytest.mark.parametrize("membership", [None, "join", "leave", "ban"])
@pytest.mark.parametrize(
    ("state_key", "rule"),
    [
        ("b.example", None),
        (None, "4.1"),
        ("", "4.2"),
        ("a.example", "4.2"),
        ("B.example", "4.2"),
        ("b.example:8448", "4.2"),
        (USER, "4.2"),
    ],
)
def test_a_server_sets_its_own(
    version: RoomVersion, membership: str | None, state_key: str | None, rule: str | None
) -> None:
    facts = room(version, membership)
    assert facts.refusal(facts.event("m.room.aliases", USER, {"aliases": []}, state_key)) == rule


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.identifier)
def test_the_room_may_be_closed_to_the_server(version: RoomVersion) -> None:
    facts = room(version, federate=False)
    assert facts.refusal(facts.event("m.room.aliases", USER, {}, "b.example")) == "3"
    assert facts.refusal(facts.event("m.room.aliases", CREATOR, {}, "a.example")) is None


@pytest.mark.parametrize("version", LATER, ids=lambda version: version.identifier)
def test_later_it_is_an_event_as_any_other(version: RoomVersion) -> None:
    facts = room(version)
    by_user = facts.event("m.room.aliases", USER, {}, "b.example")
    assert facts.refusal(by_user) == number(Rule.REQUIRED_LEVEL, version)
    assert facts.refusal(facts.event("m.room.aliases", MODERATOR, {}, "b.example")) is None
    outside = room(version, "leave")
    assert outside.refusal(by_user) == number(Rule.SENDER_NOT_JOINED, version)
