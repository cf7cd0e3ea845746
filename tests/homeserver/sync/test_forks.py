# SPDX-License-Identifier: Apache-2.0
"""What a sync tells of rooms that fork: resolutions, events that come late, gaps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from homeserver.rooms.visibility import DUMMY
from storage.event import StateAt, StoredEvent
from storage.event_records import OutlierPlaced
from storage.gaps import GapClosed, NewGap
from storage.memberships import Membership
from storage.rooms import NewRoom
from storage.state_records import GivenRow
from tests.support.following_client import FollowingClient
from tests.support.reactor import in_reactor
from tests.support.room_records import RoomRecords
from tests.support.room_server import ok
from tests.support.sync_server import Client, SyncServer

SMALL = {"room": {"timeline": {"limit": 3}}}
MEMBER = "m.room.member"


@attrs.define
class Room:
    """A room of Alice's that Bob and Carol are in, and two clients of Bob's that follow it."""

    server: SyncServer
    room_id: str
    records: RoomRecords
    client: FollowingClient = attrs.field(factory=FollowingClient)
    small: FollowingClient = attrs.field(factory=FollowingClient)

    @property
    def bob(self) -> Client:
        return self.server.bob

    @property
    def alice_id(self) -> str:
        return self.server.alice.id

    def write(self, *records: Any) -> int:
        return in_reactor(self.records.write(*records))

    def message(self, body: str, **options: Any) -> StoredEvent:
        return in_reactor(self.records.message(self.alice_id, body, **options))

    def state(self, type_: str, content: Any, key: str = "", **options: Any) -> StoredEvent:
        return in_reactor(self.records.event(self.alice_id, type_, content, state_key=key, **options))

    def send(self, *events: StoredEvent) -> list[str]:
        for stored in events:
            in_reactor(self.records.send(stored))
        return [stored.event.event_id for stored in events]

    def resolve(self, *changed: StoredEvent, removed: tuple[StoredEvent, ...] = ()) -> int:
        return self.write(*in_reactor(self.records.revision_of(*changed, removed=removed)))

    def current(self, type_: str, key: str = "") -> StoredEvent:
        return in_reactor(self.records.current(type_, key))

    def sync(self) -> Any:
        """Bob's section of the room in an incremental sync, None where there is none."""
        section = self._follow(self.client, None)
        self._follow(self.small, SMALL)
        return section

    def _follow(self, client: FollowingClient, a_filter: Any) -> Any:
        query = {} if a_filter is None else {"filter": a_filter}
        answer = self.bob.sync(client.since, **query)
        client.take_in(answer)
        return answer["rooms"]["join"].get(self.room_id)

    def check(self) -> None:
        """The clients that follow hold what a fresh one holds."""
        fresh = FollowingClient()
        fresh.take_in(self.bob.sync())
        for client in (self.client, self.small):
            assert client.joined.keys() == fresh.joined.keys()
            for room_id, room in client.joined.items():
                assert room.state == fresh.joined[room_id].state
                assert room.summary.items() >= fresh.joined[room_id].summary.items()


@pytest.fixture
def room(server: SyncServer) -> Room:
    room_id = server.alice.create_room(preset="public_chat")
    server.bob.join(room_id)
    server.carol.join(room_id)
    made = Room(server, room_id, in_reactor(RoomRecords.of(server.ground, room_id)))
    made.sync()
    return made


def ids(events: Any) -> list[str]:
    return [event["event_id"] for event in events["events"]]


def test_a_soft_failed_event_that_a_resolution_brings_back(room: Room) -> None:
    soft = room.state("m.room.topic", {"topic": "late"}, soft_failed=True)
    room.send(soft)
    assert room.sync() is None
    room.resolve(soft)
    section = room.sync()
    assert ids(section["state"]) == [soft.event.event_id]
    assert section["timeline"]["events"] == []
    assert section["timeline"]["limited"] is False
    room.check()


def test_a_value_before_it_comes_back(room: Room) -> None:
    one, two = room.state("m.room.topic", {"topic": "1"}), room.state("m.room.topic", {"topic": "2"})
    for stored in (one, two):
        in_reactor(room.records.write(*_with_event(room, stored)))
    assert ids(room.sync()["timeline"]) == [one.event.event_id, two.event.event_id]
    room.resolve(one)
    assert ids(room.sync()["state"]) == [one.event.event_id]
    room.check()


def _with_event(room: Room, stored: StoredEvent) -> list[Any]:
    return [in_reactor(room.records.new(stored)), *in_reactor(room.records.revision_of(stored))]


def test_a_state_event_that_is_overruled_at_once_begins_no_timeline(room: Room) -> None:
    lost = room.state("m.room.topic", {"topic": "lost"}, after=StateAt(1, 1))
    before, after = room.message("before"), room.message("after")
    room.send(before, lost, after)
    section = room.sync()
    assert ids(section["timeline"]) == [after.event.event_id]
    assert section["timeline"]["limited"] is True
    assert section["state"]["events"] == []
    room.check()


def test_a_key_that_is_removed_in_the_time_of_a_timeline(room: Room) -> None:
    gone = room.state("m.room.topic", {"topic": "gone"})
    room.write(*_with_event(room, gone))
    room.resolve(removed=(gone,))
    room.send(after := room.message("after"))
    section = room.sync()
    assert ids(section["timeline"]) == [after.event.event_id]
    assert section["state"]["events"] == []
    room.check()


def test_a_key_that_is_removed_later_is_taken_from_the_client(room: Room) -> None:
    gone = room.state("m.room.topic", {"topic": "gone"})
    room.write(*_with_event(room, gone))
    room.sync()
    room.resolve(removed=(gone,))
    section = room.sync()
    assert section["timeline"]["events"] == []
    (emptied,) = section["state"]["events"]
    event = gone.event
    assert emptied == {
        "type": "m.room.topic",
        "state_key": "",
        "content": {},
        "event_id": event.event_id,
        "sender": event.sender,
        "origin_server_ts": event.origin_server_ts,
    }
    room.check()
    # Who reads the state finds it gone.
    path = f"/rooms/{quote(room.room_id)}/state/m.room.topic/"
    assert room.bob.get(path).status == 404


def test_a_member_who_is_removed_is_missing_in_the_summary(room: Room) -> None:
    room.resolve(removed=(room.current(MEMBER, room.server.carol.id),))
    section = room.sync()
    assert section["summary"]["m.joined_member_count"] == 2
    fresh = room.bob.sync()["rooms"]["join"][room.room_id]
    members = {
        e["state_key"] for e in fresh["timeline"]["events"] + fresh["state"]["events"] if e["type"] == MEMBER
    }
    assert members == {room.alice_id, room.bob.id}


def test_who_is_removed_is_told_that_they_have_left(room: Room) -> None:
    own = room.current(MEMBER, room.bob.id)
    room.resolve(removed=(own,))
    room.send(room.message("while Bob is away"))
    answer = room.bob.sync(room.client.since)
    assert room.room_id not in answer["rooms"]["join"]
    left = answer["rooms"]["leave"][room.room_id]
    assert left["timeline"]["events"] == []
    (emptied,) = left["state"]["events"]
    assert emptied["event_id"] == own.event.event_id
    assert emptied["content"] == {"membership": "leave"}
    assert room.room_id not in room.bob.sync()["rooms"]["join"]
    assert room.room_id not in room.bob.sync(answer["next_batch"])["rooms"]["leave"]
    # A resolution brings the membership back.
    room.resolve(own)
    room.send(room.message("which he sees"))
    back = room.bob.sync(answer["next_batch"])["rooms"]["join"][room.room_id]
    assert back["timeline"]["limited"] is True
    bodies = [event["content"].get("body") for event in back["timeline"]["events"]]
    assert bodies[-2:] == ["while Bob is away", "which he sees"]  # The history is shared.


def test_who_is_banned_by_a_resolution_and_back(room: Room) -> None:
    own = room.current(MEMBER, room.bob.id)
    ban = room.state(MEMBER, {"membership": "ban"}, room.bob.id, soft_failed=True)
    room.send(ban)
    room.resolve(ban)
    answer = room.bob.sync(room.client.since)
    assert ids(answer["rooms"]["leave"][room.room_id]["state"]) == [ban.event.event_id]
    room.resolve(own)
    assert room.room_id in room.bob.sync(answer["next_batch"])["rooms"]["join"]
    # Both between two syncs: the room is told afresh, and the state is what it was.
    room.sync()
    room.check()


def test_who_comes_in_by_a_resolution(room: Room) -> None:
    dan = room.server.dan
    since = dan.sync()["next_batch"]
    join = in_reactor(
        room.records.event(dan.id, MEMBER, {"membership": "join"}, state_key=dan.id, soft_failed=True)
    )
    room.send(join)
    assert room.room_id not in dan.sync(since)["rooms"]["join"]
    room.resolve(join)
    section = dan.sync(since)["rooms"]["join"][room.room_id]
    assert join.event.event_id in ids(section["state"])
    assert section["timeline"]["limited"] is True
    room.sync()
    room.check()


@pytest.mark.parametrize("unseen", [{"rejected": True}, {"soft_failed": True}, {"before": None}])
def test_what_is_never_shown(room: Room, unseen: dict[str, Any]) -> None:
    room.send(room.message("hidden", **unseen))
    room.send(in_reactor(room.records.event(room.alice_id, DUMMY, {})))
    old = room.message("backfilled", topo=-4)
    room.write(in_reactor(room.records.backfilled(old)))
    assert room.sync() is None
    [shown] = room.send(room.message("shown"))
    assert ids(room.sync()["timeline"]) == [shown]
    fresh = room.bob.sync(filter={"room": {"timeline": {"limit": 100}}})["rooms"]["join"][room.room_id]
    bodies = [e["content"]["body"] for e in fresh["timeline"]["events"] if e["type"] == "m.room.message"]
    assert bodies == ["shown"]


def test_an_event_of_a_fork_that_one_was_not_in(room: Room) -> None:
    hidden = room.state("m.room.history_visibility", {"history_visibility": "joined"})
    room.write(*_with_event(room, hidden))
    room.sync()
    branch = room.records.branch(room.records.now)
    gone = room.state(MEMBER, {"membership": "leave"}, room.bob.id)
    change = in_reactor(room.records.change(gone, StateAt(1, 1)))
    room.write(
        branch, change, in_reactor(room.records.as_outlier(attrs.evolve(gone, topo=None, before=None)))
    )
    there, here = room.message("there", before=StateAt(1, 1)), room.message("here")
    room.send(there, here)
    assert ids(room.sync()["timeline"]) == [here.event.event_id]
    assert ids(room.server.alice.sync()["rooms"]["join"][room.room_id]["timeline"])[-2:] == [
        there.event.event_id, here.event.event_id
    ]  # fmt: skip


def test_an_outlier_that_takes_its_place_as_the_value_that_it_is(room: Room) -> None:
    topic = in_reactor(room.records.outlier(room.alice_id, "m.room.topic", {"topic": "given"}, state_key=""))
    room.write(in_reactor(room.records.as_outlier(topic)), *in_reactor(room.records.revision_of(topic)))
    assert ids(room.sync()["state"]) == [topic.event.event_id]
    before, after = room.message("before"), room.message("after")
    placed = attrs.evolve(topic, topo=room.records.topo, before=StateAt(0, room.records.revision - 1),
                          after=room.records.now)  # fmt: skip
    room.send(before)
    room.write(OutlierPlaced(placed, room.records.room, 1))
    room.send(after)
    section = room.sync()
    assert ids(section["timeline"]) == [e.event.event_id for e in (before, topic, after)]
    assert section["timeline"]["limited"] is False
    room.check()


def _paged(room: Room, token: str) -> list[str]:
    """All events from a token back."""
    found: list[str] = []
    while token:
        page = ok(room.bob.get(f"/rooms/{quote(room.room_id)}/messages?dir=b&limit=4&from={token}"))
        found += ids({"events": page["chunk"]})
        token = page.get("end", "")
    return found


@pytest.mark.parametrize("closed", [False, True])
def test_a_timeline_does_not_go_on_over_a_gap(room: Room, closed: bool) -> None:
    below, above, last = room.message("below"), room.message("above"), room.message("last")
    room.records.topo += 20
    above, last = attrs.evolve(above, topo=room.records.topo - 1), attrs.evolve(last, topo=room.records.topo)
    room.send(below)
    gap = NewGap(room.records.room, "$missing", above.number, above.topo or 0)
    room.write(in_reactor(room.records.new(above)), gap)
    room.send(last)
    filled = room.message("filled", topo=(above.topo or 0) - 3)
    if closed:
        room.write(in_reactor(room.records.backfilled(filled)), GapClosed(room.records.room, "$missing"))
    section = room.sync()
    fresh = room.bob.sync()["rooms"]["join"][room.room_id]
    for told in (section, fresh):
        assert ids(told["timeline"]) == [above.event.event_id, last.event.event_id]
        assert told["timeline"]["limited"] is True
        expected = [filled.event.event_id] if closed else []
        back = _paged(room, told["timeline"]["prev_batch"])
        assert back[: len(expected) + 1] == [*expected, below.event.event_id]
    room.check()
    # What comes after it goes on.
    [more] = room.send(room.message("more"))
    section = room.sync()
    assert (ids(section["timeline"]), section["timeline"]["limited"]) == ([more], False)


def test_a_gap_where_the_event_after_it_is_hidden(room: Room) -> None:
    below, after, last = room.message("below"), room.message("after", before=None), room.message("last")
    room.send(below)
    gap = NewGap(room.records.room, "$missing", after.number, after.topo or 0)
    room.write(gap, in_reactor(room.records.new(after)))
    room.send(last)
    section = room.sync()
    assert (ids(section["timeline"]), section["timeline"]["limited"]) == ([last.event.event_id], True)


def test_paging_back_from_late_events_loses_nothing(room: Room) -> None:
    here = [room.message(f"here {i}") for i in range(6)]
    fork = (here[0].topo or 0) - 1
    late = [room.message(f"late {i}", topo=fork + i) for i in range(6)]
    room.send(*here, *late)
    wanted = {stored.event.event_id for stored in (*here, *late)}
    for query in ({}, {"since": room.client.since}):
        section = room.bob.sync(filter=SMALL, **query)["rooms"]["join"][room.room_id]
        assert ids(section["timeline"]) == [stored.event.event_id for stored in late[-3:]]
        back = _paged(room, section["timeline"]["prev_batch"])
        assert len(back) == len(set(back))
        assert wanted <= {*ids(section["timeline"]), *back}
    members = f"/rooms/{quote(room.room_id)}/members?at={section['timeline']['prev_batch']}"
    assert len(ok(room.bob.get(members))["chunk"]) == 3


def test_a_room_that_was_joined_with_a_given_state(server: SyncServer) -> None:
    bob, dan = server.bob, server.dan
    since = bob.sync()["next_batch"]
    room_id = "!given:b.example"

    async def join() -> tuple[StoredEvent, ...]:
        number = (await server.ground.storage.strings.intern([room_id]))[room_id]
        assert await server.ground.states.currents([number]) == {number: {}}
        records = RoomRecords(server.ground, room_id, number, revision=0, topo=40)
        creator = "@x:b.example"
        create = await records.outlier(creator, "m.room.create", {"room_version": "10"}, state_key="")
        theirs = await records.outlier(creator, MEMBER, {"membership": "join"}, state_key=creator)
        own = await records.event(
            bob.id, MEMBER, {"membership": "join"}, state_key=bob.id, after=StateAt(0, 1)
        )
        # Another of this server's users is in it, for all that the others know.
        dans = await records.outlier(dan.id, MEMBER, {"membership": "join"}, state_key=dan.id)
        rows: list[Any] = [Membership(dan.requester.user, number, "join", dans.number, index=1)]
        for stored in (create, theirs, dans):
            change = await records.change(stored, StateAt(0, 0))
            rows.append(GivenRow(number, 0, change.type, change.state_key, change.event, change.membership))
        await records.write(
            NewRoom(number, "10"),
            await records.as_outlier(create),
            await records.as_outlier(theirs),
            await records.as_outlier(dans),
            *rows,
            await records.new(own),
            NewGap(number, "$theirs", own.number, own.topo or 0),
            *await records.revision_of(own),
        )
        return create, theirs, dans, own

    create, theirs, dans, own = in_reactor(join())
    for user, query in ((bob, {"since": since}), (bob, {}), (dan, {"since": since}), (dan, {})):
        section = user.sync(**query)["rooms"]["join"][room_id]
        assert ids(section["timeline"]) == [own.event.event_id]
        assert section["timeline"]["limited"] is True
        assert set(ids(section["state"])) == {stored.event.event_id for stored in (create, theirs, dans)}
        for event in section["state"]["events"]:
            assert "membership" not in event["unsigned"]
        assert section["summary"]["m.joined_member_count"] == 3
    for path, status in ((theirs, 404), (create, 404), (own, 200)):
        assert bob.get(f"/rooms/{quote(room_id)}/event/{path.event.event_id}").status == status
    assert len(ok(bob.get(f"/rooms/{quote(room_id)}/state"))) == 4


@pytest.mark.parametrize("change", ["resolution", "removal"])
def test_a_long_poll_ends_with_a_change_of_the_state(room: Room, change: str) -> None:
    topic = room.state("m.room.topic", {"topic": "late"}, soft_failed=True)
    room.send(topic)
    room.sync()
    poll: Callable[[], Any] = lambda: room.bob.sync(room.client.since, timeout=20_000)  # noqa: E731

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(poll)
        if change == "resolution":
            room.resolve(topic)
        else:
            room.resolve(removed=(room.current(MEMBER, room.bob.id),))
        rooms = answer.result(20)["rooms"]
    if change == "resolution":
        assert ids(rooms["join"][room.room_id]["state"]) == [topic.event.event_id]
    else:
        assert room.room_id in rooms["leave"]


def test_a_fork_is_looked_at_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.write(room.records.branch(room.records.now))
    room.server.alice.sync(room.client.since)
    room.send(*(room.message(f"there {i}", before=StateAt(1, 0)) for i in range(3)))
    database = room.server.ground.storage.database
    reads: list[str] = []
    read = database.read

    async def counted(name: str, work: Any) -> Any:
        reads.append(name)
        return await read(name, work)

    monkeypatch.setattr(database, "read", counted)
    for expected in (["states of branches"], []):
        reads.clear()
        section = room.bob.sync(room.client.since)["rooms"]["join"][room.room_id]
        assert len(section["timeline"]["events"]) == 3
        assert reads == expected
