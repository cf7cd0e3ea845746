# SPDX-License-Identifier: Apache-2.0
"""The homeserver's own schema can be made on both engines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from storage.engine.database import Database, Fence, Tail
from storage.engine.errors import FenceLost
from storage.engine.migrations import SCHEMA
from storage.event import StateAt
from storage.gaps import Gap, NewGap
from storage.rejections import NewRejection
from storage.state import EarlierChange, StateChange
from tests.support.databases import DatabaseHome
from tests.support.storing import storing_over


async def test_the_schema_carries_commits(database: Database) -> None:
    await database.write(
        "room", lambda txn: txn.execute("INSERT INTO rooms (room, version, fence) VALUES (7, '12', 0)")
    )
    assert await database.commit("first", lambda txn: None, Tail([Fence(7, 0)], 2)) == 0
    assert await database.commit("second", lambda txn: None, Tail([Fence(7, 1)], 1)) == 2
    with pytest.raises(FenceLost):
        await database.commit("late", lambda txn: None, Tail([Fence(7, 1)], 1))


@pytest.fixture
def as_of_version_5(tmp_path: Path) -> Path:
    """The schema as it was before rooms had more than one branch."""
    directory = tmp_path / "version5"
    directory.mkdir()
    for path in SCHEMA.glob("*.sql"):
        if path.name < "0006":
            shutil.copy(path, directory)
    return directory


async def test_a_database_from_before_there_were_branches_is_carried_on(
    database_homes: Callable[..., DatabaseHome], as_of_version_5: Path
) -> None:
    home = database_homes(schema=as_of_version_5, migrated=False)
    old = await home.open()
    row = "INSERT INTO state_rows VALUES (?, 0, 1, 2, ?, ?, ?, NULL)"
    await old.write("1", lambda txn: txn.execute(row, (7, 1, 2, 11)))
    await old.write("2", lambda txn: txn.execute(row, (7, 2, 2**62, 12)))
    await home.close()
    storing = storing_over(await attrs.evolve(home, schema=SCHEMA).open())
    await storing.write(
        StateChange(7, 0, 1, 2, 3, 13),
        EarlierChange(7, 0, 1, 2, 1, 10),
        NewGap(7, "$missing", 11, 1),
        NewRejection(12, "1", "so it is"),
    )
    storage = storing.storage

    async def value(revision: int) -> int | None:
        at = StateAt(0, revision)
        found = await storage.database.read("v", lambda txn: storage.states.keys_at_txn(txn, 7, at, [(1, 2)]))
        return found[1, 2].event

    assert [await value(revision) for revision in (0, 1, 2, 3)] == [10, 11, 12, 13]
    assert await storage.database.read("g", lambda txn: storage.gaps.of_room_txn(txn, 7)) == [
        Gap(7, "$missing", 11, 1)
    ]
