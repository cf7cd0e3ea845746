# SPDX-License-Identifier: Apache-2.0
"""What a client is told of the state where the current state goes other ways than the timeline."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from homeserver.rooms.state_changes import Change
from homeserver.sync.state_sections import Settled, StateOf, consistent, last_events
from homeserver.sync.timelines import Timeline
from storage.event import Event, StoredEvent
from storage.state import StateRow

NAME, TOPIC = (1, 0), (2, 0)
_TYPES = {"m.room.name": 1, "m.room.topic": 2, "": 0}


def event(number: int, type_: str | None = None) -> StoredEvent:
    """The event with this number, at the position ten times as large; without a type it is a message."""
    return StoredEvent(
        Event(
            event_id=f"${number}",
            room_id="!r",
            json=b"{}",
            type=type_ or "m.room.message",
            sender="@a:b",
            state_key=None if type_ is None else "",
            content={},
            origin_server_ts=0,
            depth=1,
            prev_events=(),
            auth_events=(),
            redacts=None,
        ),
        number,
        position=10 * number,
        topo=number,
        before=None,
    )


def change(position: int, key: tuple[int, int], number: int | None) -> Change:
    return Change(position, position, StateRow(*key, number, None, None))


def told(
    events: Sequence[StoredEvent], changes: Sequence[Change], base: dict[tuple[int, int], int] | None = None
) -> tuple[list[int], dict[tuple[int, int], int | None], bool]:
    """Numbers of the timeline's events, the state section, and whether the timeline is limited."""
    final: dict[tuple[int, int], int | None] = dict(base or {})
    final |= {(row.type, row.state_key): row.event for _, _, row in changes}
    timeline, shown = consistent(Timeline(events), last_events(Timeline(events), _TYPES), final)
    start = 1_000 if timeline.start is None else timeline.start
    rows = None if base is None else {key: StateRow(*key, n, None, None) for key, n in base.items()}
    one = StateOf(1, base is not None, 0, 1_000, timeline)
    settled = Settled(one, timeline, start, changes, shown, rows)
    section = {key: row.event for key, row in settled.rows().items()}
    return [stored.number for stored in timeline.events], section, timeline.limited


@pytest.mark.parametrize(
    ("events", "changes", "timeline", "section", "limited"),
    [
        ([event(1)], [], [1], {}, False),
        ([event(1, "m.room.name")], [change(10, NAME, 1)], [1], {}, False),
        # Before the timeline, and again in it.
        (
            [event(3), event(4, "m.room.name")],
            [change(20, NAME, 2), change(40, NAME, 4)],
            [3, 4],
            {NAME: 2},
            False,
        ),
        # In the time of the timeline, but not in it.
        ([event(3), event(5)], [change(40, NAME, 4)], [3, 5], {NAME: 4}, False),
        # A resolution gave the key another value later on: the timeline starts after the event.
        (
            [event(3), event(4, "m.room.name"), event(5)],
            [change(40, NAME, 4), change(60, NAME, 2)],
            [5],
            {NAME: 2},
            True,
        ),
        # A resolution at once: the event never counted.
        ([event(4, "m.room.name"), event(5)], [], [5], {}, True),
        (
            [event(4, "m.room.name"), event(5, "m.room.topic"), event(6)],
            [change(45, NAME, 1), change(50, TOPIC, 5)],
            [5, 6],
            {NAME: 1},
            True,
        ),
        # A key that a resolution takes away cannot be told of.
        ([event(3)], [change(25, NAME, None)], [3], {}, False),
        # Nothing of the timeline is left.
        ([event(4, "m.room.name")], [change(40, NAME, 4), change(60, NAME, 2)], [], {NAME: 2}, True),
    ],
)
def test_changes(
    events: list[StoredEvent],
    changes: list[Change],
    timeline: list[int],
    section: dict[tuple[int, int], int],
    limited: bool,
) -> None:
    assert told(events, changes) == (timeline, section, limited)


def test_the_whole_state() -> None:
    base = {NAME: 1, TOPIC: 2}
    assert told([event(3, "m.room.name")], [change(30, NAME, 3)], base) == ([3], base, False)
    assert told([event(3)], [change(40, NAME, 4)], base) == ([3], {NAME: 4, TOPIC: 2}, False)
    assert told([event(3)], [change(40, NAME, None)], base) == ([3], {TOPIC: 2}, False)
