# SPDX-License-Identifier: Apache-2.0
"""The room graph over a database, without the floor above it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet import reactor

from federation.graph.building import EventBuilder
from federation.graph.contributors import Contributor
from federation.graph.drafts import Draft, Request
from federation.graph.graph_tools import GraphTools
from federation.graph.room import RoomGraph
from federation.graph.rooms import RoomGraphs
from federation.rules.room_versions import ROOM_VERSIONS
from federation.workers import Workers
from storage.engine.database import Database
from storage.event_memory import EventMemory
from storage.numbers import EventNumbers
from storage.runtime.background import BackgroundTasks
from storage.stores import Storage
from storage.write_queue import Committed, WriteQueue
from tests.support.rooms import signing_key

SERVER = "a.example"
ALICE = "@alice:a.example"
BOB = "@bob:a.example"


@attrs.frozen
class Graphs:
    """The parts that tests use, and what was committed, in order."""

    storage: Storage
    queue: WriteQueue
    graphs: RoomGraphs
    committed: list[Committed]
    background: BackgroundTasks
    workers: Workers


def graphs_over(
    database: Database, contributors: Sequence[Contributor] = (), *, numbers: int = 20_000
) -> Graphs:
    """A room graph over `database`, as the composition root builds it; it takes `numbers` at a time."""
    storage = Storage.over(database)
    background = BackgroundTasks()
    committed: list[Committed] = []
    queue = WriteQueue(
        database=database,
        strings=storage.strings,
        clock=reactor,
        background=background,
        on_commit=[committed.extend, EventMemory(storage.events).on_commit],
    )
    workers = Workers(processes=1, reactor=reactor)
    tools = GraphTools.over(
        storage,
        numbers=EventNumbers(database, block=numbers),
        workers=workers,
        clock=reactor,
        queue=queue,
        builder=EventBuilder(server_name=SERVER, key=signing_key(SERVER), clock=reactor),
        contributors=contributors,
    )
    return Graphs(storage, queue, RoomGraphs(tools=tools, server_name=SERVER), committed, background, workers)


def state(sender: str, type_: str, content: dict[str, Any], state_key: str = "") -> Draft:
    """The draft of a state event."""
    return Draft(sender=sender, type=type_, content=content, state_key=state_key)


def member(sender: str, target: str, membership: str) -> Draft:
    """The draft of a member event."""
    return state(sender, "m.room.member", {"membership": membership}, target)


def message(sender: str, body: str) -> Draft:
    """The draft of a text message."""
    return Draft(sender=sender, type="m.room.message", content={"msgtype": "m.text", "body": body})


def just(*drafts: Draft) -> Request:
    """A request for these events, whatever the state is."""
    return lambda _state: drafts


async def public_room(graphs: RoomGraphs, version: str = "12", *further: Draft) -> RoomGraph:
    """A public room of Alice's, with whatever else it should begin with."""
    rules = ROOM_VERSIONS[version]
    creator = {"creator": ALICE} if rules.creator_in_content else {}
    create = state(ALICE, "m.room.create", {"room_version": version, **creator})
    users = {} if rules.creators_have_infinite_power else {ALICE: 100}
    first: Callable[[str], Request] = lambda _room_id: just(  # noqa: E731
        member(ALICE, ALICE, "join"),
        state(ALICE, "m.room.power_levels", {"users": users}),
        state(ALICE, "m.room.join_rules", {"join_rule": "public"}),
        *further,
    )
    return await graphs.create(rules, create, first)
