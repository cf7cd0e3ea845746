# SPDX-License-Identifier: Apache-2.0
"""Builds valid rooms for tests: graphs of signed events that the authorisation rules allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import auth_event_keys, check_auth_events
from federation.rules.auth.state import AuthStateOf
from federation.rules.canonical_json import decode_json
from federation.rules.hashing import reference_hash
from federation.rules.identifiers import server_of
from federation.rules.keys import signing_key_of_seed
from federation.rules.room_versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS, RoomVersion
from federation.rules.signing import SigningKey, build_event, countersign_event, join_authoriser_server
from storage.event import Event

State = dict[tuple[str, str], Event]

ALICE = "@alice:a.example"
BOB = "@bob:b.example"

_START = 1_700_000_000_000  # milliseconds, the time of a room's first event


@cache
def signing_key(server_name: str) -> SigningKey:
    """The signing key of a test server: always the same for a name."""
    return signing_key_of_seed("test", sha256(server_name.encode()).digest())


def verify_keys(server_name: str) -> dict[str, bytes]:
    """The verification keys of a test server: key id → key."""
    key = signing_key(server_name)
    return {key.key_id: key.verify_key}


class Room:
    """A room that grows event by event; each is signed with the key of its sender's server.

    It keeps the state after every event. Where several prev events disagree, the event that was built last
    wins: the factory knows no state resolution.
    """

    def __init__(
        self,
        version: RoomVersion | str = DEFAULT_ROOM_VERSION,
        creator: str = ALICE,
        content: Mapping[str, Any] | None = None,
        localpart: str = "room",
    ) -> None:
        """A room of one event, `m.room.create`; rooms of one version and creator differ by `localpart`."""
        self.version = ROOM_VERSIONS[version] if isinstance(version, str) else version
        self.creator = creator
        self.events: list[Event] = []
        self.heads: tuple[Event, ...] = ()
        self._state_after: dict[str, State] = {}
        self._given_id: dict[str, str] = {}
        own = {"creator": creator} if self.version.creator_in_content else {}
        full: dict[str, Any] = {"room_version": self.version.identifier, **own, **(content or {})}
        self._localpart = localpart
        if self.version.room_id_is_create_hash:
            full["example.localpart"] = localpart
        else:
            self._given_id = {"room_id": f"!{localpart}:{server_of(creator)}"}
        self.create = self.send(creator, "m.room.create", full, state_key="")
        self.room_id = self.create.room_id
        self._given_id = {"room_id": self.room_id}

    @classmethod
    def joined(cls, version: RoomVersion | str, state: Sequence[Event], join: Event) -> Room:
        """A room of another server, with the state before `join` as that server gave it."""
        room = cls.__new__(cls)
        room.version = ROOM_VERSIONS[version] if isinstance(version, str) else version
        room.create = next(event for event in state if event.type == "m.room.create")
        room.creator = room.create.sender
        room.room_id = join.room_id
        room.events = list(state)
        room.heads = ()
        room._state_after = {}
        room._given_id = {"room_id": join.room_id}
        room._localpart = "joined"
        room._append(join, (), {(event.type, event.state_key or ""): event for event in state})
        return room

    def receive(self, event: Event) -> None:
        """Put an event of another server into the room, unchecked; its prev events must be there."""
        known = {other.event_id: other for other in self.events}
        previous = tuple(known[event_id] for event_id in event.prev_events)
        self._append(event, previous, self.state_before(previous))

    def send(
        self,
        sender: str,
        event_type: str,
        content: Mapping[str, Any],
        *,
        state_key: str | None = None,
        after: Sequence[Event] | None = None,
        auth_events: Sequence[Event] | None = None,
        check: bool = True,
        **members: Any,
    ) -> Event:
        """Build an event and put it into the room.

        It comes after the current heads, or after the events `after`, which makes a fork unless they are the
        heads. `auth_events` overrides those that the state names, `members` any member of the PDU.
        With `check` an event that the rules refuse raises `AuthRefused` and is not put into the room.
        """
        previous = self.heads if after is None else tuple(after)
        state = self.state_before(previous)
        cited = self._auth_events(sender, event_type, content, state_key, state)
        if auth_events is not None:
            cited = list(auth_events)
        fields = {**self._fields(sender, event_type, content, state_key, previous, cited), **members}
        event = self._sign(fields, [*previous, *cited])
        if check:
            self._check(event, cited, state)
        self._append(event, previous, state)
        return event

    def template(
        self, sender: str, event_type: str, content: Mapping[str, Any], state_key: str | None
    ) -> dict[str, Any]:
        """The members of an event after the current heads, for another server to sign: `/make_join`."""
        cited = self._auth_events(sender, event_type, content, state_key, self.state)
        return self._fields(sender, event_type, content, state_key, self.heads, cited)

    def _auth_events(
        self,
        sender: str,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None,
        state: State,
    ) -> list[Event]:
        keys = auth_event_keys(event_type, state_key, sender, content, self.version)
        return [state[key] for key in keys if key in state]

    def _fields(
        self,
        sender: str,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None,
        previous: Sequence[Event],
        cited: Sequence[Event],
    ) -> dict[str, Any]:
        own_key = {} if state_key is None else {"state_key": state_key}
        return {
            "type": event_type,
            "sender": sender,
            "content": dict(content),
            "origin_server_ts": _START + 1000 * len(self.events),
            "depth": 1 + max((event.depth for event in previous), default=0),
            "prev_events": [event.event_id for event in previous],
            "auth_events": [event.event_id for event in cited],
            **self._given_id,
            **own_key,
        }

    def _sign(self, fields: dict[str, Any], references: Sequence[Event]) -> Event:
        server_name = server_of(fields["sender"])
        hashes: dict[str, bytes] = {}
        if self.version.references_have_hashes:
            hashes = {event.event_id: reference_hash(pdu_of(event), self.version) for event in references}
        event = build_event(
            fields,
            self.version,
            server_name,
            signing_key(server_name),
            reference_hashes=hashes,
            opaque_id=f"{self._localpart}-{len(self.events)}",
        )
        authoriser = join_authoriser_server(event, self.version)
        if authoriser is not None:
            event = countersign_event(event, authoriser, signing_key(authoriser), self.version)
        return event

    def _check(self, event: Event, cited: Sequence[Event], state: State) -> None:
        check_auth_events(event, cited, frozenset(), self.version)
        check_auth(event, AuthStateOf.from_events(state.values()), self.version, join_authoriser_signed=True)

    def _append(self, event: Event, previous: tuple[Event, ...], state: State) -> None:
        self.events.append(event)
        self.heads = (*(head for head in self.heads if head not in previous), event)
        if event.state_key is not None:
            state = {**state, (event.type, event.state_key): event}
        self._state_after[event.event_id] = state

    def state_after(self, event: Event) -> State:
        """The state after an event of the room."""
        return self._state_after[event.event_id]

    def state_before(self, previous: Sequence[Event]) -> State:
        """The state that an event after `previous` finds. It belongs to the room: do not change it."""
        if len(previous) == 1:
            return self._state_after[previous[0].event_id]
        merged: State = {}
        for event in previous:
            for key, value in self._state_after[event.event_id].items():
                if key not in merged or self.events.index(merged[key]) < self.events.index(value):
                    merged[key] = value
        return merged

    @property
    def state(self) -> State:
        """The room's current state."""
        return self.state_before(self.heads)

    @property
    def auth_state(self) -> AuthStateOf:
        """The current state as the facts that the authorisation rules ask for."""
        return AuthStateOf.from_events(self.state.values())

    def message(self, sender: str, body: str = "hello", **options: Any) -> Event:
        """An `m.room.message`; `options` are those of `send`."""
        return self.send(sender, "m.room.message", {"msgtype": "m.text", "body": body}, **options)

    def set_state(
        self, sender: str, event_type: str, content: Mapping[str, Any], state_key: str = "", **options: Any
    ) -> Event:
        """A state event; `options` are those of `send`."""
        return self.send(sender, event_type, content, state_key=state_key, **options)

    def member(
        self,
        sender: str,
        target: str,
        membership: str,
        content: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Event:
        """An `m.room.member` event by which `sender` sets the membership of `target`."""
        full = {"membership": membership, **(content or {})}
        return self.send(sender, "m.room.member", full, state_key=target, **options)

    def join(self, user: str, content: Mapping[str, Any] | None = None, **options: Any) -> Event:
        """A user's join, with further `content` if need be."""
        return self.member(user, user, "join", content, **options)

    def leave(self, user: str, **options: Any) -> Event:
        """A user's leave by their own will."""
        return self.member(user, user, "leave", **options)

    def invite(self, sender: str, target: str, **options: Any) -> Event:
        """An invite."""
        return self.member(sender, target, "invite", **options)

    def ban(self, sender: str, target: str, **options: Any) -> Event:
        """A ban."""
        return self.member(sender, target, "ban", **options)

    def power_levels(self, sender: str, content: Mapping[str, Any], **options: Any) -> Event:
        """An `m.room.power_levels` event with just this content."""
        return self.set_state(sender, "m.room.power_levels", content, **options)

    def join_rules(self, sender: str, join_rule: str, **options: Any) -> Event:
        """An `m.room.join_rules` event."""
        return self.set_state(sender, "m.room.join_rules", {"join_rule": join_rule}, **options)


def make_room(
    version: RoomVersion | str = DEFAULT_ROOM_VERSION,
    creator: str = ALICE,
    members: Sequence[str] = (),
    join_rule: str = "public",
    levels: Mapping[str, int] | None = None,
    localpart: str = "room",
) -> Room:
    """A room as servers make them: create, the creator's join, power levels, join rules; then `members` join.

    Who joins a room that is not public is invited first. `levels` are the power levels of users other than
    the creator, who has 100 where the version does not set creators above all.
    """
    room = Room(version, creator, localpart=localpart)
    room.join(creator)
    own = {} if room.version.creators_have_infinite_power else {creator: 100}
    room.power_levels(creator, {"users": {**own, **(levels or {})}})
    room.join_rules(creator, join_rule)
    for user in members:
        if join_rule != "public":
            room.invite(creator, user)
        room.join(user)
    return room


def pdu_of(event: Event) -> dict[str, Any]:
    """The PDU of an event, as it goes over the wire, to be bent at will."""
    pdu: dict[str, Any] = decode_json(event.json)
    return pdu
