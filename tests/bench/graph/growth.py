# SPDX-License-Identifier: Apache-2.0
"""Rooms of other servers, built quickly: signed events, each after the last, and the state after them.

Nothing checks them here: the server under test does, and every figure fails where it refuses one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.rules.auth.selection import auth_event_keys
from federation.rules.canonical_json import decode_json
from federation.rules.hashing import reference_hash
from federation.rules.identifiers import server_of
from federation.rules.room_versions import RoomVersion
from federation.rules.signing import build_event
from storage.event import Event
from tests.support.rooms import signing_key

SERVER = "bench.example"
"""The server that is measured."""

FAR = "far.example"
CREATOR = f"@creator:{FAR}"
OWN = f"@own:{SERVER}"
_START = 1_700_000_000_000  # milliseconds


class Growth:
    """One line of a room's graph; `heads` are the events that the next one follows."""

    def __init__(self, version: RoomVersion, name: str) -> None:
        self.version = version
        self.events: list[Event] = []
        self.heads: tuple[Event, ...] = ()
        self.state: dict[tuple[str, str], Event] = {}
        self._hashes: dict[str, bytes] = {}
        self._name = name
        self._room_id = None if version.room_id_is_create_hash else f"!{name}:{FAR}"

    @classmethod
    def room(cls, version: RoomVersion, name: str, members: Iterable[str] = (OWN,)) -> Growth:
        """A public room whose members have joined."""
        room = cls(version, name)
        own = {"creator": CREATOR} if version.creator_in_content else {}
        room.add(CREATOR, "m.room.create", {"room_version": version.identifier, "name": name, **own}, "")
        room.join(CREATOR)
        users = {OWN: 50} | ({} if version.creators_have_infinite_power else {CREATOR: 100})
        room.add(CREATOR, "m.room.power_levels", {"users": users}, "")
        room.add(CREATOR, "m.room.join_rules", {"join_rule": "public"}, "")
        for member in members:
            room.join(member)
        return room

    @property
    def room_id(self) -> str:
        """The room's id."""
        return self.events[0].room_id if self._room_id is None else self._room_id

    def fork(self) -> Growth:
        """Another line that begins here."""
        other = Growth(self.version, self._name)
        other.events, other.heads, other.state = list(self.events), self.heads, dict(self.state)
        other._hashes = self._hashes
        return other

    def add(
        self, sender: str, event_type: str, content: Mapping[str, Any], state_key: str | None = None
    ) -> Event:
        """The next event."""
        keys = auth_event_keys(event_type, state_key, sender, content, self.version)
        cited = [self.state[key].event_id for key in keys if key in self.state]
        previous = [event.event_id for event in self.heads]
        fields: dict[str, Any] = {
            "type": event_type,
            "sender": sender,
            "content": dict(content),
            "origin_server_ts": _START + 1000 * len(self.events),
            "depth": 1 + max((event.depth for event in self.heads), default=0),
            "prev_events": previous,
            "auth_events": cited,
        }
        if state_key is not None:
            fields["state_key"] = state_key
        if self._room_id is not None:
            fields["room_id"] = self._room_id
        elif self.events:
            fields["room_id"] = self.events[0].room_id
        server = server_of(sender)
        event = build_event(
            fields,
            self.version,
            server,
            signing_key(server),
            reference_hashes={e: self._hashes[e] for e in (*previous, *cited)} if self._hashes else None,
        )
        self.follow(event)
        return event

    def follow(self, event: Event) -> None:
        """An event that others built is the next one."""
        if self.version.references_have_hashes:
            self._hashes[event.event_id] = reference_hash(decode_json(event.json), self.version)
        self.events.append(event)
        self.heads = (event,)
        if event.state_key is not None:
            self.state[event.type, event.state_key] = event

    def merge(self, others: Iterable[Growth]) -> None:
        """The next event follows on other lines, too; the state is that of this line."""
        self.heads = (*self.heads, *(head for other in others for head in other.heads))

    def join(self, user: str, **content: Any) -> Event:
        """A user joins."""
        return self.add(user, "m.room.member", {"membership": "join", **content}, user)

    def leave(self, user: str) -> Event:
        """A user leaves."""
        return self.add(user, "m.room.member", {"membership": "leave"}, user)

    def since(self, count: int) -> Sequence[Event]:
        """The events after the first `count`."""
        return self.events[count:]


def far_user(number: int) -> str:
    """A user of another server."""
    return f"@person{number}:{FAR}"


def batches(events: Sequence[Event], size: int) -> list[Sequence[Event]]:
    """The events in groups, as transactions bring them."""
    return [events[start : start + size] for start in range(0, len(events), size)]


def with_auth_chains(wanted: Iterable[Event], by_id: Mapping[str, Event]) -> list[Event]:
    """These events and all that they cite, as a server gives them that is asked for a state."""
    found: dict[str, Event] = {}
    waiting = list(wanted)
    while waiting:
        event = waiting.pop()
        if event.event_id not in found:
            found[event.event_id] = event
            waiting.extend(by_id[cited] for cited in event.auth_events)
    return list(found.values())
