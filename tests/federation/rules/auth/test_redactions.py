# SPDX-License-Identifier: Apache-2.0
"""Who may redact. spec: rooms, versions 1 and 2, rule 11; from version 3 on, "Handling redactions"."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.rules.auth.power_levels import PowerLevels
from federation.rules.auth.redactions import may_apply_redaction
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from storage.event import Event
from tests.support.judging import LEVELS, MODERATOR, USER, VERSIONS, Facts, since
from tests.support.rooms import ALICE, BOB, Room, make_room

CAROL = "@carol:c.example"
BEN = "@ben:b.example"

OLD = [version for version in VERSIONS if not since(version, 3)]
LATER = [name for name, version in ROOM_VERSIONS.items() if since(version, 3)]


def redaction(room: Room, sender: str, target: Event, **options: Any) -> Event:
    if room.version.redacts_in_content:
        return room.send(sender, "m.room.redaction", {"redacts": target.event_id}, **options)
    return room.send(sender, "m.room.redaction", {}, redacts=target.event_id, **options)


def levels_of(room: Room) -> PowerLevels:
    return PowerLevels.of(room.create, room.auth_state.power_levels, room.version)


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize(
    ("sender", "target_sender", "applies"),
    [
        (ALICE, BOB, True),  # the creator
        (CAROL, BOB, True),  # at the redact level
        (BOB, BOB, True),  # oneself
        (BEN, BOB, True),  # of the same server
        (BOB, CAROL, False),
        (BOB, ALICE, False),
    ],
)
def test_what_takes_effect(name: str, sender: str, target_sender: str, applies: bool) -> None:
    """The authorisation rules let them all pass."""
    room = make_room(name, members=[BOB, BEN, CAROL], levels={CAROL: 50})
    target = room.message(target_sender)
    event = redaction(room, sender, target)
    levels = levels_of(room)
    assert may_apply_redaction(event, target, levels, room.version) is applies
    raised = attrs.evolve(levels, redact=51)
    assert may_apply_redaction(event, target, raised, room.version) is (applies and sender != CAROL)


@pytest.mark.parametrize("name", ["1", "2"])
def test_what_the_rules_accept_takes_effect(name: str) -> None:
    """In versions 1 and 2, whatever the levels have become since."""
    room = make_room(name, members=[BOB, CAROL], levels={CAROL: 50})
    target = room.message(BOB)
    event = redaction(room, CAROL, target)
    assert may_apply_redaction(event, target, attrs.evolve(levels_of(room), redact=1000), room.version)


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_an_event_of_another_room_is_out_of_reach(name: str) -> None:
    room, other = make_room(name), make_room(name, localpart="other")
    target = other.message(ALICE)
    event = redaction(room, ALICE, target)
    assert not may_apply_redaction(event, target, levels_of(room), room.version)


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.identifier)
@pytest.mark.parametrize(
    ("sender", "redact", "target", "allowed"),
    [
        (MODERATOR, None, "$x:c.example", True),  # the redact level is 50 by default
        (MODERATOR, 51, "$x:c.example", False),
        (MODERATOR, 51, "$x:a.example", True),
        (USER, None, "$x:c.example", False),
        (USER, 0, "$x:c.example", True),
        (USER, None, "$x:b.example", True),
        (USER, None, "$x:b.example:8448", False),
        (USER, None, "$x:B.example", False),
        (USER, None, "$b.example", False),
        (USER, None, "", False),
        (USER, None, None, False),
        (USER, None, 5, False),
        (MODERATOR, None, None, True),
    ],
)
def test_rule_11(version: RoomVersion, sender: str, redact: int | None, target: Any, allowed: bool) -> None:
    levels = {} if redact is None else {"redact": redact}
    facts = Facts(version, users=LEVELS, levels=levels, members={sender: "join"})
    event = facts.event("m.room.redaction", sender, {}, redacts=target)
    assert facts.refusal(event) == (None if allowed else "11.3")


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.identifier)
def test_rule_11_asks_for_the_servers_of_the_ids(version: RoomVersion) -> None:
    """Not for those of the senders."""
    facts = Facts(version, users=LEVELS, members={USER: "join"})
    event = facts.event("m.room.redaction", USER, {}, redacts="$x:c.example", event_id="$y:c.example")
    assert facts.refusal(event) is None
    event = facts.event("m.room.redaction", USER, {}, redacts="$x:b.example", event_id="$y:c.example")
    assert facts.refusal(event) == "11.3"


@pytest.mark.parametrize("version", OLD, ids=lambda version: version.identifier)
def test_other_rules_come_before_rule_11(version: RoomVersion) -> None:
    facts = Facts(version, users=LEVELS, levels={"events": {"m.room.redaction": 1}}, members={USER: "join"})
    assert facts.refusal(facts.event("m.room.redaction", USER, redacts="$x:b.example")) == "8"
