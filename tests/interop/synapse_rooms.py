# SPDX-License-Identifier: Apache-2.0
"""Rooms that a real Synapse shares with a peer: forks, merges, bans, gaps, history that was fetched later."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import attrs

from storage.event import Event
from tests.interop.synapse import SYNAPSE_NAME, SynapseProcess
from tests.support.fake_peer import FakePeer
from tests.support.process import ProcessClient
from tests.support.reactor import in_reactor
from tests.support.rooms import Room, make_room

CHAIN = 250
"""How many state changes the long room sees."""

_ROOMS = "/_matrix/client/v3/rooms"


@attrs.frozen
class People:
    """Alice on Synapse; Eve, Mallory and Oscar on the peer."""

    synapse: SynapseProcess
    peer: FakePeer
    alice: ProcessClient

    @property
    def eve(self) -> str:
        return self.peer.user("eve")

    @property
    def mallory(self) -> str:
        return self.peer.user("mallory")

    @property
    def oscar(self) -> str:
        return self.peer.user("oscar")

    def set_state(self, room_id: str, type_: str, content: dict[str, Any], state_key: str = "") -> str:
        """Alice sets a state; returns the id of its event."""
        path = f"{_ROOMS}/{quote(room_id, safe='')}/state/{quote(type_, safe='')}/{quote(state_key, safe='')}"
        event_id: str = self.alice.json("PUT", path, content)["event_id"]
        return event_id

    def say(self, room_id: str, text: str) -> str:
        """Alice sends a message; returns the id of its event."""
        event_id: str = self.alice.send(room_id, text, text).json["event_id"]
        return event_id

    def act(self, room_id: str, action: str, **body: Any) -> None:
        """Alice bans, invites, leaves."""
        self.alice.json("POST", f"{_ROOMS}/{quote(room_id, safe='')}/{action}", body)

    def seen(self, event_id: str) -> None:
        """Wait until the peer has an event."""
        in_reactor(self.peer.until(lambda: event_id in self.peer.received))

    def send(self, *events: Event) -> None:
        """The peer sends events, a transaction for each as they may build on one another's effects."""
        for event in events:
            in_reactor(self.peer.send(self.synapse.url, SYNAPSE_NAME, [event]))


def all_rooms(people: People) -> dict[str, str]:
    """Play all of it; returns room ids by what is in the room."""
    plays: dict[str, Callable[[People], str]] = {
        "own": own_room,
        "joined": joined_room,
        "long": long_room,
        "left": left_room,
        "purged": purged_room,
    }
    return {name: play(people) for name, play in plays.items()}


def own_room(people: People) -> str:
    """A room of Alice's which the peer joins; both go on from old events, again and again."""
    alice, peer, eve, mallory = people.alice.user_id, people.peer, people.eve, people.mallory
    room_id = people.alice.create_room(room_version="11", name="Greenhouse")
    for number in range(3):
        people.set_state(room_id, "m.room.topic", {"topic": f"before {number}"})
        people.say(room_id, f"before {number}")
    room = in_reactor(peer.join(people.synapse.url, SYNAPSE_NAME, room_id, eve))
    levels = {"users": {alice: 100, eve: 100, mallory: 50}, "state_default": 50}
    people.seen(people.set_state(room_id, "m.room.power_levels", levels))
    people.send(room.join(mallory), room.join(people.oscar))
    for number in range(4):
        topics_at_once(people, room, number)
    levels_at_once(people, room, levels)
    state_of_the_banned(people, room)
    banned_afterwards(people, room)
    people.seen(people.say(room_id, "the last that merges"))
    topics_at_once(people, room, 99, merged=False)
    return room_id


def topics_at_once(people: People, room: Room, number: int, *, merged: bool = True) -> None:
    """Both sides change the topic after the same event, and one of them the name besides."""
    base = room.heads
    mine = people.set_state(room.room_id, "m.room.topic", {"topic": f"alice {number}"})
    topic = room.set_state(people.eve, "m.room.topic", {"topic": f"eve {number}"}, after=base)
    name = room.set_state(people.eve, "m.room.name", {"name": f"eve {number}"}, after=[topic])
    text = room.message(people.eve, f"eve {number}", after=[name])
    people.send(topic, name, text)
    people.seen(mine)
    if merged:
        people.seen(people.say(room.room_id, f"merged {number}"))


def levels_at_once(people: People, room: Room, levels: dict[str, Any]) -> None:
    """Both sides change the power levels after the same event."""
    base = room.heads
    users = levels["users"]
    mine = people.set_state(
        room.room_id, "m.room.power_levels", {**levels, "users": {**users, people.oscar: 10}}
    )
    theirs = {**levels, "users": {**users, people.oscar: 20}, "events_default": 5}
    people.send(room.power_levels(people.eve, theirs, after=base))
    people.seen(mine)
    people.seen(people.say(room.room_id, "levels merged"))


def state_of_the_banned(people: People, room: Room) -> None:
    """Mallory sets what nobody set, and Eve bans her in the same moment: the resolution takes it back."""
    base = room.heads
    set_by_mallory = room.set_state(people.mallory, "org.example.plant", {"plant": "nettle"}, after=base)
    people.send(set_by_mallory)
    people.send(room.ban(people.eve, people.mallory, after=base))
    people.seen(people.say(room.room_id, "ban merged"))


def banned_afterwards(people: People, room: Room) -> None:
    """Oscar is banned: what he says after an old event is soft-failed, what he says now is rejected."""
    base = room.heads
    people.act(room.room_id, "ban", user_id=people.oscar)
    in_reactor(people.peer.until(lambda: room.heads != base))
    (ban,) = (head for head in room.heads if head not in base)
    late = room.message(people.oscar, "late", after=base)
    refused = room.message(people.oscar, "refused", after=[ban], check=False)
    people.send(late, refused)
    people.send(room.message(people.eve, "over the soft-failed", after=[late]))
    people.seen(people.say(room.room_id, "after the ban"))


def joined_room(people: People) -> str:
    """A room of the peer's with a past, which Alice joins, pages back, and misses events of."""
    eve = people.eve
    room = make_room("12", creator=eve, members=[people.mallory, people.oscar], levels={people.mallory: 50})
    people.peer.rooms[room.room_id] = room
    history(room, eve)
    path = f"/_matrix/client/v3/join/{quote(room.room_id, safe='')}"
    people.alice.json("POST", path, {}, via=people.peer.name)
    people.send(room.message(eve, "welcome"))
    topics_at_once_by_two(people, room)
    people.seen(people.say(room.room_id, "hello"))
    missing(people, room, 4)
    missing(people, room, 40)
    people.seen(people.say(room.room_id, "after the gap"))
    list(people.alice.messages(room.room_id, backwards=True))
    topics_at_once_by_two(people, room)
    return room.room_id


def history(room: Room, eve: str) -> None:
    """What happened before anybody of Synapse was there: also a fork and its merge."""
    for number in range(12):
        room.message(eve, f"old {number}")
        room.set_state(eve, "m.room.topic", {"topic": f"old {number}"})
    base = room.heads
    one = room.set_state(eve, "m.room.name", {"name": "one"}, after=base)
    other = room.set_state(eve, "m.room.avatar", {"url": "mxc://example.org/a"}, after=base)
    room.message(eve, "merged", after=[one, other])
    for number in range(12):
        room.message(eve, f"less old {number}")


def topics_at_once_by_two(people: People, room: Room) -> None:
    """Two users of the peer change the topic after the same event."""
    base = room.heads
    one = room.set_state(people.eve, "m.room.topic", {"topic": "eve"}, after=base)
    other = room.set_state(people.mallory, "m.room.topic", {"topic": "mallory"}, after=base)
    people.send(one, other)
    people.seen(people.say(room.room_id, f"merged {len(room.events)}"))


def missing(people: People, room: Room, count: int) -> None:
    """The peer keeps `count` events to itself and sends the next: Synapse asks for them, or for the state."""
    kept: Sequence[Event] = [
        room.set_state(people.eve, "m.room.topic", {"topic": f"kept {count} {number}"})
        if number % 3 == 0
        else room.message(people.eve, f"kept {count} {number}")
        for number in range(count)
    ]
    assert len(kept) == count
    people.send(room.message(people.eve, f"after {count}"))


def long_room(people: People) -> str:
    """So many state changes on end that Synapse writes whole states between them."""
    room_id = people.alice.create_room(room_version="10")
    for number in range(CHAIN):
        people.set_state(room_id, "org.example.bed", {"number": number}, str(number % 60))
    people.say(room_id, "done")
    return room_id


def left_room(people: People) -> str:
    """A room that Alice was in alone and has left."""
    room_id = people.alice.create_room(room_version="9")
    people.set_state(room_id, "m.room.topic", {"topic": "over"})
    people.act(room_id, "leave")
    return room_id


def purged_room(people: People) -> str:
    """A room whose first half was thrown away by the administrator."""
    room_id = people.alice.create_room(room_version="11")
    topics = [people.set_state(room_id, "m.room.topic", {"topic": str(number)}) for number in range(10)]
    people.say(room_id, "kept")
    purge = "/_synapse/admin/v1/purge_history"
    body = {"delete_local_events": True}
    begun = people.alice.json("POST", f"{purge}/{quote(room_id, safe='')}/{quote(topics[5], safe='')}", body)
    deadline = time.monotonic() + 20
    while people.alice.json("GET", f"{purge}_status/{begun['purge_id']}")["status"] == "active":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    people.set_state(room_id, "m.room.topic", {"topic": "after the purge"})
    return room_id
