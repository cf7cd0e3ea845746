# SPDX-License-Identifier: Apache-2.0
"""The rows that keep memberships in step, as the room graph asks for them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.graph.contributors import Appended, Contribution, Resolved, StateKeyChange
from federation.graph.current_state import StateEntry
from homeserver.rooms.membership_rows import MembershipRows
from storage.engine.database import Database
from storage.memberships import Membership
from tests.support.graphs import ALICE, BOB, SERVER, Graphs, graphs_over, just, member, message, public_room

FOREIGN = ("@bob:b.example", "@bob:a.example:8448", "@bob:b:a.example", "bob:a.example", "@bob")


@attrs.define
class Rows:
    """The contributor, and the last event that it was told of."""

    told: MembershipRows | None = None
    last: Appended | None = None

    async def load(self, *room: Any) -> None:
        assert self.told is not None
        await self.told.load(*room)

    def contribute(self, memory: Any, appended: Appended) -> Contribution:
        assert self.told is not None
        self.last = appended
        return self.told.contribute(memory, appended)

    def resolved(self, memory: Any, resolved: Resolved) -> Contribution:
        assert self.told is not None
        return self.told.resolved(memory, resolved)


def graphs_with_rows(database: Database, **options: bool) -> tuple[Graphs, Rows]:
    rows = Rows()
    parts = graphs_over(database, [rows])
    rows.told = MembershipRows(server_name=SERVER, strings=parts.storage.strings, **options)
    return parts, rows


async def rows_of(parts: Graphs, user_id: str) -> list[Membership]:
    account = (await parts.storage.strings.find([user_id])).get(user_id)
    return [] if account is None else await parts.storage.memberships.of_account(account)


async def test_a_row_follows_the_member_events_of_a_local_user(database: Database) -> None:
    parts, _ = graphs_with_rows(database)
    room = await public_room(parts.graphs)
    [alice] = await rows_of(parts, ALICE)
    assert (alice.membership, alice.room, alice.position) == ("join", room.room, 2)
    for sender, membership in ((BOB, "join"), (BOB, "leave"), (ALICE, "ban"), (ALICE, "leave")):
        [stored] = await room.append(just(member(sender, BOB, membership)))
        [bob] = await rows_of(parts, BOB)
        assert (bob.membership, bob.event, bob.position) == (membership, stored.number, stored.position)
        assert not bob.forgotten


async def test_several_changes_of_one_unit_leave_the_last(database: Database) -> None:
    parts, _ = graphs_with_rows(database)
    room = await public_room(parts.graphs)
    stored = await room.append(
        just(member(BOB, BOB, "join"), message(BOB, "hello"), member(BOB, BOB, "leave"), message(ALICE, "oh"))
    )
    [bob] = await rows_of(parts, BOB)
    assert (bob.membership, bob.event, bob.position) == ("leave", stored[2].number, stored[2].position)


@pytest.mark.parametrize("user_id", FOREIGN)
async def test_others_have_no_row(database: Database, user_id: str) -> None:
    parts, _ = graphs_with_rows(database)
    room = await public_room(parts.graphs)
    await room.append(just(member(ALICE, user_id, "ban")))
    assert await rows_of(parts, user_id) == []


async def test_what_is_left_is_forgotten_where_that_is_asked_for(database: Database) -> None:
    parts, _ = graphs_with_rows(database, forget_on_leave=True)
    room = await public_room(parts.graphs)
    forgotten = []
    for sender, membership in ((BOB, "join"), (BOB, "leave"), (ALICE, "invite"), (ALICE, "ban")):
        await room.append(just(member(sender, BOB, membership)))
        forgotten.append((await rows_of(parts, BOB))[0].forgotten)
    assert forgotten == [False, True, False, True]


async def test_changes_that_come_without_an_event_of_their_own(database: Database) -> None:
    parts, rows = graphs_with_rows(database)
    room = await public_room(parts.graphs)
    [bob] = await room.append(just(member(BOB, BOB, "join")))
    await room.append(just(message(ALICE, "which resolves something")))
    assert rows.last is not None
    assert rows.told is not None
    account = parts.storage.strings.known(BOB)
    assert account is not None
    value = StateEntry(bob.number, bob.event.event_id)
    for change, membership in (
        (StateKeyChange("m.room.member", BOB, None, value), "join"),
        (StateKeyChange("m.room.member", BOB, value, None), "leave"),
    ):
        appended = attrs.evolve(rows.last, changes=[StateKeyChange("m.room.topic", "", None, value), change])
        expected = Membership(account, room.room, membership, bob.number, index=1)
        assert rows.told.contribute(None, appended) == Contribution(records=[expected])
        resolved = Resolved(room.room, 7, appended.changes, appended.state)
        alone = Contribution(records=[attrs.evolve(expected, index=7)])
        assert rows.told.resolved(None, resolved) == alone
    nothing = Resolved(room.room, 7, [StateKeyChange("m.room.topic", "", value, None)], rows.last.state)
    assert rows.told.resolved(None, nothing) == Contribution()
