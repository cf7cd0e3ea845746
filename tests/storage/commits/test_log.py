# SPDX-License-Identifier: Apache-2.0
"""The log of commits: one row for each commit of which others take note, and no hole between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import storage.commits.log
from storage.account_data import GLOBAL, AccountData
from storage.aliases import Alias
from storage.client_transactions import ClientTransaction
from storage.commits.records import unpack_units
from storage.ephemeral import TypingChange
from storage.event_records import NewEvent, NewOutlier
from storage.persist import RoomEpoch, Unit
from storage.rooms import NewRoom
from tests.support.databases import DatabaseHome
from tests.support.event_records import event_named, outlier, placed_at
from tests.support.following_processes import FollowingProcess, following, logged, position_of

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])


def data(name: str) -> Unit:
    """A unit with a position."""
    return Unit([AccountData(1, GLOBAL, name, b"{}", index=1)], positions=1)


def transaction(name: str) -> Unit:
    """A unit without a position that is noted; refused if there is such a transaction."""
    return Unit([ClientTransaction(1, "/path", name, 1, 1)])


def alias(name: str) -> Unit:
    """A unit of which nobody takes note; refused if there is such an alias."""
    return Unit([Alias(f"#{name}:a.example", 1, 1)])


async def submit_together(process: FollowingProcess, units: Sequence[Unit]) -> list[int | str]:
    """The base of each, or the name of the error that it failed with."""
    answers: list[Any] = [process.queue.submit(unit) for unit in units]
    found: list[int | str] = []
    for answer in answers:
        try:
            found.append((await answer).base)
        except Exception as error:
            found.append(type(error).__name__)
    return found


async def rows_of(process: FollowingProcess) -> list[tuple[int, int, str]]:
    """The rows of the log without their records."""
    rows = await process.storage.database.look(
        "rows", "SELECT base, upto, process FROM commit_log ORDER BY base"
    )
    return [(base, upto, name) for base, upto, name in rows]


@pytest.mark.parametrize(
    ("units", "bases", "rows"),
    [
        ([alias("a"), alias("b")], [0, 0], []),
        ([data("a")], [0], [(0, 1, "p0")]),
        ([data("a"), alias("a"), data("b")], [0, 1, 1], [(0, 2, "p0")]),
        ([transaction("a")], [0], [(0, 1, "p0")]),
        ([transaction("a"), alias("a"), transaction("b"), alias("b")], [0, 0, 0, 1], [(0, 1, "p0")]),
        ([transaction("a"), data("a")], [0, 0], [(0, 1, "p0")]),
        ([data("a"), transaction("a")], [0, 1], [(0, 1, "p0")]),
        ([Unit([TypingChange(1, "@a:a.example", True)], positions=1)], [0], [(0, 1, "p0")]),
    ],
)
async def test_a_batch_is_one_row_if_anybody_takes_note(
    database_home: DatabaseHome, units: list[Unit], bases: list[int], rows: list[tuple[int, int, str]]
) -> None:
    async with following(database_home, 1) as [process]:
        assert await submit_together(process, units) == bases
        assert await rows_of(process) == rows
        assert await logged(process.storage.database) == process.heard
        assert process.follower.position == await position_of(process.storage.database)


async def test_a_room_that_is_extended_is_noted_whatever_is_written(database_home: DatabaseHome) -> None:
    async with following(database_home, 2) as [one, other]:
        await one.write(NewRoom(room=3, version="12"))
        assert await rows_of(one) == []
        unit = Unit([Alias("#a:a.example", 1, 1)], epoch=RoomEpoch(3, 0))
        await one.queue.submit(unit)
        assert await rows_of(one) == [(0, 1, "p0")]
        await other.latest.reached()
        assert (one.rooms, other.rooms) == ([], [3])


async def test_a_batch_that_is_tried_one_by_one_leaves_no_hole(database_home: DatabaseHome) -> None:
    async with following(database_home, 1) as [process]:
        await process.queue.submit(alias("taken"))
        await process.queue.submit(transaction("taken"))
        units = [data("a"), alias("taken"), transaction("b"), transaction("taken"), alias("b"), data("c")]
        answers = await submit_together(process, units)
        assert answers == [1, "DataError", 2, "DataError", 3, 3]
        assert await rows_of(process) == [(i, i + 1, "p0") for i in range(4)]
        assert await logged(process.storage.database) == process.heard
        # None of these has a position of its own before it is tried alone.
        units = [transaction("d"), alias("taken"), transaction("taken"), transaction("e")]
        assert await submit_together(process, units) == [4, "DataError", "DataError", 5]
        assert await logged(process.storage.database) == process.heard
        assert process.follower.position == await position_of(process.storage.database) == 6


async def test_entries_come_with_their_events(database_home: DatabaseHome) -> None:
    async with following(database_home, 1) as [process]:
        room_id = "!a:a.example"
        number = (await process.storage.strings.intern([room_id]))[room_id]
        early, late = event_named("early", room_id), event_named("late", room_id)
        await process.write(NewRoom(room=number, version="12"))
        await process.write(NewOutlier(outlier(event_named("outlier", room_id), 1), number, 1, None, 1))
        units = [
            Unit([NewEvent(placed_at(early, 2, 1), number, 1, None, 1, 1)], positions=1),
            Unit([NewEvent(placed_at(late, 3, 2), number, 1, None, 1, 1)], positions=1),
        ]
        assert await submit_together(process, units) == [0, 1]
        await process.queue.submit(data("a"))
        first, second = await process.log.since(0)
        assert (first.base, first.upto, second.base, second.upto) == (0, 2, 2, 3)
        assert first.events is not None
        found = [
            record.stored for u in unpack_units(first.records, first.events) for record in u.unit.records
        ]
        assert [(stored.event.json, stored.topo) for stored in found] == [(early.json, 1), (late.json, 2)]
        assert [entry.base for entry in await process.log.since(2)] == [2]
        assert await process.log.since(3) == []


async def test_much_is_read_in_parts(database_home: DatabaseHome, monkeypatch: pytest.MonkeyPatch) -> None:
    async with following(database_home, 1) as [process]:
        for i in range(6):
            await process.queue.submit(data(f"{i}{'x' * 100}"))
        monkeypatch.setattr(storage.commits.log, "MOST_ROWS", 4)
        assert [entry.base for entry in await process.log.since(1)] == [1, 2, 3, 4]
        monkeypatch.setattr(storage.commits.log, "MOST_BYTES", 300)
        assert [entry.base for entry in await process.log.since(1)] == [1, 2]
        monkeypatch.setattr(storage.commits.log, "MOST_BYTES", 10)
        assert [entry.base for entry in await process.log.since(1)] == [1]


async def test_what_is_forgotten(database_home: DatabaseHome) -> None:
    async with following(database_home, 1) as [process]:
        for name in ("a", "b", "c"):
            await process.queue.submit(data(name))
        await process.log.forget(2)
        assert await rows_of(process) == [(2, 3, "p0")]
        assert [entry.base for entry in await process.log.since(0)] == [2]
