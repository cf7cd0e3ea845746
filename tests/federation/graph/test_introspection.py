# SPDX-License-Identifier: Apache-2.0
"""What operators can find out about a room's graph."""

from __future__ import annotations

import pytest

from federation.graph.batches import Incoming
from federation.graph.introspection import Change, Introspection, Judgement, Verdict
from storage.engine.database import Database
from tests.support.graphs import ALICE, Graphs, graphs_over, just, message, public_room, state
from tests.support.rooms import BOB, make_room


def introspection_of(parts: Graphs) -> Introspection:
    storage = parts.storage
    return Introspection(
        storage.database, storage.strings, storage.events, storage.states, storage.rejections
    )


@pytest.fixture
def parts(database: Database) -> Graphs:
    return graphs_over(database)


async def test_the_state_at_a_position(parts: Graphs) -> None:
    graph = await public_room(parts.graphs)
    look = introspection_of(parts)
    (first,) = await graph.append(just(state(ALICE, "m.room.topic", {"topic": "one"})))
    (second,) = await graph.append(just(state(ALICE, "m.room.topic", {"topic": "two"})))
    assert first.position is not None
    assert second.position is not None
    key = ("m.room.topic", "")
    before = await look.state_at(graph.room_id, first.position - 1)
    then = await look.state_at(graph.room_id, first.position)
    now = await look.state_at(graph.room_id, second.position + 100)
    assert before is not None
    assert then is not None
    assert now is not None
    assert key not in before
    assert then[key] == first.event.event_id
    assert now[key] == second.event.event_id
    assert ("m.room.create", "") in before
    assert await look.state_at(graph.room_id, 0) == {}
    assert await look.state_at("!nowhere:a.example", 5) is None


async def test_the_state_before_an_event(parts: Graphs) -> None:
    graph = await public_room(parts.graphs)
    (topic,) = await graph.append(just(state(ALICE, "m.room.topic", {"topic": "one"})))
    (said,) = await graph.append(just(message(ALICE, "hello")))
    look = introspection_of(parts)
    before_topic = await look.state_before(topic.event.event_id)
    before_said = await look.state_before(said.event.event_id)
    assert before_topic is not None
    assert before_said is not None
    assert before_said == {**before_topic, ("m.room.topic", ""): topic.event.event_id}
    assert await look.state_before("$unknown") is None


async def test_who_changed_a_key(parts: Graphs) -> None:
    graph = await public_room(parts.graphs)
    (first,) = await graph.append(just(state(ALICE, "m.room.topic", {"topic": "one"})))
    (second,) = await graph.append(just(state(ALICE, "m.room.topic", {"topic": "two"})))
    changes = await introspection_of(parts).changes_of(graph.room_id, ("m.room.topic", ""))
    assert changes == [
        Change(first.position, first.event.event_id, ALICE, by_resolution=False),
        Change(second.position, second.event.event_id, ALICE, by_resolution=False),
    ]
    assert await introspection_of(parts).changes_of(graph.room_id, ("m.room.topic", "other")) == ()


async def test_a_change_by_resolution_and_why_an_event_was_refused(parts: Graphs) -> None:
    room = make_room("11")
    joined = room.join(BOB)
    graph, received = await parts.graphs.begin_remote(room.room_id, room.version, Incoming(room.events))
    look = introspection_of(parts)
    assert not received.lacking
    assert await look.judgement(joined.event_id) == Judgement(joined.event_id, Verdict.ACCEPTED, placed=True)

    refused = room.set_state(BOB, "m.room.topic", {"topic": "mine"}, after=[joined], check=False)
    await graph.receive(Incoming([refused]))
    judged = await look.judgement(refused.event_id)
    assert judged is not None
    assert (judged.verdict, judged.rule, judged.placed) == (Verdict.REJECTED, "7", True)
    assert "power level" in (judged.reason or "")
    assert await look.judgement("$unknown") is None

    # Alice goes on, and Bob leaves beside her: the resolution of both takes him out.
    await graph.append(just(message(ALICE, "on we go")))
    left = room.leave(BOB, after=[joined])
    (gone,) = (await graph.receive(Incoming([left]))).stored
    changes = await look.changes_of(graph.room_id, ("m.room.member", BOB))
    assert [(c.event_id, c.sender, c.by_resolution) for c in changes] == [
        (joined.event_id, BOB, False),
        (left.event_id, BOB, True),
    ]
    assert gone.position is not None
    assert changes[1].position == gone.position + 1
