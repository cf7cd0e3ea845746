# SPDX-License-Identifier: Apache-2.0
"""What is news, for whom, of all that a unit may hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, DeferredList

from homeserver.feed.feed import Feed
from storage.engine.database import Database
from storage.event import StoredEvent
from storage.event_records import NewRedaction, OutlierBackfilled, OutlierPlaced, RedactionApplied
from storage.gaps import GapClosed, NewGap
from tests.support.app_server import AppServer, app_server
from tests.support.reactor import in_reactor
from tests.support.room_records import RoomRecords


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


@attrs.define
class Watched:
    """A room, and what its feed says of it since the last look."""

    server: AppServer
    room: RoomRecords
    seen: int = 0

    @property
    def feed(self) -> Feed:
        return self.server.ground.feed

    def look(self) -> tuple[bool, list[int]]:
        """Whether the room changed, and the numbers of its new events, the latest first."""
        after, self.seen = self.seen, self.feed.position

        async def read() -> list[int]:
            placed = await self.feed.events_between(
                self.room.room, after=after, upto=self.feed.position, limit=20
            )
            kept = self.feed.recent.between(self.room.room, after=after, upto=self.feed.position, limit=20)
            assert kept is not None, "the ring lost what came since it was begun"
            assert list(kept) == list(placed)
            return [one.number for one in placed]

        changed = self.feed.changed_rooms(after, {self.room.room})
        return changed == [self.room.room], in_reactor(read())


@pytest.fixture
def watched(server: AppServer) -> Watched:
    room_id = server.shared_room()
    room = in_reactor(RoomRecords.of(server.ground, room_id))
    return Watched(server, room, server.ground.feed.position)


def write(watched: Watched, *records: Any) -> int:
    return in_reactor(watched.room.write(*records))


def event(watched: Watched, body: str = "hello", **options: Any) -> StoredEvent:
    return in_reactor(watched.room.message(watched.server.alice.id, body, **options))


def topic(watched: Watched, text: str, **options: Any) -> StoredEvent:
    return in_reactor(
        watched.room.event(watched.server.alice.id, "m.room.topic", {"topic": text}, state_key="", **options)
    )


def test_an_event_is_news(watched: Watched) -> None:
    stored = event(watched)
    write(watched, in_reactor(watched.room.new(stored)))
    assert watched.look() == (True, [stored.number])
    assert watched.look() == (False, [])


@pytest.mark.parametrize("unseen", [{"rejected": True}, {"soft_failed": True}, {"before": None}])
def test_what_is_not_shown_is_no_news(watched: Watched, unseen: dict[str, Any]) -> None:
    hidden, shown = event(watched, **unseen), event(watched)
    write(watched, in_reactor(watched.room.new(hidden)))
    assert watched.look() == (False, [])
    write(watched, in_reactor(watched.room.new(shown)))
    assert watched.look() == (True, [shown.number])


def test_outliers_and_backfilled_events_are_no_news(watched: Watched) -> None:
    outlier = in_reactor(watched.room.outlier("@x:b.example", "m.room.message", {}))
    write(watched, in_reactor(watched.room.as_outlier(outlier)))
    write(watched, in_reactor(watched.room.backfilled(event(watched, topo=-3))))
    write(watched, OutlierBackfilled(attrs.evolve(outlier, topo=-4), watched.room.room, 1))
    assert watched.look() == (False, [])


def test_an_outlier_that_takes_its_place_is_news(watched: Watched) -> None:
    outlier = in_reactor(watched.room.outlier("@x:b.example", "m.room.message", {"body": "old"}))
    write(watched, in_reactor(watched.room.as_outlier(outlier)))
    events = watched.server.storage.events
    assert in_reactor(events.get([outlier.number]))[outlier.number].position is None
    placed = attrs.evolve(outlier, topo=99, before=watched.room.now)
    base = write(watched, OutlierPlaced(placed, watched.room.room, 1))
    assert watched.look() == (True, [outlier.number])
    known = in_reactor(events.get([outlier.number]))[outlier.number]
    assert (known.position, known.topo, known.before) == (base + 1, 99, watched.room.now)
    assert attrs.asdict(known, recurse=False) == attrs.asdict(fresh(watched, outlier), recurse=False)


def fresh(watched: Watched, stored: StoredEvent) -> StoredEvent:
    events, database = watched.server.storage.events, watched.server.storage.database
    [read] = in_reactor(database.read("fresh", lambda txn: events.get_txn(txn, [stored.number])))
    return read


def test_a_backfilled_outlier_is_known_by_its_place(watched: Watched) -> None:
    outlier = in_reactor(watched.room.outlier("@x:b.example", "m.room.message", {"body": "old"}))
    write(watched, in_reactor(watched.room.as_outlier(outlier)))
    assert in_reactor(watched.server.storage.events.get([outlier.number]))
    placed = attrs.evolve(outlier, topo=-2, before=watched.room.now)
    base = write(watched, OutlierBackfilled(placed, watched.room.room, 1))
    known = in_reactor(watched.server.storage.events.get([outlier.number]))[outlier.number]
    assert known.position == -(base + 1)
    assert attrs.asdict(known, recurse=False) == attrs.asdict(fresh(watched, outlier), recurse=False)


def test_a_change_of_the_state_without_an_event_is_news(watched: Watched) -> None:
    soft = topic(watched, "brought back", soft_failed=True)
    write(watched, in_reactor(watched.room.new(soft)))
    assert watched.look() == (False, [])
    write(watched, *in_reactor(watched.room.revision_of(soft)))
    assert watched.look() == (True, [])
    later = event(watched)
    write(watched, in_reactor(watched.room.new(later)))
    assert watched.look() == (True, [later.number])


def test_revisions_before_and_after_the_event_of_a_unit(watched: Watched) -> None:
    first = topic(watched, "one", soft_failed=True)
    write(watched, in_reactor(watched.room.new(first)))
    message = event(watched)
    before = in_reactor(watched.room.revision_of(first, index=1))
    after = in_reactor(watched.room.revision_of(first, index=3))
    base = write(watched, *before, in_reactor(watched.room.new(message, 2)), *after)
    assert watched.feed.rooms.last(watched.room.room) == base + 3
    assert watched.look() == (True, [message.number])


def test_members_are_woken_by_a_revision_and_who_leaves_by_it(watched: Watched) -> None:
    server, feed = watched.server, watched.feed
    bob = in_reactor(watched.room.current("m.room.member", server.bob.id))
    woken: list[str] = []

    async def wait_and_write() -> None:
        for user in (server.alice, server.bob):
            await feed.user_rooms.of_account(user.requester.user)
        await feed.user_rooms.in_room(watched.room.room)
        waits = []
        for user in (server.alice, server.bob, server.admin):
            waiting = Deferred.fromCoroutine(feed.waiting.wait(user.requester.user, 30))
            waiting.addCallback(lambda changed, name=user.id: woken.append(name) if changed else None)
            waits.append(waiting)
        await watched.room.write(*await watched.room.revision_of(removed=(bob,)))
        feed.waiting.close()
        await DeferredList(waits)

    in_reactor(wait_and_write())
    assert sorted(woken) == [server.alice.id, server.bob.id]
    memberships = in_reactor(feed.user_rooms.of_account(server.bob.requester.user))
    assert memberships[watched.room.room].membership == "leave"


def test_after_a_restart_the_last_change_is_known(watched: Watched) -> None:
    soft = topic(watched, "brought back", soft_failed=True)
    write(watched, in_reactor(watched.room.new(soft)))
    base = write(watched, *in_reactor(watched.room.revision_of(soft)))
    again = Feed(storage=watched.server.storage, clock=watched.server.ground.reactor)
    in_reactor(again.start())
    assert again.rooms.last(watched.room.room) == watched.feed.rooms.last(watched.room.room) == base + 1


def test_where_timelines_break_off(watched: Watched) -> None:
    room = watched.room.room
    after_gap, refused, old = event(watched), event(watched, rejected=True), event(watched, topo=-9)
    base = write(
        watched,
        NewGap(room, "$missing:b.example", after_gap.number, after_gap.topo or 0),
        NewGap(room, "$another:b.example", after_gap.number, after_gap.topo or 0),
        in_reactor(watched.room.new(after_gap)),
        NewGap(room, "$missing:b.example", refused.number, refused.topo or 0),
        in_reactor(watched.room.new(refused, 2)),
        NewGap(room, "$older:b.example", old.number, -9),
        in_reactor(watched.room.backfilled(old, 3)),
    )
    write(watched, GapClosed(room, "$missing:b.example"), GapClosed(room, "$another:b.example"))
    again = Feed(storage=watched.server.storage, clock=watched.server.ground.reactor)
    in_reactor(again.start())
    for feed in (watched.feed, again):
        assert feed.gaps.latest(room, after=0, upto=base + 50) == base + 1
        assert feed.gaps.latest(room, after=base + 1, upto=base + 50) is None
        assert feed.gaps.latest(room, after=0, upto=base) is None
        assert feed.gaps.latest(room + 1, after=0, upto=base + 50) is None


@pytest.mark.parametrize("redaction_first", [False, True])
def test_a_redaction_that_waited_for_its_target(watched: Watched, redaction_first: bool) -> None:
    target = event(watched, "secret")
    redaction = in_reactor(
        watched.room.event(watched.server.alice.id, "m.room.redaction", {"redacts": target.event.event_id})
    )
    waiting = NewRedaction(
        target.event.event_id, redaction.number, redaction.event.event_id, None, applied=False
    )
    write(watched, in_reactor(watched.room.new(redaction)), waiting)
    applied = RedactionApplied(
        target.event.event_id, redaction.number, redaction.event.event_id, target.number
    )
    unit = [in_reactor(watched.room.new(target)), applied]
    write(watched, *(unit[::-1] if redaction_first else unit))
    known = in_reactor(watched.server.storage.events.get([target.number]))[target.number]
    assert known.redacted_by == redaction.event.event_id
    assert fresh(watched, target).redacted_by == redaction.event.event_id
    [shown] = [
        e
        for e in watched.server.bob.page(watched.room.room_id)["chunk"]
        if e["event_id"] == target.event.event_id
    ]
    assert shown["content"] == {}
    assert shown["unsigned"]["redacted_because"]["event_id"] == redaction.event.event_id
