# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from storage.destinations import (
    Delivered,
    Destination,
    DestinationRetry,
    Retry,
    destination_lease,
)
from storage.engine.database import Database
from storage.engine.errors import DataError
from storage.outgoing_transactions import AnsweredTransaction, OutgoingTransaction
from tests.support.storing import Storing, storing_over

B, C, D = "b.example", "c.example:8448", "[2001:db8::1]"
RETRY = Retry(failing_since=1_000, next_try=6_000, interval=5_000)
FIRST = OutgoingTransaction(B, "t1", b'{"pdus":[]}', upto=7)
SECOND = OutgoingTransaction(B, "t2", b'{"pdus":[1]}', upto=9)


async def known(storing: Storing) -> list[Destination]:
    found = await storing.storage.destinations.get([B, C, D])
    return [found[name] for name in (B, C, D) if name in found]


async def test_a_cursor_never_moves_back(database: Database) -> None:
    storing = storing_over(database)
    assert await known(storing) == []
    await storing.write(Delivered(B, 5), Delivered(B, 7), Delivered(B, 6), Delivered(C, 1))
    await storing.write(Delivered(B, 4))
    assert await known(storing) == [Destination(B, 7), Destination(C, 1)]


async def test_a_retry_is_kept_until_a_sign_of_life(database: Database) -> None:
    storing = storing_over(database)
    later = Retry(1_000, 16_000, 10_000)
    await storing.write(Delivered(B, 5), DestinationRetry(B, RETRY), DestinationRetry(C, later))
    assert await known(storing) == [Destination(B, 5, RETRY), Destination(C, None, later)]
    assert [d.destination for d in await storing.storage.destinations.failing(limit=9)] == [B, C]
    assert [d.destination for d in await storing.storage.destinations.failing(limit=1)] == [B]
    await storing.write(DestinationRetry(C, RETRY), DestinationRetry(C, None))
    await storing.write(DestinationRetry(B, later))
    assert await known(storing) == [Destination(B, 5, later), Destination(C)]
    await storing.write(Delivered(C, 2))
    assert await known(storing) == [Destination(B, 5, later), Destination(C, 2)]


async def test_who_is_behind(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(Delivered(B, 5), Delivered(C, 6), Delivered(D, 7), DestinationRetry("e", RETRY))
    behind = storing.storage.destinations.behind
    assert [d.destination for d in await behind(7, limit=9)] == [B, C]
    assert [d.destination for d in await behind(8, limit=9)] == [D, B, C]
    assert [d.destination for d in await behind(8, after=D, limit=1)] == [B]


async def test_a_transaction_stays_until_it_is_answered(database: Database) -> None:
    storing = storing_over(database)
    transactions = storing.storage.outgoing_transactions
    await storing.write(FIRST)
    assert await transactions.of_destination(B) == FIRST
    assert await transactions.of_destination(C) is None
    await storing.write(AnsweredTransaction(B, "t0"))  # an answer to another one
    assert await transactions.of_destination(B) == FIRST
    await storing.write(SECOND, AnsweredTransaction(B, "t1"), Delivered(B, FIRST.upto))
    assert await transactions.of_destination(B) == SECOND
    assert await known(storing) == [Destination(B, 7)]
    await storing.write(AnsweredTransaction(B, "t2"))
    assert await transactions.of_destination(B) is None


async def test_one_transaction_at_a_time(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(FIRST)
    with pytest.raises(DataError):
        await storing.write(SECOND, Delivered(B, 7))
    assert await storing.storage.outgoing_transactions.of_destination(B) == FIRST
    assert await known(storing) == []


async def test_who_has_one_that_waits(database: Database) -> None:
    storing = storing_over(database)
    transactions = storing.storage.outgoing_transactions
    for name in (B, C, D):
        await storing.write(OutgoingTransaction(name, "t", b"{}", upto=1))
    assert await transactions.waiting(limit=2) == [D, B]
    assert await transactions.waiting(after=B, limit=2) == [C]


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_who_does_not_own_a_destination_any_more_stores_nothing_for_it(database: Database) -> None:
    storing = storing_over(database)
    leases = storing.storage.leases
    assert leases is not None
    first = await leases.take(destination_lease(B), "p1")
    await storing.write(first, FIRST)
    second = await leases.take(destination_lease(B), "p2")
    for late in (
        [AnsweredTransaction(B, "t1"), Delivered(B, 7)],
        [DestinationRetry(B, RETRY)],
    ):
        with pytest.raises(DataError):
            await storing.write(first, *late)
    assert await storing.storage.outgoing_transactions.of_destination(B) == FIRST
    assert await known(storing) == []
    await storing.write(second, AnsweredTransaction(B, "t1"), Delivered(B, 7))
    assert await known(storing) == [Destination(B, 7)]
