# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from storage.engine.database import Database
from storage.rejections import NewRejection, Rejection
from tests.support.storing import storing_over


async def test_it_is_kept_why_an_event_was_refused(database: Database) -> None:
    storing = storing_over(database)

    async def of(event: int) -> Rejection | None:
        return await database.read("why", lambda txn: storing.storage.rejections.of_event_txn(txn, event))

    await storing.write(
        NewRejection(1, "5.2.1", "@a\0b:x is banned"), NewRejection(2, "", "half \ud800 of it")
    )
    assert await of(1) == Rejection(1, "5.2.1", "@a\0b:x is banned")
    assert await of(2) == Rejection(2, "", "half \\ud800 of it")
    assert await of(3) is None


async def test_the_last_reason_counts(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(NewRejection(1, "2.3", "as an outlier"))
    await storing.write(NewRejection(1, "4", "placed"), NewRejection(1, "5", "placed again"))
    found = await database.read("why", lambda txn: storing.storage.rejections.of_event_txn(txn, 1))
    assert found == Rejection(1, "5", "placed again")
