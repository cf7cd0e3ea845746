# SPDX-License-Identifier: Apache-2.0
"""A program beside the servers changes something, and they hear of it."""

from __future__ import annotations

import pytest
from twisted.internet import reactor

from storage.account_data import GLOBAL, AccountData
from storage.accounts import Account, ChangedAccount
from storage.commits.log import CommitLog
from storage.commits.logged import LoggedCommits
from storage.persist import Unit
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import WriteQueue
from tests.support.databases import DatabaseHome
from tests.support.following_processes import MemoryMedium, following, logged


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_what_a_program_wrote_is_heard_by_the_servers(database_home: DatabaseHome) -> None:
    database = await database_home.open(readers=1)
    queue = WriteQueue(
        database=database,
        strings=Storage.over(database).strings,
        clock=reactor,
        background=BackgroundTasks(),
        on_commit=(),
        shared=LoggedCommits(CommitLog(database, process="program")),
    )
    async with following(database_home, 2, MemoryMedium(cut=True)) as [one, other]:
        await queue.submit(Unit([Account(1, 1)]))
        assert await logged(database) == []
        lock, data = ChangedAccount(1, is_locked=True), AccountData(1, GLOBAL, "a", b"{}", index=1)
        await queue.submit(Unit([lock]))
        await other.queue.submit(Unit([data], positions=1))
        await queue.submit(Unit([data, lock], positions=1))
        await one.latest.reached()
        await other.latest.reached()
        assert one.heard == other.heard == await logged(database)
        assert [type(record) for _, records in one.heard for record in records] == [
            ChangedAccount,
            AccountData,
            AccountData,
            ChangedAccount,
        ]
        assert one.losses == other.losses == []
    await queue.stop()
