# SPDX-License-Identifier: Apache-2.0
"""When a redaction takes effect. spec: rooms, "Handling redactions"."""

from __future__ import annotations

import attrs
import pytest

from federation.rules.auth.power_levels import PowerLevels
from federation.rules.auth.redactions import may_apply_redaction
from federation.rules.room_versions import ROOM_VERSIONS
from tests.support.rooms import ALICE, BOB, make_room

CAROL = "@carol:c.example"
BEN = "@ben:b.example"


@pytest.mark.parametrize("name", ROOM_VERSIONS)
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
def test_who_may_redact(name: str, sender: str, target_sender: str, applies: bool) -> None:
    room = make_room(name, members=[BOB, BEN, CAROL], levels={CAROL: 50})
    target = room.message(target_sender)
    redaction = room.send(sender, "m.room.redaction", {"redacts": target.event_id})
    levels = PowerLevels.of(room.create, room.auth_state.power_levels, room.version)
    assert may_apply_redaction(redaction, target, levels) is applies
    raised = attrs.evolve(levels, redact=51)
    assert may_apply_redaction(redaction, target, raised) is (applies and sender != CAROL)


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_an_event_of_another_room_is_out_of_reach(name: str) -> None:
    room, other = make_room(name), make_room(name, localpart="other")
    target = other.message(ALICE)
    redaction = room.send(ALICE, "m.room.redaction", {"redacts": target.event_id})
    levels = PowerLevels.of(room.create, room.auth_state.power_levels, room.version)
    assert not may_apply_redaction(redaction, target, levels)
