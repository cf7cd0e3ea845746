# SPDX-License-Identifier: Apache-2.0
"""The metrics of a server that takes in a room from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor

from federation.graph.batches import Incoming
from federation.graph.resolving import HEAVY
from homeserver.composition.ground import Ground, build_ground
from homeserver.composition.metrics import build_metrics
from homeserver.config.config import read_config
from homeserver.metrics.reactor_lag import ReactorLag
from storage.engine.database import Database
from tests.support.reactor import in_reactor
from tests.support.rooms import BOB, Room, make_room

Figures = Mapping[str, float]

NEVER_JOINED = "@nobody:b.example"


async def start(database: Database, directory: Path) -> Ground:
    ground = build_ground(read_config({"server_name": "a.example"}, base=directory), reactor, database)
    await ground.feed.start()
    return ground


async def stop(ground: Ground) -> None:
    await ground.write_queue.stop()
    await ground.background.stop()
    await ground.workers.close()


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Iterator[Ground]:
    ground = in_reactor(start(database, tmp_path))
    yield ground
    in_reactor(stop(ground))


def figures(ground: Ground) -> Figures:
    """Each sample of a scrape; the labels stand behind the name, in order of their names."""
    text = b"".join(build_metrics(ground, ReactorLag(clock=reactor)).text()).decode()
    return {
        " ".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def moved(before: Figures, after: Figures, name: str) -> float:
    return after[name] - before[name]


def forked() -> tuple[Room, int]:
    """A room with two topics that do not know of each other; how many events it had before."""
    room = make_room("12", members=[BOB], levels={BOB: 50})
    [head] = room.heads
    begun = len(room.events)
    for topic in ("one", "two"):
        room.set_state(BOB, "m.room.topic", {"topic": topic}, after=[head])
    return room, begun


async def test_events_from_outside_and_resolutions(ground: Ground) -> None:
    room, begun = forked()
    before = figures(ground)
    graph, _ = await ground.graphs.begin_remote(room.room_id, room.version, Incoming(room.events[:begun]))
    middle = figures(ground)
    assert moved(before, middle, "trellis_rooms_in_memory") == 1
    assert moved(before, middle, "trellis_state_resolutions_total") == 0
    await graph.receive(Incoming(room.events[begun:]))
    after = figures(ground)
    of_this_server = [event for event in room.events if event.sender.endswith(":a.example")]
    locals_ = moved(before, after, "trellis_events_total accepted local")
    remotes = moved(before, after, "trellis_events_total accepted remote")
    assert locals_ == len(of_this_server)
    assert locals_ + remotes == len(room.events)
    assert moved(before, after, "trellis_events_total rejected remote") == 0
    resolutions = moved(middle, after, "trellis_state_resolutions_total")
    assert resolutions >= 1
    assert moved(middle, after, "trellis_state_resolution_rules_total reactor") == resolutions
    assert moved(middle, after, "trellis_state_resolution_rules_total worker") == 0
    # Both topics are in conflict.
    assert moved(middle, after, "trellis_state_resolution_conflict_events_sum") >= 2 * resolutions
    whole = moved(middle, after, "trellis_state_resolution_seconds_total")
    assert whole > moved(middle, after, "trellis_state_resolution_rules_seconds_total reactor") > 0


async def test_a_large_conflict_is_counted_where_it_is_resolved(ground: Ground) -> None:
    room = make_room("12", members=[BOB], levels={BOB: 50})
    [head] = room.heads
    begun = len(room.events)
    for fork in ("one", "two"):
        last = head
        for key in range(HEAVY // 2 + 1):
            last = room.set_state(BOB, "org.example.key", {"fork": fork}, str(key), after=[last])
    graph, _ = await ground.graphs.begin_remote(room.room_id, room.version, Incoming(room.events[:begun]))
    before = figures(ground)
    await graph.receive(Incoming(room.events[begun:]))
    after = figures(ground)
    assert moved(before, after, "trellis_state_resolution_rules_total worker") >= 1
    assert moved(before, after, "trellis_worker_calls_total") == moved(
        before, after, "trellis_state_resolution_rules_total worker"
    )
    assert moved(before, after, "trellis_worker_call_seconds_total") > 0
    assert moved(before, after, "trellis_state_resolution_conflict_events_sum") > HEAVY


async def test_an_event_that_the_rules_refuse_is_counted_as_rejected(ground: Ground) -> None:
    room, begun = forked()
    refused = room.message(NEVER_JOINED, "hello", after=[room.events[begun - 1]], check=False)
    graph, _ = await ground.graphs.begin_remote(room.room_id, room.version, Incoming(room.events[:begun]))
    before = figures(ground)
    await graph.receive(Incoming([refused]))
    assert moved(before, figures(ground), "trellis_events_total rejected remote") == 1


async def test_a_room_that_is_loaded_is_counted(ground: Ground, database: Database, tmp_path: Path) -> None:
    room, begun = forked()
    await ground.graphs.begin_remote(room.room_id, room.version, Incoming(room.events[:begun]))
    later = await start(database, tmp_path)
    before = figures(later)
    assert before["trellis_room_loads_total"] == 0
    graph = await later.graphs.get(room.room_id)
    await graph.receive(Incoming(room.events[begun:]))
    after = figures(later)
    assert after["trellis_room_loads_total"] == 1
    assert 0 < after["trellis_room_load_seconds_total"] < 10
    await stop(later)
