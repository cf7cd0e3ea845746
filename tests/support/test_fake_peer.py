# SPDX-License-Identifier: Apache-2.0
"""Two fake peers with one another: what other tests rely on them for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_peer import FakePeer, Refused
from tests.support.reactor import in_reactor
from tests.support.rooms import Room, make_room

Pair = tuple[FakePeer, FakePeer]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two peers that know one another."""
    one = in_reactor(FakePeer.start(tmp_path))
    other = in_reactor(FakePeer.start(tmp_path))
    in_reactor(one.meet(url(other), other.name))
    in_reactor(other.meet(url(one), one.name))
    yield one, other
    in_reactor(one.stop())
    in_reactor(other.stop())


def url(peer: FakePeer) -> str:
    return f"https://{peer.name}"


def hosted(peer: FakePeer, version: str = "11") -> Room:
    """A room of the peer's with some history."""
    room = make_room(version, creator=peer.user("host"))
    peer.rooms[room.room_id] = room
    for number in range(5):
        room.message(peer.user("host"), f"message {number}")
    return room


@pytest.mark.parametrize("version", ["3", "11", "12"])
async def test_joining_and_sending(pair: Pair, version: str) -> None:
    """Who has joined has the room's state, and is heard by its host."""
    one, other = pair
    room = hosted(one, version)
    joined = await other.join(url(one), one.name, room.room_id, other.user("guest"))
    assert joined.state.keys() == room.state.keys()
    assert ("m.room.member", other.user("guest")) in room.state
    message = joined.message(other.user("guest"), "hello")
    assert await other.send(url(one), one.name, [message]) == {message.event_id: {}}
    await one.until(lambda: message.event_id in one.received)
    assert room.heads == (message,)


async def test_history_state_and_missing_events(pair: Pair) -> None:
    """The host tells what came before, the state there, and what lies between events."""
    one, other = pair
    room = hosted(one)
    last, first = room.events[-1].event_id, room.events[-5].event_id
    ask = lambda path: other.ask(url(one), one.name, "GET", f"/_matrix/federation/v1/{path}")  # noqa: E731
    page = await ask(f"backfill/{room.room_id}?v={last}&limit=3")
    assert [pdu["content"]["body"] for pdu in page["pdus"]] == ["message 4", "message 3", "message 2"]
    ids = await ask(f"state_ids/{room.room_id}?event_id={last}")
    assert set(ids["pdu_ids"]) == {event.event_id for event in room.state.values()}
    assert room.create.event_id in ids["auth_chain_ids"]
    whole = await ask(f"state/{room.room_id}?event_id={last}")
    assert len(whole["pdus"]) == len(room.state)
    (event,) = (await ask(f"event/{last}"))["pdus"]
    assert event["content"]["body"] == "message 4"
    path = f"/_matrix/federation/v1/get_missing_events/{room.room_id}"
    wanted = {"earliest_events": [first], "latest_events": [last], "limit": 10}
    missing = await other.ask(url(one), one.name, "POST", path, wanted)
    bodies = [pdu["content"]["body"] for pdu in missing["events"]]
    assert bodies == ["message 1", "message 2", "message 3"]


async def test_strangers_are_refused(pair: Pair, tmp_path: Path) -> None:
    """A request must be signed, by a key of a server that the peer has met, and for this peer."""
    one, other = pair
    path = "/_matrix/federation/v1/version"
    stranger = await FakePeer.start(tmp_path)
    try:
        with pytest.raises(Refused, match="401"):
            await stranger.ask(url(one), one.name, "GET", path)
    finally:
        await stranger.stop()
    with pytest.raises(Refused, match="401"):
        await other.ask(url(one), other.name, "GET", path)
    assert await other.ask(url(one), one.name, "GET", path) == {"server": {"name": "peer", "version": "1"}}


async def test_answers_of_a_test_come_first(pair: Pair) -> None:
    """What a test wants answered replaces what the peer would say; what nobody answers is unrecognized."""
    one, other = pair
    one.answer("GET", "/_matrix/federation/v1/version", lambda _: {"server": {}})
    assert await other.ask(url(one), one.name, "GET", "/_matrix/federation/v1/version") == {"server": {}}
    with pytest.raises(Refused, match="M_UNRECOGNIZED"):
        await other.ask(url(one), one.name, "GET", "/_matrix/federation/v1/nothing")
