# SPDX-License-Identifier: Apache-2.0
"""Rooms told event by event, under names of one's own, whose states are to be resolved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from federation.rules.canonical_json import encode_canonical
from federation.rules.room_versions import ROOM_VERSIONS
from federation.rules.state_resolution.conflict import Conflict, Key
from federation.rules.state_resolution.gathering import Gathering
from federation.rules.state_resolution.resolution import resolve
from storage.event import Event

ALICE = "@alice:a.example"
BOB = "@bob:b.example"
CAROL = "@carol:c.example"
DAVE = "@dave:d.example"

State = Mapping[Key, str]


class Story:
    """A room that `ALICE` created, whose events have the names that the teller gives them.

    The event called `name` has the id `$name`; the create event is `$create`. Time passes by one millisecond
    from event to event. Each event says itself what it cites.
    """

    def __init__(self, version: str, create: Mapping[str, Any] | None = None) -> None:
        self.version = ROOM_VERSIONS[version]
        self.room_id = "!create" if self.version.room_id_is_create_hash else "!room:a.example"
        self.events: dict[str, Event] = {}
        self.rejected: set[str] = set()
        content = {"creator": ALICE, "room_version": version, **(create or {})}
        self.tell("create", ALICE, "m.room.create", content)

    def tell(
        self,
        name: str,
        sender: str,
        event_type: str,
        content: Mapping[str, Any] | None = None,
        cites: str = "",
        *,
        state_key: str | None = "",
        ts: int | None = None,
        depth: int | None = None,
        prev: str = "before",
        rejected: bool = False,
    ) -> Key:
        """Put an event into the room that `cites` those named, and the create event where it must.

        It comes after an event that plays no part. Gives its key.
        """
        others = cites.split() if event_type == "m.room.create" else ["create", *cites.split()]
        auth_events = [f"${other}" for other in others if not (other == "create" and self._implies_create)]
        number = len(self.events)
        pdu: dict[str, Any] = {
            "type": event_type,
            "room_id": self.room_id,
            "sender": sender,
            "content": dict(content or {}),
            "origin_server_ts": number if ts is None else ts,
            "depth": number if depth is None else depth,
            "prev_events": [f"${prev}"] if event_type != "m.room.create" else [],
            "auth_events": auth_events,
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        if event_type == "m.room.create" and self._implies_create:
            del pdu["room_id"]
        self.events[f"${name}"] = Event.decode(encode_canonical(pdu), f"${name}", self.room_id)
        if rejected:
            self.rejected.add(f"${name}")
        return event_type, state_key or ""

    @property
    def _implies_create(self) -> bool:
        return self.version.room_id_is_create_hash

    def member(
        self, name: str, sender: str, target: str, membership: str, cites: str = "", **own: Any
    ) -> Key:
        """A member event."""
        return self.tell(
            name, sender, "m.room.member", {"membership": membership}, cites, state_key=target, **own
        )

    def levels(self, name: str, sender: str, users: Mapping[str, int], cites: str, **own: Any) -> Key:
        """A power levels event. Whoever stands above all is left out of `users`."""
        named = {user: level for user, level in users.items() if not (self._implies_create and user == ALICE)}
        content = {"users": named, **own.pop("content", {})}
        return self.tell(name, sender, "m.room.power_levels", content, cites, **own)

    def join_rule(self, name: str, sender: str, rule: str, cites: str, **own: Any) -> Key:
        """A join rules event."""
        return self.tell(name, sender, "m.room.join_rules", {"join_rule": rule}, cites, **own)

    def state(self, names: str) -> dict[Key, str]:
        """The state of the events named."""
        named = [self.events[f"${name}"] for name in names.split()]
        return {(event.type, event.state_key or ""): event.event_id for event in named}

    def resolve(self, *states: str) -> dict[str, str]:
        """What becomes of the keys in conflict between the states: names by `type` or `state_key`.

        The states are given as names of their events; keys without a value are left out.
        """
        return readable(resolve(self.conflict(*map(self.state, states))))

    def conflict(self, *states: State) -> Conflict:
        """The conflict between whole states, gathered from the room's events."""
        return gather(self.gathering(*states), self.events, self.rejected, unconflicted_of(states))

    def gathering(self, *states: State) -> Gathering:
        """The gathering of that conflict at its beginning."""
        conflicted = conflicted_of(states)
        among = set(chain.from_iterable(conflicted.values()))
        return Gathering(
            self.version,
            conflicted,
            auth_difference=auth_difference(states, self.events),
            subgraph=conflicted_subgraph(among, self.events),
        )


def readable(resolved: Mapping[Key, str | None]) -> dict[str, str]:
    """Names by state key, or by type where that is empty."""
    return {(key[1] or key[0]): event_id[1:] for key, event_id in resolved.items() if event_id is not None}


def gather(
    gathering: Gathering, events: Mapping[str, Event], rejected: Collection[str], unconflicted: State
) -> Conflict:
    """Tell a gathering all that it asks for."""
    _learn(gathering, events, rejected)
    keys = gathering.unconflicted_keys()
    gathering.set_unconflicted({key: unconflicted[key] for key in keys if key in unconflicted})
    _learn(gathering, events, rejected)
    return gathering.conflict()


def _learn(gathering: Gathering, events: Mapping[str, Event], rejected: Collection[str]) -> None:
    while missing := gathering.missing():
        gathering.learn([events[event_id] for event_id in missing], missing & set(rejected))


def unconflicted_of(states: Sequence[State]) -> dict[Key, str]:
    """The unconflicted state map."""
    first, *others = states
    return {key: value for key, value in first.items() if all(state.get(key) == value for state in others)}


def conflicted_of(states: Sequence[State]) -> dict[Key, set[str]]:
    """The conflicted state set."""
    unconflicted = unconflicted_of(states)
    conflicted: dict[Key, set[str]] = {}
    for key, value in chain.from_iterable(state.items() for state in states):
        if key not in unconflicted:
            conflicted.setdefault(key, set()).add(value)
    return conflicted


def auth_chain(event_ids: Iterable[str], events: Mapping[str, Event]) -> set[str]:
    """The union of the auth chains of events."""
    found: set[str] = set()
    open_ends = list(event_ids)
    while open_ends:
        cited = set(events[open_ends.pop()].auth_events) - found
        found |= cited
        open_ends += cited
    return found


def auth_difference(states: Sequence[State], events: Mapping[str, Event]) -> set[str]:
    """The auth difference of whole states."""
    chains = [auth_chain(state.values(), events) for state in states]
    return set.union(*chains) - set.intersection(*chains)


def conflicted_subgraph(among: Collection[str], events: Mapping[str, Event]) -> set[str]:
    """The events on paths of `auth_events` between two events of a set."""
    chains = {event_id: auth_chain([event_id], events) for event_id in events}
    starts = {event_id for event_id in among if chains[event_id] & set(among)}
    ends = {event_id for event_id in among if any(event_id in chains[start] for start in starts)}
    between = {
        event_id
        for event_id in events
        if any(event_id in chains[start] for start in starts) and chains[event_id] & ends
    }
    return starts | ends | between
