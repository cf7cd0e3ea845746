# SPDX-License-Identifier: Apache-2.0
"""Transaction ids, on both databases, with a memory that forgets."""

from __future__ import annotations

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from federation.graph.drafts import RecordsOf
from federation.graph.room import RoomGraph
from federation.http.endpoint import Requester
from homeserver.rooms.transactions import RequestTransactions
from storage.aliases import Alias
from storage.engine.database import Database
from storage.engine.errors import DataError
from storage.event import StoredEvent
from tests.support.graphs import ALICE, Graphs, graphs_over, just, message, public_room

REQUESTER = Requester(ALICE, user=1, device_id="A", device=1)


@attrs.define
class Sender:
    """Sends messages into one room, once for each transaction id; `sent` counts the tries."""

    room: RoomGraph
    transactions: RequestTransactions
    sent: int = 0
    failure: Exception | None = None

    async def send(self, txn_id: str, requester: Requester = REQUESTER) -> str:
        async def append(records_of: RecordsOf) -> StoredEvent:
            self.sent += 1
            [stored] = await self.room.append(just(message(ALICE, txn_id)), records_of)
            if self.failure is not None:
                raise self.failure
            return stored

        return await self.transactions.once(requester, "/path", txn_id, append)


async def sender_over(parts: Graphs, **limits: int) -> Sender:
    transactions = RequestTransactions(
        transactions=parts.storage.client_transactions, events=parts.storage.events, clock=reactor, **limits
    )
    return Sender(await public_room(parts.graphs), transactions)


async def test_what_memory_has_forgotten_the_primary_key_has_not(database: Database) -> None:
    sender = await sender_over(graphs_over(database), limit=2)
    ids = [await sender.send(f"t{i}") for i in range(5)]
    assert sender.sent == 5
    assert [await sender.send(f"t{i}") for i in (4, 3)] == [ids[4], ids[3]]
    assert sender.sent == 5
    assert [await sender.send(f"t{i}") for i in range(3)] == ids[:3]
    assert sender.sent == 8
    [fresh] = await sender.room.append(just(message(ALICE, "still there")))
    assert fresh.event.prev_events == (ids[4],)


async def test_the_first_request_of_a_device_is_looked_up(database: Database) -> None:
    parts = graphs_over(database)
    sender = await sender_over(parts)
    first = await sender.send("t1")
    again = attrs.evolve(sender, transactions=(await sender_over(parts)).transactions, sent=0)
    assert await again.send("t1") == first
    assert again.sent == 0


async def test_known_devices_are_few(database: Database) -> None:
    sender = await sender_over(graphs_over(database), limit=1, devices=1)
    other = attrs.evolve(REQUESTER, device_id="B", device=2)
    first = await sender.send("t1")
    await sender.send("t1", other)
    # Looked up once more, not sent in vain.
    assert await sender.send("t1") == first
    assert sender.sent == 2


async def test_whoever_joins_a_request_in_flight_shares_its_end(database: Database) -> None:
    sender = await sender_over(graphs_over(database))
    sender.failure = RuntimeError("no")

    async def outcome() -> str:
        try:
            return await sender.send("t1")
        except RuntimeError as error:
            return str(error)

    outcomes = await gatherResults([Deferred.fromCoroutine(outcome()) for _ in range(3)])
    assert outcomes == ["no", "no", "no"]
    assert sender.sent == 1


async def test_whoever_comes_after_a_request_that_is_left_off_makes_the_event(database: Database) -> None:
    sender = await sender_over(graphs_over(database))
    begun = [Deferred.fromCoroutine(sender.send("t1")) for _ in range(3)]
    begun[0].cancel()
    with pytest.raises(CancelledError):
        await begun[0]
    event_id = await begun[1]
    assert await begun[2] == event_id
    assert await sender.send("t1") == event_id


async def test_other_refusals_of_the_database_are_told(database: Database) -> None:
    parts = graphs_over(database)
    sender = await sender_over(parts)
    await sender.room.append(just(message(ALICE, "x")), lambda _: [Alias("#taken:a.example", 1, 1)])

    async def append(records_of: RecordsOf) -> StoredEvent:
        def records(appended):
            return [*records_of(appended), Alias("#taken:a.example", 1, 1)]

        return (await sender.room.append(just(message(ALICE, "y")), records))[0]

    with pytest.raises(DataError):
        await sender.transactions.once(REQUESTER, "/path", "t1", append)
    await sender.send("t1")
