# SPDX-License-Identifier: Apache-2.0
"""What comes from outside and cannot be written: the room is as on disk, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from federation.graph.batches import Incoming
from federation.graph.contributors import Appended, Contribution
from storage.aliases import Alias
from storage.engine.database import Database
from storage.engine.errors import DatabaseUnavailable, DataError
from storage.event import Event
from tests.support.databases import DatabaseHome
from tests.support.graphs import graphs_over, member, message, state
from tests.support.reactor import in_reactor
from tests.support.receiver import Receiver, Told, ids_of
from tests.support.rooms import ALICE, BOB, Room, make_room
from tests.support.severing_proxy import SeveringProxy

CARL = "@carl:a.example"


def together(*coroutines: Any) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


class Planting(Told):
    """Has some events violate a constraint the first `times` that they are told of."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, int] = {}

    def contribute(self, memory: None, appended: Appended) -> Contribution:
        super().contribute(memory, appended)
        event_id = appended.stored.event.event_id
        left = self.times.get(event_id, 0)
        self.times[event_id] = left - 1
        return Contribution(records=[Alias("#taken:a.example", appended.room, 1)] if left > 0 else [])


async def planted(room: Room, database: Database) -> tuple[Receiver, Planting]:
    """A receiver whose contributor plants violations."""
    told = Planting()
    receiver = Receiver(room, database, graphs_over(database, [told]), told)
    await receiver.begin(Incoming(room.events))
    await (await receiver.graph()).append(
        lambda _: [message(ALICE, "takes the name")],
        lambda _: [Alias("#taken:a.example", 1, 1)],
    )
    room.receive((await _last(receiver)).event)
    return receiver, told


async def _last(receiver: Receiver) -> Any:
    return receiver.told.appended[-1].stored


async def _all_of(receiver: Receiver, events: list[Event]) -> None:
    for _ in range(2):
        assert await receiver.current() == ids_of(receiver.room.state)
        for event in events:
            stored = await receiver.stored(event)
            assert not stored.rejected
            assert await receiver.state(stored.after or stored.before) == ids_of(
                receiver.room.state_after(event)
            )
        receiver.restart()


def forks(room: Room) -> list[Event]:
    """A batch that opens branches, changes the current state, and resolves."""
    [head] = room.heads
    topic = room.set_state(ALICE, "m.room.topic", {"topic": "one"})
    name = room.set_state(ALICE, "m.room.name", {"name": "two"}, after=[head])
    return [topic, name, room.message(BOB, "joins them")]


async def test_a_batch_that_is_refused_once_is_judged_again(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver, told = await planted(room, database)
    batch = forks(room)
    told.times[batch[1].event_id] = 1
    stored = await receiver.receive(*batch)
    assert [one.event for one in stored] == batch
    assert await receiver.extremities() == {batch[-1].event_id}
    await _all_of(receiver, batch)


async def test_a_batch_that_is_always_refused_leaves_nothing(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver, told = await planted(room, database)
    [head] = room.heads
    batch = forks(room)
    told.times[batch[1].event_id] = 100
    counts = await _rows(receiver)
    with pytest.raises(DataError):
        await receiver.receive(*batch)
    for event in batch:
        assert not await receiver.is_stored(event)
    assert await _rows(receiver) == counts
    assert await receiver.extremities() == {head.event_id}
    assert await receiver.current() == ids_of(room.state_after(head))
    told.times.clear()
    await receiver.receive(*batch)
    await _all_of(receiver, batch)


async def _rows(receiver: Receiver) -> list[int]:
    tables = (
        "events",
        "event_json",
        "state_rows",
        "state_branches",
        "state_revisions",
        "gaps",
        "extremities",
    )

    def count(txn: Any) -> list[int]:
        return [txn.row(f"SELECT count(*) FROM {table}")[0] for table in tables]

    return await receiver.database.read("count", count)


async def test_local_events_that_build_on_a_refused_batch_are_built_again(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver, told = await planted(room, database)
    batch = forks(room)
    told.times[batch[0].event_id] = 100
    work = [
        receiver.receive(*batch),
        *(receiver.send(message(ALICE, str(i))) for i in range(5)),
        receiver.send(state(ALICE, "m.room.avatar", {"url": "mxc://x/y"})),
        receiver.send(member(CARL, CARL, "join")),
    ]
    outcomes = await DeferredList([Deferred.fromCoroutine(w) for w in work], consumeErrors=True)
    assert [succeeded for succeeded, _ in outcomes] == [False] + [True] * 7
    assert outcomes[0][1].check(DataError)
    current = await receiver.current()
    assert ("m.room.topic", "") not in current
    assert ("m.room.avatar", "") in current
    assert ("m.room.member", CARL) in current
    [end] = await receiver.extremities()
    assert end in {sent.event.event_id for _, [sent] in outcomes[1:]}
    receiver.restart()
    assert await receiver.current() == current


async def test_older_events_that_are_refused_leave_nothing(database: Database) -> None:
    room = make_room("10", members=[BOB])
    past = [room.set_state(ALICE, "m.room.topic", {"topic": str(i)}) for i in range(3)]
    join = room.join("@dora:a.example")
    receiver = await Receiver.joined(room, join, database)
    given = await receiver.given_with(*past, backfilled=True)
    counts = await _rows(receiver)
    # The state before says that an event is stored which is not.
    broken = attrs.evolve(given, given={past[0].event_id: _with_unknown_event(given)})
    with pytest.raises((DataError, LookupError)):
        await (await receiver.graph()).receive(broken)
    assert await _rows(receiver) == counts
    assert await receiver.current() == ids_of(room.state)
    await (await receiver.graph()).receive(given)
    await _all_of(receiver, past)


def _with_unknown_event(given: Incoming) -> Any:
    state_before = next(iter(given.given.values()))
    assert isinstance(state_before, dict)
    entry = state_before["m.room.power_levels", ""]
    return {**state_before, ("m.room.power_levels", ""): entry._replace(number=2**40, event_id="$unknown")}


# Another process


async def test_a_batch_is_judged_again_where_another_process_wrote_the_room(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver = await Receiver.of(room, database)
    other = Receiver(room, database, graphs_over(database), Told())
    await other.current()
    for i in range(3):
        batch = forks(room)
        stored = await receiver.receive(*batch)
        assert [one.event for one in stored] == batch
        # The other still believes that the room is as it was.
        [sent] = await other.send(message(ALICE, str(i)))
        assert sent.event.prev_events == (batch[-1].event_id,)
        room.receive(sent.event)
    assert await receiver.current() == ids_of(room.state)
    await _all_of(receiver, batch)


async def test_two_processes_that_receive_the_same_at_once_store_it_once(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver = await Receiver.of(room, database)
    other = Receiver(room, database, graphs_over(database), Told())
    await other.current()
    batch = forks(room)
    here, there = await together(receiver.receive(*batch), other.receive(*batch))
    assert sorted([len(here), len(there)]) == [0, 3]
    await _all_of(receiver, batch)
    await _all_of(other, batch)


async def test_a_ban_by_another_process_soft_fails_what_comes_after_it(database: Database) -> None:
    room = make_room("10", members=[BOB])
    receiver = await Receiver.of(room, database)
    other = Receiver(room, database, graphs_over(database), Told())
    [ban] = await other.send(member(ALICE, BOB, "ban"))
    late = room.message(BOB, "late")
    [stored] = await receiver.receive(late)
    assert stored.soft_failed
    assert await receiver.extremities() == {ban.event.event_id}


# A database that goes away


@attrs.frozen
class Severed:
    """The database behind a proxy, and the way beside it."""

    proxy: SeveringProxy
    behind: DatabaseHome
    beside: DatabaseHome


@pytest.fixture
def severed(database_home: DatabaseHome) -> Iterator[Severed]:
    """A PostgreSQL database behind a proxy."""

    async def begin() -> Severed:
        proxy = SeveringProxy(dict(database_home.settings.arguments))
        settings = attrs.evolve(database_home.settings, arguments=proxy.arguments)
        return Severed(proxy, attrs.evolve(database_home, settings=settings, opened=[]), database_home)

    async def end(severed: Severed) -> None:
        await severed.behind.close()
        await severed.proxy.close()

    made = in_reactor(begin())
    yield made
    in_reactor(end(made))


@pytest.mark.parametrize("engine", ["postgresql"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_batch_whose_commit_loses_its_connection(severed: Severed, moment: Any) -> None:
    room = make_room("10", members=[BOB])
    receiver = await Receiver.of(room, await severed.behind.open())
    [head] = room.heads
    batch = forks(room)
    severed.proxy.moment = moment
    if moment == "after":
        # It was written, which one look tells.
        assert [one.event for one in await receiver.receive(*batch)] == batch
    else:
        with pytest.raises(DatabaseUnavailable):
            await receiver.receive(*batch)
        assert await receiver.extremities() == {head.event_id}
        assert await receiver.current() == ids_of(room.state_after(head))
        assert [one.event for one in await receiver.receive(*batch)] == batch
    await _all_of(receiver, batch)
    beside = Receiver(room, await severed.beside.open(), receiver.parts, receiver.told)
    beside.restart()
    await _all_of(beside, batch)
