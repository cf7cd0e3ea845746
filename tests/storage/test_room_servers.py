# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

from storage.engine.database import Database
from storage.engine.migrations import SCHEMA
from storage.room_servers import RoomServerChange, ServerSpan
from storage.state_records import OPEN, EarlierChange, GivenRow, NewRevision, StateChange
from tests.support.databases import DatabaseHome
from tests.support.storing import Storing, storing_over

ROOM, OTHER = 7, 8
A, B, C = "a.example", "b.example", "c.example"


def comes(server: str, index: int, room: int = ROOM) -> RoomServerChange:
    return RoomServerChange(room, server, True, index)


def goes(server: str, index: int, room: int = ROOM) -> RoomServerChange:
    return RoomServerChange(room, server, False, index)


async def servers(storing: Storing, *positions: int) -> list[list[str]]:
    store = storing.storage.room_servers
    return [sorted(await store.at(ROOM, position)) for position in positions]


async def test_the_events_that_begin_and_end_a_time_are_for_the_server(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(comes(A, 1), comes(B, 3), comes(C, 5, OTHER))  # 1 to 5
    await storing.write(goes(B, 2))  # 7
    assert await servers(storing, 0, 1, 2, 3, 6, 7, 8, 900) == [
        [], [A], [A], [A, B], [A, B], [A, B], [A], [A],
    ]  # fmt: skip
    assert await storing.storage.room_servers.at_each([(ROOM, 3), (OTHER, 5), (OTHER, 4), (9, 1)]) == {
        (ROOM, 3): {A, B}, (OTHER, 5): {C}, (OTHER, 4): set(), (9, 1): set(),
    }  # fmt: skip
    assert await storing.storage.room_servers.now([ROOM, OTHER, 9]) == {ROOM: {A}, OTHER: {C}, 9: set()}


@pytest.mark.parametrize("cuts", [(), (1,), (2,), (3,), (1, 2, 3), (1, 3), (4,)])
async def test_times_in_one_batch_and_in_several(database: Database, cuts: Sequence[int]) -> None:
    storing = storing_over(database)
    changes = [comes(B, 1), goes(B, 1), comes(B, 1), comes(A, 1), goes(B, 1)]  # a unit each
    edges = [0, *cuts, len(changes)]
    for begin, end in pairwise(edges):
        assert set(await storing.write_together(*([change] for change in changes[begin:end]))) == {None}
    spans = await storing.storage.room_servers.of_server(B, after=0)
    assert spans == [ServerSpan(ROOM, 1, 2), ServerSpan(ROOM, 3, 5)]
    assert await storing.storage.room_servers.of_server(A, after=99) == [ServerSpan(ROOM, 4, None)]


async def test_what_a_server_may_have_missed(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(comes(B, 1), goes(B, 3), comes(B, 5), comes(B, 2, OTHER), comes(A, 1))
    found = storing.storage.room_servers.of_server
    assert await found(B, after=2) == [
        ServerSpan(ROOM, 1, 3), ServerSpan(ROOM, 5, None), ServerSpan(OTHER, 2, None),
    ]  # fmt: skip
    assert await found(B, after=3) == [ServerSpan(ROOM, 5, None), ServerSpan(OTHER, 2, None)]


# What follows is about databases from before there were these rows.

MEMBER, TOPIC = "m.room.member", "m.room.topic"
USERS = ("@1:a.example", "@2:b.example", "@3:b.example", "@4:c.example:8448", "@5:[::1]:80", "@é:d.example")


@pytest.fixture
def as_of_version_12(tmp_path: Path) -> Path:
    directory = tmp_path / "version12"
    directory.mkdir()
    for path in SCHEMA.glob("*.sql"):
        if path.name < "0013":
            shutil.copy(path, directory)
    return directory


async def rows(database: Database) -> list[tuple[Any, ...]]:
    found = await database.look(
        "rows", "SELECT room, server, from_position, to_position FROM room_servers ORDER BY 1, 2, 3"
    )
    return [
        (room, server.decode(), first, None if end == OPEN else end) for room, server, first, end in found
    ]


async def test_the_servers_of_rooms_from_before(
    database_homes: Callable[..., DatabaseHome], as_of_version_12: Path
) -> None:
    home = database_homes(schema=as_of_version_12, migrated=False)
    storing = storing_over(await home.open())
    number = await storing.storage.strings.intern([MEMBER, TOPIC, "", *USERS])
    one, two, three, port, ip, accent = (number[user] for user in USERS)
    member = number[MEMBER]

    def change(revision: int, user: int, membership: str | None, room: int = ROOM) -> StateChange:
        return StateChange(room, 0, member, user, revision, None if membership is None else 1, membership)

    # Positions and revisions of this room differ: others are between them.
    await storing.write(
        NewRevision(ROOM, 1, 2), change(1, one, "join"),
        NewRevision(ROOM, 2, 4), change(2, two, "join"), change(2, port, "invite"),
        NewRevision(ROOM, 3, 5), change(3, three, "join"), change(3, port, "join"),
        NewRevision(ROOM, 4, 7), change(4, two, "ban"), change(4, ip, "join"),
        NewRevision(ROOM, 5, 8), change(5, three, None),
        NewRevision(ROOM, 6, 9), StateChange(ROOM, 0, number[TOPIC], number[""], 6, 1),
        NewRevision(ROOM, 7, 10), change(7, two, "join"), change(7, port, "join"), change(7, accent, "join"),
        # On another branch it says nothing of the current state.
        StateChange(ROOM, 1, member, accent, 1, 1, "join"),
        # One of two goes as the other comes.
        NewRevision(ROOM, 8, 11), change(8, two, "leave"), change(8, three, "join"),
    )  # fmt: skip
    # A room that was joined: members of the given state, and older changes that were learnt later.
    await storing.write(
        NewRevision(OTHER, 1, 1),
        GivenRow(OTHER, 0, member, one, 1, "join"),
        GivenRow(OTHER, 0, member, two, 1, "join"),
        GivenRow(OTHER, 0, member, port, 1, "leave"),
        NewRevision(OTHER, 2, 3), change(2, two, "leave", OTHER),
    )  # fmt: skip
    await storing.write(
        EarlierChange(OTHER, 0, member, port, 0, 1, "join"),
        EarlierChange(OTHER, 0, member, one, -1, 1, "leave"),
    )
    await home.close()
    database = await attrs.evolve(home, schema=SCHEMA).open()
    assert await rows(database) == [
        (ROOM, "[::1]:80", 7, None),
        (ROOM, "a.example", 2, None),
        (ROOM, "b.example", 4, 8),
        (ROOM, "b.example", 10, None),
        (ROOM, "c.example:8448", 5, None),
        (ROOM, "d.example", 10, None),
        (OTHER, "a.example", 12, None),
        (OTHER, "b.example", 12, 14),
    ]


async def test_a_database_without_rooms(
    database_homes: Callable[..., DatabaseHome], as_of_version_12: Path
) -> None:
    home = database_homes(schema=as_of_version_12, migrated=False)
    await home.open()
    await home.close()
    assert await rows(await attrs.evolve(home, schema=SCHEMA).open()) == []
