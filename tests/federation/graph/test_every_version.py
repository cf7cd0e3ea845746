# SPDX-License-Identifier: Apache-2.0
"""Rooms of every version, made and used by this server alone."""

from __future__ import annotations

import itertools

import pytest

from federation.rules.base64 import encode_base64
from federation.rules.errors import AuthRefused
from federation.rules.hashing import content_hash_holds, event_id, reference_hash
from federation.rules.receipt import receive_pdu
from federation.rules.room_versions import ROOM_VERSIONS
from storage.engine.database import Database
from storage.event import Event
from storage.event_records import NewEvent
from tests.support.graphs import (
    ALICE,
    BOB,
    Draft,
    Graphs,
    graphs_over,
    just,
    member,
    message,
    public_room,
    state,
)
from tests.support.rooms import pdu_of, verify_keys

KEYS = {"a.example": verify_keys("a.example")}


def committed(parts: Graphs) -> list[Event]:
    records = [record for done in parts.committed for record in done.unit.records]
    return [record.stored.event for record in records if isinstance(record, NewEvent)]


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_room_is_made_and_used(database: Database, version: str) -> None:
    rules = ROOM_VERSIONS[version]
    parts = graphs_over(database)
    room = await public_room(parts.graphs, version)
    events = committed(parts)
    [join] = await room.append(just(member(BOB, BOB, "join")))
    [secret] = await room.append(just(message(BOB, "secret")))
    again = graphs_over(database)
    room = await again.graphs.get(room.room_id)
    users = {BOB: 50} if rules.creators_have_infinite_power else {ALICE: 100, BOB: 50}
    with pytest.raises(AuthRefused):
        await room.append(just(state(BOB, "m.room.topic", {"topic": "not yet"})))
    [power] = await room.append(just(state(ALICE, "m.room.power_levels", {"users": users})))
    [topic] = await room.append(just(state(BOB, "m.room.topic", {"topic": "now"})))
    assert power.event.event_id in topic.event.auth_events
    [redaction] = await room.append(just(Draft(ALICE, "m.room.redaction", {}, redacts=secret.event.event_id)))
    with pytest.raises(AuthRefused):
        await room.append(just(state(BOB, "m.room.power_levels", {"users": {**users, BOB: 101}})))
    last = graphs_over(database)
    stored = (await last.storage.events.by_id([secret.event.event_id]))[secret.event.event_id]
    assert stored.redacted_by == redaction.event.event_id
    room = await last.graphs.get(room.room_id)
    [leave] = await room.append(just(member(BOB, BOB, "leave")))
    made = [*events, join.event, secret.event, power.event, topic.event, redaction.event, leave.event]
    for before, after in itertools.pairwise(made):
        assert after.prev_events == (before.event_id,)
        assert after.depth == before.depth + 1
    by_id = {event.event_id: event for event in made}
    for event in made:
        pdu = pdu_of(event)
        # Another server would take it.
        assert receive_pdu(pdu, rules, KEYS).json == event.json
        assert content_hash_holds(pdu, rules)
        assert event_id(pdu, rules) == event.event_id
        if rules.references_have_hashes:
            for referred, hashes in [*pdu["prev_events"], *pdu["auth_events"]]:
                digest = reference_hash(pdu_of(by_id[referred]), rules)
                assert hashes == {"sha256": encode_base64(digest)}
    at_redacts = pdu_of(redaction.event).get("redacts"), redaction.event.content.get("redacts")
    expected = secret.event.event_id
    assert at_redacts == ((None, expected) if rules.redacts_in_content else (expected, None))
    assert room.room_id == ("!" + made[0].event_id[1:] if rules.room_id_is_create_hash else made[0].room_id)
