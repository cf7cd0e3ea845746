# SPDX-License-Identifier: Apache-2.0
"""The random rooms are rooms: well-formed events in valid orders, and of the kinds that tests want."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.canonical_json import decode_json
from federation.rules.event_format import parse_pdu
from federation.rules.hashing import content_hash_holds
from federation.rules.identifiers import server_of
from federation.rules.room_versions import ROOM_VERSIONS
from federation.rules.signing import join_authoriser_server, verify_event_signature
from tests.reference.graphs import RandomRoom, random_room, random_rooms, valid_orders
from tests.reference.room import NaiveRoom
from tests.support.rooms import verify_keys

VERSIONS = list(ROOM_VERSIONS)


def received(room: RandomRoom, seed: int) -> NaiveRoom:
    """The room as a server has it that received the events in some order."""
    (batches,) = valid_orders(room, 1, Random(seed))
    naive = NaiveRoom(room.version)
    for batch in batches:
        naive.receive(batch)
    return naive


@pytest.mark.parametrize("version", VERSIONS)
def test_events_are_well_formed_and_signed(version: str) -> None:
    room = random_room(1, version, 60)
    for event in room.events:
        pdu = decode_json(event.json)
        assert parse_pdu(pdu, room.version).event_id == event.event_id
        assert content_hash_holds(pdu, room.version)
        servers = {server_of(event.sender), join_authoriser_server(event, room.version)} - {None}
        for server in servers:
            assert server is not None
            verify_event_signature(pdu, server, verify_keys(server), room.version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_seed_stands_for_one_room(version: str) -> None:
    one, same, other = (random_room(seed, version, 30) for seed in (5, 5, 6))
    assert [e.json for e in one.events] == [e.json for e in same.events]
    assert [e.json for e in one.events] != [e.json for e in other.events]


@settings(max_examples=30, deadline=None)
@given(random_rooms(max_size=30), st.integers(0, 1000))
def test_orders_are_valid_and_whole(room: RandomRoom, seed: int) -> None:
    for batches in valid_orders(room, 3, Random(seed)):
        assert all(batches)
        order = [event for batch in batches for event in batch]
        assert sorted(e.event_id for e in order) == sorted(e.event_id for e in room.events)
        seen: set[str] = set()
        for event in order:
            assert seen.issuperset((*event.prev_events, *event.auth_events))
            seen.add(event.event_id)


@settings(max_examples=30, deadline=None)
@given(random_rooms(max_size=30), st.integers(0, 1000))
def test_states_and_rejections_do_not_depend_on_the_order(room: RandomRoom, seed: int) -> None:
    naive = received(room, seed)
    assert naive.before == room.naive.before
    assert naive.after == room.naive.after
    assert naive.rejected == room.naive.rejected
    # What is left over is what nothing else follows on.
    followed = {
        parent
        for event in room.events
        if not {event.event_id} & {*naive.rejected, *naive.soft_failed}
        for parent in event.prev_events
    }
    left = {e.event_id for e in room.events} - {*naive.rejected, *naive.soft_failed} - followed
    assert naive.extremities == left
    assert naive.current == naive.resolved(left)


def test_the_rooms_hold_what_they_are_for() -> None:
    """Forks, refused events of both kinds, keys that go, soft-failed events that come back."""
    seen = {"rejected": 0, "soft-failed": 0, "came back": 0, "removed": 0, "several extremities": 0}
    kinds: set[str] = set()
    for number, version in enumerate(VERSIONS * 2):
        room = random_room(number, version, 40)
        (batches,) = valid_orders(room, 1, Random(number))
        naive = NaiveRoom(room.version)
        removed = False
        for batch in batches:
            before = naive.current
            naive.receive(batch)
            removed |= not set(before) <= set(naive.current)
        accepted = [e for e in room.events if e.event_id not in naive.rejected]
        kinds |= {f"{e.type} {e.content.get('membership', '')}".strip() for e in accepted}
        seen["rejected"] += bool(naive.rejected)
        seen["soft-failed"] += bool(naive.soft_failed)
        seen["came back"] += not naive.soft_failed.keys().isdisjoint(naive.current.values())
        seen["removed"] += removed
        seen["several extremities"] += len(naive.extremities) > 1
    assert all(count >= 5 for count in seen.values()), seen
    memberships = {f"m.room.member {m}" for m in ("join", "invite", "leave", "ban", "knock")}
    others = {"power_levels", "join_rules", "third_party_invite", "redaction", "name", "topic", "message"}
    assert kinds >= memberships | {f"m.room.{name}" for name in others}
