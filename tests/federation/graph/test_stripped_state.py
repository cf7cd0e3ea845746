# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from federation.graph.stripped_state import (
    MOST_BYTES,
    MOST_EVENTS,
    TYPES,
    prune_stripped_state,
    senders_of,
)

SENDER = "@carol:b.example"
OWN = ("m.room.member", "@alice:a.example")


def event(event_type: str = "m.room.name", state_key: Any = "", **members: Any) -> dict[str, Any]:
    return {"type": event_type, "state_key": state_key, "sender": SENDER, "content": {}, **members}


def pruned(*entries: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(prune_stripped_state(entries, leave_out=OWN))
    return found


def test_four_members_stay() -> None:
    pdu = event(content={"name": "n"}, room_id="!r", unsigned={"age": 1}, hashes={}, depth=3)
    assert pruned(pdu) == [event(content={"name": "n"})]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "m.room.name",
        [],
        {},
        event(state_key=None),
        event(state_key=1),
        event(type=None),
        event(sender="carol"),
        event(sender=7),
        event(sender="@carol"),
        event(content=[]),
        event(content=None),
        event("t" * 256),
        event(state_key="ü" * 128),
        event(content={"name": "\ud800"}),
        event("\ud800"),
        event(content={1: "key"}),
        event(*OWN),
        event(content={"name": "x" * MOST_BYTES}),
    ],
    ids=range(19),
)
def test_what_is_malformed_is_dropped_alone(entry: Any) -> None:
    assert pruned(entry, event("m.room.topic")) == [event("m.room.topic")]


def test_deep_nesting_is_dropped() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    deeper: Any = []
    for _ in range(100_000):
        deeper = [deeper]
    assert pruned(event(content={"a": deep}), event(content={"a": deeper})) == []


def test_odd_strings_and_numbers_stay() -> None:
    odd = event("m.room.\0power_levels", "\0", content={"name": "a\0b", "big": 2**70, "float": 1.5})
    assert pruned(odd) == [odd]


def test_what_identifies_the_room_comes_first() -> None:
    entries = [event(t) for t in reversed(TYPES)]
    assert [e["type"] for e in pruned(event("org.example"), *entries)] == [*TYPES, "org.example"]
    assert pruned(event("m.room.name", "key"), event("org.example")) == [
        event("m.room.name", "key"),
        event("org.example"),
    ]


def test_the_first_of_a_key_counts() -> None:
    assert pruned(event(content={"name": "1"}), event(content={"name": "2"})) == [
        event(content={"name": "1"})
    ]


def test_how_many() -> None:
    many = [event("org.example", str(i)) for i in range(MOST_EVENTS + 50)]
    kept = pruned(*many, event("m.room.create"))
    assert kept == [event("m.room.create"), *many[: MOST_EVENTS - 1]]


def test_how_large() -> None:
    large = [event("org.example", str(i), content={"a": "x" * 10_000}) for i in range(20)]
    text = prune_stripped_state([*large, event("m.room.create"), event("small")], leave_out=OWN)
    assert len(text) <= MOST_BYTES
    kept = json.loads(text)
    assert kept[0]["type"] == "m.room.create"
    assert kept[-1]["type"] == "small"
    assert len(kept) == 8


def test_exactly_as_large_as_may_be() -> None:
    [only] = [event("org.example", content={"a": ""})]
    room = MOST_BYTES - len(prune_stripped_state([only], leave_out=OWN)) - 1
    for more, kept in ((0, 1), (1, 0)):
        filled = event("org.example", content={"a": "x" * (room + more)})
        assert len(pruned(filled)) == kept


def test_senders() -> None:
    text = prune_stripped_state([event(), event("m.room.topic", sender="@dave:c.example")], leave_out=OWN)
    assert senders_of(text) == {SENDER, "@dave:c.example"}
    assert senders_of(b"[]") == frozenset()
