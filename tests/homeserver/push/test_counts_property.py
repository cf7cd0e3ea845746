# SPDX-License-Identifier: Apache-2.0
"""For random events, memberships and receipts, counts are what evaluating the rules for everyone gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from federation.graph.drafts import Draft
from federation.graph.room import RoomGraph
from federation.rules.errors import AuthRefused
from homeserver.push.rules.compiled import DEFAULT_RULES
from homeserver.push.rules.context import Owner, RoomContext
from homeserver.push.rules.evaluation import evaluate
from homeserver.push.unread import RoomUnread
from storage.engine.database import Database
from storage.event import StoredEvent
from tests.support.counting import Counting, committed_counts, counting_over
from tests.support.graphs import ALICE, just, member, public_room, state
from tests.support.reactor import in_reactor

BOB, CAROL, DORA = "@bob:a.example", "@carol:a.example", "@dora:a.example"
REMOTE = "@eve:b.example"
LOCAL = (ALICE, BOB, CAROL, DORA)
USERS = (*LOCAL, REMOTE)
POWER = {ALICE: 100, BOB: 50}
BOUNDS = {"most_rooms": 1, "most_readings": 3}


@attrs.frozen
class Send:
    sender: str
    kind: str
    target: int
    mentioned: tuple[str, ...] = ()
    room: bool = False


@attrs.frozen
class Move:
    user: str
    membership: str


@attrs.frozen
class Read:
    user: str
    target: int
    thread: str
    private: bool


@attrs.frozen
class Check:
    user: str


@attrs.frozen
class Restart:
    pass


TARGETS = st.integers(0, 40)
SENDS = st.builds(
    Send,
    sender=st.sampled_from(USERS),
    kind=st.sampled_from(
        ["text", "text", "text", "thread", "thread", "notice", "edit", "reaction", "encrypted reference",
         "topic", "tombstone", "profile", "custom"]
    ),
    target=TARGETS,
    mentioned=st.lists(st.sampled_from(USERS), max_size=2).map(tuple),
    room=st.booleans(),
)  # fmt: skip
MOVES = st.builds(
    Move, user=st.sampled_from(USERS[1:]), membership=st.sampled_from(["join", "leave", "kick"])
)
READS = st.builds(
    Read,
    user=st.sampled_from(LOCAL),
    target=TARGETS,
    thread=st.sampled_from(["none", "none", "main", "its own", "as root"]),
    private=st.booleans(),
)
ACTIONS = st.lists(
    st.one_of(
        SENDS, SENDS, SENDS, MOVES, READS, st.builds(Check, st.sampled_from(LOCAL)), st.just(Restart())
    ),
    min_size=10,
    max_size=45,
)


@attrs.define
class Naive:
    """Everything that happened; the counts of who is joined are made by going through all of it for each."""

    events: list[StoredEvent] = attrs.field(factory=list)
    joined: set[str] = attrs.field(factory=set)
    sizes: list[int] = attrs.field(factory=list)
    read: dict[str, dict[str, int]] = attrs.field(factory=dict)

    def append(self, stored: StoredEvent) -> None:
        event = stored.event
        if event.type == "m.room.member":
            user = str(event.state_key)
            if event.content["membership"] != "join":
                self.joined.discard(user)
            elif user not in self.joined:
                self.joined.add(user)
                self.mark(user, "everything", stored)
        self.events.append(stored)
        self.sizes.append(len(self.joined))
        if event.state_key is None:
            self.mark(event.sender, self.thread_of(stored) or "main", stored)

    def mark(self, user: str, thread: str, stored: StoredEvent) -> None:
        marks = self.read.setdefault(user, {})
        assert stored.position is not None
        marks[thread] = max(marks.get(thread, 0), stored.position)

    def thread_of(self, stored: StoredEvent) -> str | None:
        relation = stored.event.content.get("m.relates_to", {})
        if relation.get("rel_type") == "m.thread":
            return str(relation["event_id"])
        parents = [e for e in self.events if e.event.event_id == relation.get("event_id")]
        return self.thread_of(parents[0]) if parents else None

    def unread(self, user: str) -> RoomUnread:
        marks = self.read.get(user, {})
        counts: dict[str, tuple[int, int]] = {"main": (0, 0)}
        for stored, size in zip(self.events, self.sizes, strict=True):
            thread = self.thread_of(stored) or "main"
            read_to = max(marks.get("everything", 0), marks.get(thread, 0))
            if "everything" not in marks or (stored.position or 0) <= read_to:
                continue
            room = RoomContext(
                member_count=size,
                sender_level=POWER.get(stored.event.sender, 0),
                notification_level=lambda _name: 50,
                is_recipient=lambda _user: True,
            )
            actions = evaluate(DEFAULT_RULES, stored.event, room, Owner(user))
            n, h = counts.get(thread, (0, 0))
            counts[thread] = n + actions.notify, h + actions.highlight
        main = counts.pop("main")
        return RoomUnread(*main, {root: both for root, both in counts.items() if both != (0, 0)})


def draft_of(send: Send, events: Sequence[StoredEvent]) -> Draft:
    target = events[send.target % len(events)].event.event_id
    content: dict[str, Any] = {"msgtype": "m.text", "body": "hello"}
    if send.mentioned or send.room:
        content["m.mentions"] = {"user_ids": list(send.mentioned), "room": send.room}
    relations = {"thread": "m.thread", "edit": "m.replace", "reaction": "m.annotation"}
    rel_type = "m.reference" if send.kind == "encrypted reference" else relations.get(send.kind)
    if rel_type is not None:
        content["m.relates_to"] = {"rel_type": rel_type, "event_id": target}
    if send.kind == "notice":
        content["msgtype"] = "m.notice"
    if send.kind == "profile":
        content = {**content, "membership": "join", "displayname": f"name {send.target}"}
        return state(send.sender, "m.room.member", content, send.sender)
    types = {
        "reaction": "m.reaction", "encrypted reference": "m.room.encrypted", "topic": "m.room.topic",
        "tombstone": "m.room.tombstone", "custom": "org.example.custom",
    }  # fmt: skip
    type_ = types.get(send.kind, "m.room.message")
    state_key = "" if send.kind in ("topic", "tombstone") else None
    return Draft(send.sender, type_, content, state_key=state_key)


@attrs.define
class Play:
    """One run: the counts under test beside the naive ones."""

    database: Database
    counting: Counting
    graph: RoomGraph
    naive: Naive

    async def act(self, action: Any) -> None:
        match action:
            case Send():
                if action.sender in self.naive.joined:
                    await self.append(draft_of(action, self.naive.events))
            case Move(user, "join") if user not in self.naive.joined:
                await self.append(member(user, user, "join"))
            case Move(user, "leave" | "kick") if user in self.naive.joined:
                by = user if action.membership == "leave" else ALICE
                await self.append(member(by, user, "leave"))
            case Read():
                await self.receipt(action)
            case Check(user):
                await self.check(self.counting, [user])
            case Restart():
                self.counting = counting_over(self.database, **BOUNDS)
                self.graph = await self.counting.graphs.get(self.graph.room_id)

    async def append(self, draft: Draft) -> None:
        try:
            [stored] = await self.graph.append(just(draft))
        except AuthRefused:  # a topic of somebody without the power to set it
            return
        self.naive.append(stored)

    async def receipt(self, action: Read) -> None:
        if action.user not in self.naive.joined:
            return
        stored = self.naive.events[action.target % len(self.naive.events)]
        own = self.naive.thread_of(stored) or "main"
        threads = {"none": None, "main": "main", "its own": own, "as root": stored.event.event_id}
        thread = threads[action.thread]
        self.naive.mark(action.user, thread or "everything", stored)
        await self.counting.receipt(action.user, self.graph.room, stored, thread, private=action.private)

    async def check(self, counting: Counting, users: Sequence[str]) -> None:
        for user in self.naive.joined.intersection(users):
            found = await counting.unread(user, [self.graph.room])
            assert (user, found[self.graph.room]) == (user, self.naive.unread(user))

    async def check_from_disk(self) -> None:
        storage = self.counting.storage
        for user in self.naive.joined.intersection(LOCAL):
            account = (await storage.strings.intern([user]))[user]
            fresh: Mapping[int, RoomUnread] = await committed_counts(storage).unread(
                account, [self.graph.room]
            )
            assert fresh[self.graph.room] == self.naive.unread(user)


async def play(database: Database, actions: Sequence[Any]) -> None:
    counting = counting_over(database, **BOUNDS)
    levels = state(ALICE, "m.room.power_levels", {"users": POWER, "events": {"m.room.tombstone": 0}})
    joins = [member(user, user, "join") for user in (BOB, CAROL, REMOTE)]
    graph = await public_room(counting.graphs, "11", levels, state(ALICE, "m.room.topic", {}))
    await graph.append(just(*joins))
    run = Play(database, counting, graph, Naive())
    places = await counting.storage.events.between(graph.room, after=0, upto=2**62, limit=100)
    stored = await counting.storage.events.get(p.number for p in places)
    for placed in reversed(places):
        run.naive.append(stored[placed.number])
    for action in actions:
        await run.act(action)
        await run.check(run.counting, (BOB, CAROL))  # so they stay in memory, and others come and go
    await run.check(run.counting, LOCAL)
    await run.check_from_disk()


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a failure is told as it was found
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=ACTIONS)
def test_the_counts_are_those_of_evaluating_the_rules_for_everyone(
    database: Database, actions: Sequence[Any]
) -> None:
    in_reactor(play(database, actions))
