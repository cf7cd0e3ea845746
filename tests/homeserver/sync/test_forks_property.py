# SPDX-License-Identifier: Apache-2.0
"""Random rooms with forks, conflicts and refused events arrive from outside, some with gaps: a client that
follows them ends where a fresh one is, and finds everything by paging back.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import pytest

from federation.graph.batches import Incoming
from storage.engine.database import Database
from storage.event import Event
from tests.federation.graph.test_given_state import Joiner
from tests.reference.graphs import RandomRoom, random_room, valid_orders
from tests.support.app_server import AppServer, Reader, app_server
from tests.support.following_client import FollowedRoom, FollowingClient
from tests.support.reactor import in_reactor
from tests.support.room_server import ok

_LONG = {"room": {"timeline": {"limit": 100}}}
_SHORT = {"room": {"timeline": {"limit": 3}}}


def sync(user: Reader, a_filter: Any, since: str | None = None) -> Any:
    query = {"filter": json.dumps(a_filter), **({} if since is None else {"since": since})}
    return ok(user.get("/sync?" + urlencode(query)))


@attrs.define
class Follower:
    """A client of a user that follows by `/sync`."""

    user: Reader
    filter: Any
    often: float
    client: FollowingClient = attrs.field(factory=FollowingClient)

    def catch_up(self) -> None:
        self.client.take_in(sync(self.user, self.filter, self.client.since))

    def check(self) -> None:
        """What the client holds is what a fresh one is told."""
        self.catch_up()
        fresh = FollowingClient()
        fresh.take_in(sync(self.user, _LONG))
        assert self.client.joined.keys() == fresh.joined.keys()
        assert self.client.invited.keys() == fresh.invited.keys()
        assert self.client.knocked.keys() == fresh.knocked.keys()
        for room_id, room in self.client.joined.items():
            self._check_room(room, fresh.joined[room_id])

    def _check_room(self, room: FollowedRoom, fresh: FollowedRoom) -> None:
        assert room.state == fresh.state
        assert room.summary.items() >= fresh.summary.items()
        shared = min(len(room.messages), len(fresh.messages))
        assert room.messages[len(room.messages) - shared :] == fresh.messages[len(fresh.messages) - shared :]
        if "types" not in self.filter["room"]["timeline"]:
            assert room.unread == fresh.unread


class Followed:
    """A random room, with followers of two local users."""

    def __init__(self, server: AppServer, room: RandomRoom, seed: int) -> None:
        self.server, self.room = server, room
        self.random = random.Random(seed)
        self.room_id = room.events[0].room_id
        self.followers = [
            Follower(user, {"room": {"timeline": timeline}}, often)
            for user in (server.alice, server.dora)
            for timeline, often in (({"limit": 100}, 0.9), ({"limit": 1}, 0.4), ({"limit": 4}, 0.1))
        ]
        self.followers.append(
            Follower(server.alice, {"room": {"timeline": {"types": ["m.room.message"], "limit": 2}}}, 0.4)
        )

    def follow(self) -> None:
        """Some catch up, and now and then all is looked at."""
        for follower in self.followers:
            if self.random.random() < follower.often:
                follower.catch_up()
        if self.random.random() < 0.15:
            self.check()

    def check(self) -> None:
        for follower in self.followers:
            follower.check()
        for user in (self.server.alice, self.server.dora):
            section = sync(user, _SHORT)["rooms"]["join"].get(self.room_id)
            if section is not None:
                self._check_state(user)
                self._check_pages(user, section["timeline"])

    def _check_state(self, user: Reader) -> None:
        """What the server says of the state is what it is."""
        events = ok(user.room(self.room_id, "/state"))
        told = {(event["type"], event["state_key"]): event["event_id"] for event in events}
        fresh = FollowingClient()
        fresh.take_in(sync(user, _SHORT))
        assert fresh.joined[self.room_id].state == told

    def _check_pages(self, user: Reader, timeline: Any) -> None:
        """A timeline and what comes before it are all that there is, and nothing comes twice on pages."""
        forwards = self._paged(user, "dir=f")
        assert forwards == self._paged(user, "dir=b")[::-1]
        back = self._paged(user, f"dir=b&from={timeline['prev_batch']}")
        shown = {event["event_id"] for event in timeline["events"]}
        assert shown | set(back) >= set(forwards)
        for pages in (forwards, back):
            assert len(pages) == len(set(pages))

    def _paged(self, user: Reader, query: str) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = ok(user.get(f"/rooms/{quote(self.room_id)}/messages?{query}&limit=30{token}"))
            found += [event["event_id"] for event in page["chunk"]]
            if "end" not in page:
                return found
            query = query.partition("&from=")[0]
            token = f"&from={page['end']}"


class Arriving(Followed):
    """It arrives in batches from its beginning on."""

    async def _receive(self, batch: Sequence[Event], *, first: bool) -> None:
        graphs = self.server.ground.graphs
        if first:
            await graphs.begin_remote(self.room_id, self.room.version, Incoming(batch))
        else:
            await (await graphs.get(self.room_id)).receive(Incoming(batch))

    def arrive(self) -> None:
        [batches] = valid_orders(self.room, 1, self.random)
        for i, batch in enumerate(batches):
            in_reactor(self._receive(batch, first=i == 0))
            self.follow()
        self.check()


class Joining(Followed):
    """It is joined in the middle, misses some of what comes, and learns of its past in the end."""

    def __init__(self, server: AppServer, room: RandomRoom, seed: int) -> None:
        super().__init__(server, room, seed)
        self.joiner = Joiner(room, server.storage.database, server.ground)  # type: ignore[arg-type]
        self.after_gap: set[str] = set()

    def arrive(self) -> None:
        order = self.room.events
        start = self.random.choice([i for i, e in enumerate(order) if i > 3 and self._is_accepted(e)])
        in_reactor(self._join(order[start]))
        for event in order[start + 1 :]:
            if self.random.random() < 0.8:
                in_reactor(self._receive(event))
                self.follow()
        self.check()
        while gaps := in_reactor(self.joiner.gaps()):
            missing = sorted({gap.event_id for gap in gaps})
            in_reactor(self.joiner.backfill(missing, self.random.randint(1, 10), order))
            self.follow()
        self.check()

    def _is_accepted(self, event: Event) -> bool:
        return event.event_id not in self.room.naive.rejected

    async def _join(self, event: Event) -> None:
        await self.joiner.join(event)
        self.after_gap.add(event.event_id)

    async def _receive(self, event: Event) -> None:
        known = await self.joiner.known()
        await self.joiner.receive(event)
        if not known.issuperset(event.prev_events):
            self.after_gap.add(event.event_id)

    def _check_pages(self, user: Reader, timeline: Any) -> None:
        super()._check_pages(user, timeline)
        shown = [event["event_id"] for event in timeline["events"]]
        assert not self.after_gap.intersection(shown[1:]), "a timeline goes on over a gap"
        if self.after_gap.intersection(shown):
            assert timeline["limited"] is True


# In each of them a resolution takes a key away, and one brings a soft-failed event back.
@pytest.mark.parametrize(("seed", "version"), [(5, "11"), (34, "12"), (38, "7"), (41, "12")])
def test_following_a_room_that_forks(database: Database, seed: int, version: str) -> None:
    with app_server(database) as server:
        Arriving(server, random_room(seed, version, 60), seed).arrive()


@pytest.mark.parametrize(("seed", "version"), [(12, "11"), (31, "7"), (48, "12"), (49, "1")])
def test_following_a_room_that_is_known_in_part(database: Database, seed: int, version: str) -> None:
    room = random_room(seed, version, 40)
    with app_server(database) as server:
        Joining(server, room, seed).arrive()
