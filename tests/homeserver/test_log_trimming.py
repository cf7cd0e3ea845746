# SPDX-License-Identifier: Apache-2.0
"""What is taken out of the log of commits, and when."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from homeserver.log_trimming import LogTrimming
from storage.commits.log import CommitLog
from storage.engine.database import Database

_BASES = "SELECT base FROM commit_log ORDER BY base"


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_commits_leave_the_log_when_they_are_old(database: Database) -> None:
    await database.write(
        "fill",
        lambda txn: [
            txn.execute("INSERT INTO commit_log (base, upto, process, records) VALUES (?, ?, 'p', ?)", row)
            for row in ((0, 5, b""), (5, 6, b""), (6, 9, b""))
        ],
    )
    clock, position = Clock(), 5
    trimming = LogTrimming(
        log=CommitLog(database, process="p"), position=lambda: position, clock=clock, kept=60.0
    )
    await trimming.trim()  # stands at 5 now
    position = 9
    clock.advance(59)
    await trimming.trim()
    assert await database.look("bases", _BASES) == [(0,), (5,), (6,)]
    clock.advance(1)
    await trimming.trim()
    assert await database.look("bases", _BASES) == [(5,), (6,)], "what was committed before 60 seconds ago"
    clock.advance(58)
    await trimming.trim()
    assert await database.look("bases", _BASES) == [(5,), (6,)]
    clock.advance(1)
    await trimming.trim()
    assert await database.look("bases", _BASES) == []
