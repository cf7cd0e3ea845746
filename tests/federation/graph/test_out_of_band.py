# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredLock, gatherResults

from federation.errors import Forbidden, InvalidParam
from federation.graph.out_of_band import OutOfBandMemberships, ServerInRoom, Vet
from federation.rules.event_format import parse_pdu
from federation.rules.room_versions import ROOM_VERSIONS
from federation.rules.signing import verify_event_signature
from storage.engine.database import Database
from storage.event import Event, StoredEvent
from storage.event_records import NewOutlier, OutlierPlaced
from storage.memberships import Membership
from storage.numbers import EventNumbers
from storage.persist import Unit
from tests.support.databases import DatabaseHome
from tests.support.rooms import Room, make_room, pdu_of, signing_key, verify_keys
from tests.support.storing import Storing, storing_over

SERVER = "a.example"
ALICE, BOB = "@alice:a.example", "@bob:a.example"
CAROL, DAVE = "@carol:b.example", "@dave:c.example"
STATE = [{"type": "m.room.create", "state_key": "", "sender": CAROL, "content": {}}]


async def anything(_event: Event) -> None:
    """Refuses nothing."""


@attrs.frozen
class Server:
    """What stands over a database."""

    storing: Storing
    out_of_band: OutOfBandMemberships

    async def remember(
        self, event: Event, room: Room, state: Any = STATE, vet: Vet = anything
    ) -> StoredEvent:
        return await self.out_of_band.remember(event, room.version, state, vet)

    async def membership(self, room: Room, user: str = ALICE) -> Membership | None:
        """The row of the user, which says the same as what stands beside it."""
        numbers = await self.storing.storage.strings.find((user, room.room_id))
        if len(numbers) < 2:
            return None
        account = numbers[user]
        rows = await self.storing.storage.memberships.of_account(account)
        beside = await self.storing.storage.out_of_band.of_rooms(account, [numbers[room.room_id]])
        found = {row.room: row for row in rows}.get(numbers[room.room_id])
        if found is not None and found.membership in ("invite", "knock"):
            assert beside[found.room].event == found.event
        return found

    async def standing(self, room: Room, user: str = ALICE) -> str | None:
        """The membership of the user."""
        row = await self.membership(room, user)
        return None if row is None else row.membership

    async def write(self, room: Room, user: str, membership: str, event: int) -> None:
        """A membership that comes by way of the room."""
        numbers = await self.storing.storage.strings.intern((user, room.room_id))
        record = Membership(numbers[user], numbers[room.room_id], membership, event, index=1)
        await self.storing.queue.submit(Unit([record], positions=1))

    async def outlier(self, event: Event, number: int) -> NewOutlier:
        """The record by which the event comes to be known in another way."""
        strings = (event.room_id, event.type, event.sender, event.state_key or "")
        numbers = await self.storing.storage.strings.intern(strings)
        stored = StoredEvent(event, number, position=None, topo=None, before=None)
        room, type_, sender, state_key = (numbers[string] for string in strings)
        return NewOutlier(stored, room, type_, state_key, sender)


def server_over(database: Database, *, forget_on_leave: bool = False) -> Server:
    storing = storing_over(database)
    return server_with(storing, EventNumbers(database), forget_on_leave=forget_on_leave)


def server_with(storing: Storing, numbers: EventNumbers, *, forget_on_leave: bool = False) -> Server:
    turns: dict[str, DeferredLock] = {}
    return Server(
        storing,
        OutOfBandMemberships(
            server_name=SERVER,
            key=signing_key(SERVER),
            clock=reactor,
            storage=storing.storage,
            numbers=numbers,
            queue=storing.queue,
            turn_of=lambda room_id: turns.setdefault(room_id, DeferredLock()),
            forget_on_leave=forget_on_leave,
        ),
    )


@pytest.fixture
def server(database: Database) -> Server:
    return server_over(database)


@pytest.fixture
def room() -> Room:
    """A room of another server."""
    return make_room(creator=CAROL, join_rule="knock")


async def test_an_invite_is_kept_as_an_outlier(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    stored = await server.remember(invite, room, [*STATE, {"type": "broken"}])
    assert (stored.event, stored.position, stored.topo, stored.before) == (invite, None, None, None)
    row = await server.membership(room)
    assert row is not None
    assert (row.membership, row.event, row.forgotten) == ("invite", stored.number, False)
    current = await server.out_of_band.current(ALICE, room.room_id)
    assert current is not None
    assert (current.membership, current.stored.number, current.version) == (
        "invite",
        stored.number,
        room.version,
    )
    assert current.stored.event.json == invite.json
    assert json.loads(current.stripped_state) == STATE


async def test_it_is_there_after_a_restart(database_home: DatabaseHome, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    await server_over(await database_home.open()).remember(invite, room)
    await database_home.close()
    server = server_over(await database_home.open())
    assert await server.standing(room) == "invite"
    current = await server.out_of_band.current(ALICE, room.room_id)
    assert current is not None
    assert current.stored.event == invite
    left = await server.out_of_band.leave(ALICE, room.room_id)
    assert left is not None
    assert left.event.prev_events == (invite.event_id,)


async def test_the_same_event_again_changes_nothing(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    stored = await server.remember(invite, room)
    row = await server.membership(room)
    assert (await server.remember(invite, room, [])).number == stored.number
    assert await server.membership(room) == row
    await server.out_of_band.leave(ALICE, room.room_id)
    assert (await server.remember(invite, room)).number == stored.number
    assert await server.standing(room) == "leave"


async def test_two_deliveries_at_once_are_one(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    first, second = await gatherResults(
        [Deferred.fromCoroutine(server.remember(invite, room)) for _ in range(2)]
    )
    assert first.number == second.number


async def test_an_event_that_is_known_without_a_membership_is_taken_up(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    await server.storing.write(await server.outlier(invite, 77))
    assert (await server.remember(invite, room)).number == 77
    assert await server.standing(room) == "invite"


class _OvertakenNumbers(EventNumbers):
    """Numbers that are given once somebody else has written `record`."""

    def __init__(self, database: Database, storing: Storing, record: NewOutlier) -> None:
        super().__init__(database)
        self._storing = storing
        self._records = [record]

    async def reserve(self, count: int) -> None:
        while self._records:
            await self._storing.write(self._records.pop())
        await super().reserve(count)


async def test_an_event_that_becomes_known_meanwhile(server: Server, room: Room, database: Database) -> None:
    invite = room.invite(CAROL, ALICE)
    record = await server.outlier(invite, 2**40)
    overtaken = server_with(server.storing, _OvertakenNumbers(database, server.storing, record))
    assert (await overtaken.remember(invite, room)).number == 2**40
    row = await server.membership(room)
    assert row is not None
    assert (row.membership, row.event) == ("invite", 2**40)


async def test_an_event_of_the_graph_is_no_news(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    record = await server.outlier(invite, 77)
    await server.storing.write(record)
    placed = attrs.evolve(record.stored, topo=1)
    await server.storing.queue.submit(Unit([OutlierPlaced(placed, record.room, 1)], positions=1))
    assert (await server.remember(invite, room)).number == 77
    assert await server.standing(room) is None


async def test_a_newer_membership_replaces_an_older(server: Server, room: Room) -> None:
    knock = room.member(ALICE, ALICE, "knock")
    await server.remember(knock, room)
    assert await server.standing(room) == "knock"
    await server.remember(room.invite(CAROL, ALICE), room, [])
    assert await server.standing(room) == "invite"
    current = await server.out_of_band.current(ALICE, room.room_id)
    assert current is not None
    assert current.stripped_state == b"[]"


async def test_invite_leave_invite(server: Server, room: Room) -> None:
    await server.remember(room.invite(CAROL, ALICE), room)
    for _ in range(2):
        await server.out_of_band.leave(ALICE, room.room_id)
        assert await server.standing(room) == "leave"
        again = room.member(CAROL, ALICE, "invite", {"reason": str(len(room.events))})
        await server.remember(again, room)
        assert await server.standing(room) == "invite"


async def test_what_is_refused_leaves_no_trace(server: Server, room: Room) -> None:
    async def vet(_event: Event) -> None:
        raise Forbidden("no")

    with pytest.raises(Forbidden):
        await server.remember(room.invite(CAROL, ALICE), room, vet=vet)
    assert await server.storing.storage.strings.find((ALICE, room.room_id)) == {}


_NO_INVITES: list[tuple[str, str | None, Mapping[str, Any]]] = [
    ("m.room.message", None, {"membership": "invite"}),
    ("m.room.member", None, {"membership": "invite"}),
    ("m.room.name", ALICE, {"membership": "invite"}),
    ("m.room.member", ALICE, {"membership": "join"}),
    ("m.room.member", ALICE, {"membership": ["invite"]}),
    ("m.room.member", ALICE, {}),
    ("m.room.member", ALICE, {"membership": "knock"}),
    ("m.room.member", DAVE, {"membership": "invite"}),
    ("m.room.member", "alice:a.example", {"membership": "invite"}),
    ("m.room.member", "@alice", {"membership": "invite"}),
    ("m.room.member", "@alice:a.example:1", {"membership": "invite"}),
]


async def test_only_invites_and_knocks_of_local_users(server: Server, room: Room) -> None:
    for event_type, state_key, content in _NO_INVITES:
        event = room.send(CAROL, event_type, content, state_key=state_key, check=False)
        with pytest.raises(InvalidParam):
            await server.remember(event, room)


async def test_the_id_of_another_event(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    await server.remember(invite, room)
    forged = attrs.evolve(room.invite(CAROL, BOB), event_id=invite.event_id)
    with pytest.raises(InvalidParam, match="another event"):
        await server.remember(forged, room)
    assert await server.standing(room, BOB) is None


async def test_a_server_that_is_in_the_room_uses_its_door(server: Server, room: Room) -> None:
    await server.write(room, BOB, "join", 5)
    with pytest.raises(ServerInRoom, match=room.room_id):
        await server.remember(room.invite(CAROL, ALICE), room)
    await server.write(room, BOB, "leave", 6)
    await server.remember(room.invite(CAROL, ALICE), room)
    assert await server.standing(room) == "invite"


async def test_a_leave_of_ones_own_making(server: Server) -> None:
    for version in ROOM_VERSIONS:
        await _leave_by_oneself(server, make_room(version, creator=CAROL, localpart=f"room{version}"))


async def _leave_by_oneself(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    await server.remember(invite, room)
    left = await server.out_of_band.leave(
        ALICE, room.room_id, content={"membership": "leave", "reason": "no"}
    )
    assert left is not None
    event = left.event
    assert (left.position, event.sender, event.state_key, event.room_id) == (
        None,
        ALICE,
        ALICE,
        room.room_id,
    )
    assert event.content == {"membership": "leave", "reason": "no"}
    assert event.prev_events == event.auth_events == (invite.event_id,)
    assert event.depth == invite.depth + 1
    assert parse_pdu(pdu_of(event), room.version) == event
    verify_event_signature(pdu_of(event), SERVER, verify_keys(SERVER), room.version)
    assert await server.standing(room) == "leave"


async def test_who_has_left_already_stays_so(server: Server, room: Room) -> None:
    await server.remember(room.invite(CAROL, ALICE), room)
    first = await server.out_of_band.leave(ALICE, room.room_id)
    row = await server.membership(room)
    second = await server.out_of_band.leave(ALICE, room.room_id)
    assert first is not None
    assert second is not None
    assert second.event == first.event
    assert await server.membership(room) == row
    current = await server.out_of_band.current(ALICE, room.room_id)
    assert current is not None
    assert (current.membership, current.stripped_state) == ("leave", b"[]")


async def test_the_leave_that_a_server_in_the_room_accepted(server: Server, room: Room) -> None:
    await server.remember(room.invite(CAROL, ALICE), room)
    leave = room.leave(ALICE)
    left = await server.out_of_band.leave(ALICE, room.room_id, event=leave)
    assert left is not None
    assert left.event == leave
    assert await server.standing(room) == "leave"


async def test_it_must_be_the_users_leave(server: Server, room: Room) -> None:
    await server.remember(room.invite(CAROL, ALICE), room)
    kick = room.member(CAROL, ALICE, "leave")
    other = make_room(creator=CAROL, localpart="other")
    other.invite(CAROL, ALICE)
    for event in (kick, other.leave(ALICE), room.message(CAROL)):
        with pytest.raises(InvalidParam):
            await server.out_of_band.leave(ALICE, room.room_id, event=event)
    assert await server.standing(room) == "invite"


async def test_leaving_an_older_invite_leaves_the_newer(server: Server, room: Room) -> None:
    seen = await server.remember(room.invite(CAROL, ALICE), room)
    newer = await server.remember(room.member(CAROL, ALICE, "invite", {"reason": "do"}), room)
    answer = await server.out_of_band.leave(ALICE, room.room_id, leaving=seen.number)
    assert answer is not None
    assert answer.number == newer.number
    assert await server.standing(room) == "invite"
    await server.out_of_band.leave(ALICE, room.room_id, leaving=newer.number)
    assert await server.standing(room) == "leave"


async def test_there_is_nothing_to_leave(server: Server, room: Room) -> None:
    assert await server.out_of_band.leave(ALICE, room.room_id) is None
    await server.remember(room.invite(CAROL, BOB), room)
    await server.storing.storage.strings.intern([ALICE])
    assert await server.out_of_band.leave(ALICE, room.room_id) is None
    await server.write(room, ALICE, "invite", 5)
    assert await server.out_of_band.leave(ALICE, room.room_id) is None


async def test_a_room_that_is_forgotten_as_soon_as_it_is_left(database: Database, room: Room) -> None:
    server = server_over(database, forget_on_leave=True)
    await server.remember(room.invite(CAROL, ALICE), room)
    await server.out_of_band.leave(ALICE, room.room_id)
    row = await server.membership(room)
    assert row is not None
    assert (row.membership, row.forgotten) == ("leave", True)
    await server.remember(room.member(CAROL, ALICE, "invite", {"reason": "do"}), room)
    row = await server.membership(room)
    assert row is not None
    assert row.forgotten is False


@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_who_invited_may_rescind(server: Server, room: Room, membership: str) -> None:
    await server.remember(room.invite(CAROL, ALICE), room)
    ended = await server.out_of_band.rescind(room.member(CAROL, ALICE, membership))
    assert ended is not None
    assert (ended.event.sender, ended.position) == (CAROL, None)
    assert await server.standing(room) == membership


async def test_nobody_else_may(server: Server, room: Room) -> None:
    room.invite(CAROL, DAVE)
    room.join(DAVE)
    await server.remember(room.invite(CAROL, ALICE), room, [*STATE, {**STATE[0], "sender": DAVE}])
    with pytest.raises(Forbidden):
        await server.out_of_band.rescind(room.member(DAVE, ALICE, "leave", check=False))
    assert await server.standing(room) == "invite"


async def test_a_knock_may_be_denied_by_those_of_whom_the_room_speaks(server: Server, room: Room) -> None:
    await server.remember(room.member(ALICE, ALICE, "knock"), room)
    denial = room.member(CAROL, ALICE, "leave")
    stranger = room.member("@mallory:m.example", ALICE, "leave", after=room.heads[:1], check=False)
    forged = attrs.evolve(stranger, auth_events=denial.auth_events)
    with pytest.raises(Forbidden):
        await server.out_of_band.rescind(forged)
    assert await server.standing(room) == "knock"
    assert await server.out_of_band.rescind(denial) is not None
    assert await server.standing(room) == "leave"


async def test_an_old_end_does_not_end_a_newer_invite(server: Server, room: Room) -> None:
    await server.remember(room.invite(CAROL, ALICE), room)
    old = room.member(CAROL, ALICE, "leave")
    await server.out_of_band.rescind(old)
    assert await server.out_of_band.rescind(old) is None
    await server.remember(room.member(CAROL, ALICE, "invite", {"reason": "again"}), room)
    assert await server.out_of_band.rescind(old) is None
    assert await server.standing(room) == "invite"


async def test_only_ends_of_local_users_are_rescinded(server: Server, room: Room) -> None:
    invite = room.invite(CAROL, ALICE)
    with pytest.raises(InvalidParam):
        await server.out_of_band.rescind(invite)
    assert await server.out_of_band.rescind(room.member(CAROL, ALICE, "leave")) is None


async def test_a_join_takes_the_invite_up(server: Server, room: Room) -> None:
    """The membership that comes by way of the room is all that it takes."""
    await server.remember(room.invite(CAROL, ALICE), room)
    await server.remember(room.invite(CAROL, BOB), room)
    async with server.out_of_band.turn(room.room_id):
        await server.write(room, ALICE, "join", 5)
    assert await server.out_of_band.current(ALICE, room.room_id) is None
    assert await server.out_of_band.leave(ALICE, room.room_id) is None
    assert await server.standing(room) == "join"
    # Who is still invited can leave, even if the room does not know of the invite.
    assert await server.out_of_band.leave(BOB, room.room_id) is not None
    assert await server.standing(room, BOB) == "leave"


async def test_an_invite_that_waits_for_a_join_is_for_the_room(server: Server, room: Room) -> None:
    turn = server.out_of_band.turn(room.room_id)
    await turn.acquire()
    invite = Deferred.fromCoroutine(server.remember(room.invite(CAROL, ALICE), room))
    await server.write(room, BOB, "join", 5)
    turn.release()
    with pytest.raises(ServerInRoom):
        await invite
    assert await server.standing(room) is None


async def test_an_invite_that_the_room_confirms(server: Server, room: Room) -> None:
    stored = await server.remember(room.invite(CAROL, ALICE), room)
    await server.write(room, ALICE, "invite", stored.number)
    assert await server.out_of_band.current(ALICE, room.room_id) is None


async def test_races_end_in_one_of_the_memberships(server: Server) -> None:
    for order in permutations(range(3)):
        name = "".join(map(str, order))
        await _race(server, make_room(creator=CAROL, join_rule="knock", localpart=name), order)


async def _race(server: Server, room: Room, order: Sequence[int]) -> None:
    """A newer invite, a leave and a kick that ends the first invite, in this order."""
    invite = room.invite(CAROL, ALICE)
    stored = await server.remember(invite, room)
    kick = room.member(CAROL, ALICE, "leave")
    newer = room.member(CAROL, ALICE, "invite", {"reason": "again"})
    racers = [
        server.remember(newer, room),
        server.out_of_band.leave(ALICE, room.room_id),
        server.out_of_band.rescind(kick),
    ]
    await gatherResults([Deferred.fromCoroutine(racers[i]) for i in order])
    row = await server.membership(room)
    assert row is not None
    assert row.event != stored.number
    current = await server.out_of_band.current(ALICE, room.room_id)
    assert current is not None
    assert (current.membership, current.stored.number) == (row.membership, row.event)
    # The kick is of the first invite and does not touch the second; the user's leave ends what it finds.
    assert row.membership == ("invite" if order.index(0) > order.index(1) else "leave")


async def test_odd_strings_come_back_as_they_were(server: Server, room: Room) -> None:
    """U+0000 goes through both engines."""
    odd = {"type": "m.room.name\0", "state_key": "\0", "sender": CAROL, "content": {"name": "a\0b"}}
    invite = room.member(CAROL, ALICE, "invite", {"reason": "a\0b"})
    await server.remember(invite, room, [odd])
    found = await server_over(server.storing.storage.database).out_of_band.current(ALICE, room.room_id)
    assert found is not None
    assert json.loads(found.stripped_state) == [odd]
    assert found.stored.event.content["reason"] == "a\0b"
