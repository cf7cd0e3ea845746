# SPDX-License-Identifier: Apache-2.0
"""Who may serve on a PostgreSQL database at the same time."""

from __future__ import annotations

import pytest

from storage.claim import Claim
from storage.engine.database import Database
from tests.support.databases import DatabaseHome

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])

_END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
)


async def one_reader(home: DatabaseHome) -> Database:
    return await home.open(readers=1)


async def test_one_alone_or_any_number_that_know_of_each_other(database_home: DatabaseHome) -> None:
    databases = [await one_reader(database_home) for _ in range(3)]
    alone, first, second = (
        Claim(database, shared=shared)
        for database, shared in zip(databases, (False, True, True), strict=True)
    )
    assert await alone.holds()
    assert await alone.holds(), "asked again, it is the same claim"
    assert not await first.holds()
    await databases[0].close()
    assert await first.holds()
    assert await second.holds()
    other = Claim(await one_reader(database_home), shared=False)
    assert not await other.holds()
    await databases[1].close()
    assert not await other.holds()
    await databases[2].close()
    assert await other.holds()


async def test_a_claim_is_made_again_when_its_connection_was_lost(database_home: DatabaseHome) -> None:
    claim = Claim(await one_reader(database_home), shared=False)
    assert await claim.holds()
    other = await one_reader(database_home)
    await other.look("end others", _END_OTHERS)
    assert await claim.holds()
    assert not await Claim(other, shared=False).holds()
