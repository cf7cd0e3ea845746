# SPDX-License-Identifier: Apache-2.0
"""The latest changes of states in memory, against all of them."""

from __future__ import annotations

import random

import pytest

from homeserver.rooms.state_changes import Change, RecentStateChanges
from storage.persist import Unit
from storage.state import NewRevision, StateChange, StateRow
from storage.write_queue import Committed

_NOW = 2**62


@pytest.mark.parametrize("seed", range(20))
def test_memory_never_tells_anything_else_than_the_database(seed: int) -> None:
    rng = random.Random(seed)
    recent = RecentStateChanges(depth=5, limit=3)
    stored: dict[int, list[Change]] = {room: [] for room in range(5)}
    position = 0
    told = 0

    def commit(room: int, keys: int) -> Committed:
        """A revision of the room that changes some keys at once, after a record without a position."""
        nonlocal position
        base, position = position, position + 2
        revision = stored[room][-1].revision + 1 if stored[room] else 1
        records: list[object] = [NewRevision(room, revision, index=2)]
        for key in range(keys):
            event = rng.choice((None, position))
            records.append(StateChange(room, 0, 1, key, revision, event))
            stored[room].append(Change(position, revision, StateRow(1, key, event, None, None)))
        return Committed(Unit(records, positions=2), base)

    # What was before the process began, it has not heard of.
    for _ in range(rng.randrange(6)):
        commit(rng.randrange(5), 1)
    for _ in range(400):
        room, after = rng.randrange(5), rng.randrange(position + 1)
        upto = rng.choice((position, rng.randrange(position + 1)))
        if rng.random() < 0.4:
            recent.on_commit([commit(room, rng.randrange(1, 3))])
            continue
        wanted = [change for change in stored[room] if after < change.position <= upto]
        head = stored[room][-1].revision if stored[room] else 0
        held = [change.revision for change in stored[room] if change.position <= after]
        found = recent.between(room, after, upto)
        if found is None:
            latest = wanted[-1].revision if wanted else held[-1] if held else 0
            if upto > after:
                recent.learn(room, wanted, floor=after, upto=upto, is_latest=latest == head)
            continue
        told += 1
        assert found == wanted
        revision = recent.revision_at(room, after, head)
        assert revision == (held[-1] if held else 0)
    assert told > 20


def test_before_anything_is_known() -> None:
    recent = RecentStateChanges()
    assert recent.between(1, 0, _NOW) is None
    assert recent.revision_at(1, 0, 7) is None
    recent.on_commit([])
    assert recent.between(1, 0, _NOW) is None
