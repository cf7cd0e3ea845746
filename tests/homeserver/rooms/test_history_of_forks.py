# SPDX-License-Identifier: Apache-2.0
"""What users see of rooms that fork, and of what is known of them in part."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
import pytest

from homeserver.rooms.history import History, RoomView, states_on_branches
from homeserver.rooms.visibility import DUMMY, HISTORY_VISIBILITY, MEMBER
from storage.engine.database import Database, Transaction
from storage.event import StateAt, StoredEvent
from storage.state_records import EarlierChange, NewBranch, StateChange
from tests.support.app_server import AppServer, app_server
from tests.support.reactor import in_reactor
from tests.support.room_records import RoomRecords
from tests.support.room_server import ok

T = TypeVar("T")
VISIBILITIES = ("world_readable", "shared", "invited", "joined")
MEMBERSHIPS = ("join", "leave", "invite", "ban")


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


class Counted:
    """A database that counts what is read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads = 0

    async def read(self, name: str, work: Callable[[Transaction], T]) -> T:
        self.reads += 1
        return await self._database.read(name, work)


@attrs.frozen
class Moment:
    """What holds in a state, for Bob."""

    visibility: str = "shared"
    membership: str = "leave"

    def allows(self, joined: bool) -> bool:
        """As the specification has it; `joined`: he has joined since."""
        return (
            self.visibility == "world_readable"
            or self.membership == "join"
            or (self.visibility == "shared" and joined)
            or (self.visibility == "invited" and self.membership == "invite")
        )


class Forks:
    """A room with branches at random, and what each state means for Bob."""

    def __init__(self, server: AppServer, rng: random.Random) -> None:
        self.server, self.rng = server, rng
        self.room_id = server.alice.create_room(preset="public_chat")
        self.room = in_reactor(RoomRecords.of(server.ground, self.room_id))
        self.moments = {self.room.now: Moment()}
        self.heads: dict[int, StateAt] = {}

    async def grow(self) -> None:
        """One more branch, or one more change on one."""
        if not self.heads or self.rng.random() < 0.4:
            parent = self.rng.choice(list(self.moments))
            branch = self.room.branch(parent)
            await self.room.write(branch)
            self.heads[branch.branch] = StateAt(branch.branch, 0)
            self.moments[StateAt(branch.branch, 0)] = self.moments[parent]
        branch_number = self.rng.choice(list(self.heads))
        head = self.heads[branch_number]
        at = StateAt(branch_number, head.revision + 1)
        moment, stored = await self._change(self.moments[head])
        await self.room.write(await self.room.as_outlier(stored), await self.room.change(stored, at))
        self.heads[branch_number], self.moments[at] = at, moment

    async def _change(self, moment: Moment) -> tuple[Moment, StoredEvent]:
        if self.rng.random() < 0.5:
            value = self.rng.choice(VISIBILITIES)
            content = {"history_visibility": value}
            stored = await self._state("m.room.history_visibility", content, "")
            return attrs.evolve(moment, visibility=value), stored
        value = self.rng.choice(MEMBERSHIPS)
        stored = await self._state("m.room.member", {"membership": value}, self.server.bob.id)
        return attrs.evolve(moment, membership=value), stored

    async def _state(self, type_: str, content: dict[str, Any], key: str) -> StoredEvent:
        return await self.room.outlier(self.server.alice.id, type_, content, state_key=key)


@pytest.mark.parametrize("seed", range(3))
def test_random_branches(server: AppServer, seed: int) -> None:
    rng = random.Random(seed)
    forks = Forks(server, rng)
    is_joined = seed == 1

    async def check() -> None:
        for _ in range(25):
            await forks.grow()
        if is_joined:
            content = {"membership": "join"}
            join = await forks.room.event(server.bob.id, MEMBER, content, state_key=server.bob.id)
            await forks.room.write(await forks.room.new(join), *await forks.room.revision_of(join))
        events = [await forks.room.message(server.alice.id, str(s), before=s) for s in forks.moments]
        counted = Counted(server.storage.database)
        history = History(storage=attrs.evolve(server.storage, database=counted))
        bob = server.bob.requester
        view = await history.view(forks.room.room, bob.user, bob.user_id)
        for stored in events:
            if stored.before and stored.before.branch:
                assert not view.sees(stored), "what was not looked up is hidden"
                assert view.membership_at(stored) is None
        before = counted.reads
        whole = await history.extended_view(view, states_on_branches(events))
        assert counted.reads == before + 1
        await check_view(whole, events)
        again = await history.extended_view(view, states_on_branches(events))
        assert counted.reads == before + 1
        assert again == whole

    async def check_view(view: RoomView, events: list[StoredEvent]) -> None:
        for stored in events:
            assert stored.before is not None
            moment = forks.moments[stored.before]
            assert view.sees(stored) == moment.allows(is_joined), (stored.before, moment)
            assert view.sees_state(stored.before) == moment.allows(is_joined)
            assert view.membership_at(stored) == moment.membership

    in_reactor(check())


def test_what_is_never_shown(server: AppServer) -> None:
    room_id = server.shared_room()
    room = in_reactor(RoomRecords.of(server.ground, room_id))

    async def write() -> tuple[list[StoredEvent], list[StoredEvent]]:
        alice = server.alice.id
        hidden = [
            await room.message(alice, "rejected", rejected=True),
            await room.message(alice, "soft-failed", soft_failed=True),
            await room.message(alice, "unknown", before=None),
            await room.event(alice, DUMMY, {}),
            await room.event(alice, DUMMY, {}, state_key=""),
        ]
        for stored in hidden:
            await room.send(stored)
        outlier = await room.outlier(alice, "m.room.message", {"body": "outlier"})
        await room.write(await room.as_outlier(outlier))
        shown = [await room.message(alice, "shown"), await room.message(alice, "old", topo=-5)]
        await room.write(await room.new(shown[0]))
        await room.write(await room.backfilled(shown[1]))
        return [*hidden, outlier], shown

    hidden, shown = in_reactor(write())
    for user in (server.alice, server.bob):
        for stored in hidden:
            refused = user.room(room_id, f"/event/{stored.event.event_id}")
            assert (refused.status, refused.errcode) == (404, "M_NOT_FOUND")
        for stored in shown:
            assert (
                ok(user.room(room_id, f"/event/{stored.event.event_id}"))["unsigned"]["membership"] == "join"
            )
        backwards = [event["event_id"] for event in user.page(room_id, "dir=b&limit=100")["chunk"]]
        forwards = [event["event_id"] for event in user.page(room_id, "dir=f&limit=100")["chunk"]]
        assert backwards == forwards[::-1]
        assert forwards[0] == shown[1].event.event_id
        assert forwards[-1] == shown[0].event.event_id
        assert not {stored.event.event_id for stored in hidden} & set(forwards)


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_show_the_branches_that_one_was_in(server: AppServer, limit: int) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"}))
    room = in_reactor(RoomRecords.of(server.ground, room_id))
    without = room.now
    ok(server.bob.membership("join", room_id))
    room = in_reactor(RoomRecords.of(server.ground, room_id))

    async def write() -> None:
        outside, inside = room.branch(without), room.branch(room.now)
        states = {"before": StateAt(2, 0), "after": StateAt(2, 1)}
        bob, content = server.bob.id, {"membership": "leave"}
        gone = await room.event(bob, MEMBER, content, state_key=bob, **states)
        await room.write(outside, inside, await room.change(gone, StateAt(2, 1)), await room.new(gone))
        for body, before in (
            ("here", room.now),
            ("before the join", without),
            ("there without", StateAt(1, 0)),
            ("there with", StateAt(2, 0)),
            ("there, left", StateAt(2, 1)),
        ):
            await room.send(await room.message(server.alice.id, body, before=before))

    in_reactor(write())
    bodies: list[str] = []
    leaves: list[Any] = []
    token = ""
    while True:
        page = server.bob.page(room_id, f"dir=f&limit={limit}{token}")
        for event in page["chunk"]:
            if event["type"] == "m.room.message":
                bodies.append(event["content"]["body"])
                assert event["unsigned"]["membership"] == "join"
            elif event["content"].get("membership") == "leave":
                leaves.append(event["unsigned"]["membership"])
        if not page["chunk"]:
            break
        token = f"&from={page['end']}"
    assert bodies == ["here", "there with"]
    assert leaves == ["leave"]
    messages = server.alice.page(room_id, "dir=b&limit=100")["chunk"]
    assert len([event for event in messages if event["type"] == "m.room.message"]) == 5


def test_earlier_states_that_are_learnt_later(server: AppServer) -> None:
    room_id = server.shared_room()
    room = in_reactor(RoomRecords.of(server.ground, room_id))

    async def learn() -> tuple[bool, bool]:
        bob, history = server.bob.requester, server.ground.history
        old = await room.message(server.alice.id, "old", topo=-5, before=StateAt(0, -1))
        content = {"history_visibility": "joined"}
        first = await room.outlier(server.alice.id, HISTORY_VISIBILITY, content, state_key="")
        before = (await history.view(room.room, bob.user, bob.user_id)).sees(old)
        names = [await room.number(name) for name in (HISTORY_VISIBILITY, "")]
        await room.write(
            await room.as_outlier(first),
            EarlierChange(room.room, 0, names[0], names[1], 0, first.number),
        )
        return before, (await history.view(room.room, bob.user, bob.user_id)).sees(old)

    # Where nothing was known the default is "shared"; he joined later.
    assert in_reactor(learn()) == (True, False)


def test_a_state_key_whose_event_is_known_by_its_id_alone_hides(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    room = in_reactor(RoomRecords.of(server.ground, room_id))

    async def read() -> tuple[bool, bool]:
        bob, history = server.bob.requester, server.ground.history
        visibility, empty = [await room.number(name) for name in (HISTORY_VISIBILITY, "")]
        await room.write(
            NewBranch(room.room, 1, room.now), StateChange(room.room, 1, visibility, empty, 1, 10**12)
        )
        stored = await room.message(server.alice.id, "hello", before=StateAt(1, 1))
        view = await history.view(room.room, bob.user, bob.user_id)
        view = await history.extended_view(view, states_on_branches([stored]))
        return view.sees(stored), view.sees_state(StateAt(1, 1))

    assert in_reactor(read()) == (False, False)
