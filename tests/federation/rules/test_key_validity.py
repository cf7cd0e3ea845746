# SPDX-License-Identifier: Apache-2.0
"""Which published keys count for an event, by the room's version."""

from __future__ import annotations

import pytest

from federation.rules.errors import InvalidSignature
from federation.rules.key_validity import PublishedKey, keys_for_event
from federation.rules.receipt import receive_pdu
from federation.rules.room_versions import ROOM_VERSIONS
from tests.support.rooms import ALICE, make_room, pdu_of, verify_keys

NOW = 1_800_000_000_000
DAY = 24 * 60 * 60 * 1000
KEY = b"\1" * 32
EARLY = ("1", "2", "3", "4")
LATE = tuple(name for name in ROOM_VERSIONS if name not in EARLY)


@pytest.mark.parametrize(
    ("valid_until", "sent", "counts"),
    [
        (NOW, NOW, True),  # "at least as large"
        (NOW - 1, NOW, False),
        (NOW - 30 * DAY, NOW - 30 * DAY, True),  # an old key, for an event of its time
        (NOW - 30 * DAY, NOW - 29 * DAY, False),
        (NOW + 100 * DAY, NOW + 7 * DAY, True),  # the lesser of its own word and seven days
        (NOW + 100 * DAY, NOW + 7 * DAY + 1, False),
        (NOW + DAY, NOW + 2 * DAY, False),
    ],
)
@pytest.mark.parametrize("version", [*EARLY, *LATE])
def test_a_key_counts(version: str, valid_until: int, sent: int, counts: bool) -> None:
    published = {"ed25519:a": PublishedKey(KEY, valid_until)}
    found = keys_for_event(published, sent, ROOM_VERSIONS[version], NOW)
    assert found == ({"ed25519:a": KEY} if counts or version in EARLY else {})


def test_each_key_is_judged_alone() -> None:
    published = {
        "ed25519:old": PublishedKey(b"\2" * 32, NOW - DAY),
        "ed25519:new": PublishedKey(KEY, NOW + DAY),
    }
    assert keys_for_event(published, NOW, ROOM_VERSIONS["12"], NOW) == {"ed25519:new": KEY}


@pytest.mark.parametrize("version", ["4", "5"])
def test_an_event_signed_with_a_key_that_had_ended(version: str) -> None:
    room = make_room(version)
    event = room.message(ALICE)
    published = {
        key_id: PublishedKey(key, event.origin_server_ts - 1)
        for key_id, key in verify_keys("a.example").items()
    }
    keys = keys_for_event(published, event.origin_server_ts, room.version, NOW)
    if version == "4":
        assert receive_pdu(pdu_of(event), room.version, {"a.example": keys}).event_id == event.event_id
    else:
        with pytest.raises(InvalidSignature):
            receive_pdu(pdu_of(event), room.version, {"a.example": keys})
