# SPDX-License-Identifier: Apache-2.0
"""The homeserver's own schema can be made on both engines."""

from __future__ import annotations

import pytest

from storage.engine.database import Database, Fence, Tail
from storage.engine.errors import FenceLost


async def test_the_schema_carries_commits(database: Database) -> None:
    await database.write(
        "room", lambda txn: txn.execute("INSERT INTO rooms (room, version, fence) VALUES (7, '12', 0)")
    )
    assert await database.commit("first", lambda txn: None, Tail([Fence(7, 0)], 2)) == 0
    assert await database.commit("second", lambda txn: None, Tail([Fence(7, 1)], 1)) == 2
    with pytest.raises(FenceLost):
        await database.commit("late", lambda txn: None, Tail([Fence(7, 1)], 1))
