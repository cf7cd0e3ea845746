# SPDX-License-Identifier: Apache-2.0
"""State resolution by the letter: whole state maps in, a whole state map out, every set written out in full.

It follows the text alone, definition by definition, and shares nothing with the server's own resolution but
the authorisation rules of single events. It is as slow as it looks.

spec: rooms, version 1, version 2 and version 12, "State resolution".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import sha1

import attrs

from federation.rules.auth.power_levels import PowerLevels
from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import auth_event_keys
from federation.rules.auth.state import AuthStateOf
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from storage.event import Event

Key = tuple[str, str]
StateMap = Mapping[Key, str]

CREATE: Key = ("m.room.create", "")
POWER_LEVELS: Key = ("m.room.power_levels", "")


def naive_resolve(
    version: RoomVersion,
    states: Sequence[StateMap],
    events: Mapping[str, Event],
    rejected: Collection[str] = frozenset(),
    *,
    algorithm: str | None = None,
) -> dict[Key, str]:
    """The *resolution* of the set of `states`, whole maps of event ids.

    `events` holds all events of the states and of their auth chains; `rejected` the ids of those which were
    rejected. `algorithm` is "1", "2" or "2.1", by default that of `version`.
    """
    known = Known(version, events, frozenset(rejected))
    resolve = _ALGORITHMS[algorithm or version.state_resolution.value]
    return resolve(known, _without_repeats(states))


def _without_repeats(states: Sequence[StateMap]) -> list[dict[Key, str]]:
    """The states as the set that the text speaks of: each once."""
    distinct: list[dict[Key, str]] = []
    for state in states:
        if dict(state) not in distinct:
            distinct.append(dict(state))
    return distinct


@attrs.frozen(eq=False)
class Known:
    """The events that a resolution looks at, and the definitions that need nothing else."""

    version: RoomVersion
    events: Mapping[str, Event]
    rejected: frozenset[str]
    _chains: dict[str, frozenset[str]] = attrs.field(factory=dict, init=False)

    def key(self, event_id: str) -> Key | None:
        """The key *K* of an event; None for one that is no state event."""
        event = self.events[event_id]
        return None if event.state_key is None else (event.type, event.state_key)

    def cited(self, event_id: str) -> list[Event]:
        """The events in the `auth_events` of an event, as far as they are known."""
        return [self.events[e] for e in self.events[event_id].auth_events if e in self.events]

    def implied_create(self, event: Event) -> Event | None:
        """The create event where the room id implies it (version 12), and was not rejected."""
        if not self.version.room_id_is_create_hash:
            return None
        create = "$" + event.room_id[1:]
        return None if create in self.rejected else self.events.get(create)

    def auth_chain(self, event_id: str) -> frozenset[str]:
        """**Auth chain**: the auth events, their auth events, and so on; not the event itself."""
        if event_id not in self._chains:
            chain: set[str] = set()
            waiting = [event.event_id for event in self.cited(event_id)]
            while waiting:
                reached = waiting.pop()
                if reached not in chain:
                    chain.add(reached)
                    waiting.extend(event.event_id for event in self.cited(reached))
            self._chains[event_id] = frozenset(chain)
        return self._chains[event_id]

    def allows(self, state: StateMap, event: Event, *, fall_back: bool) -> bool:
        """Whether the authorisation rules allow `event` in `state`.

        With `fall_back` an event of its own `auth_events`, if it was not rejected, stands in for a required
        key that the state does not have.
        """
        required = auth_event_keys(event.type, event.state_key, event.sender, event.content, self.version)
        facts: dict[Key, Event] = {}
        if fall_back:
            for cited in self.cited(event.event_id):
                if cited.event_id not in self.rejected and cited.state_key is not None:
                    facts[cited.type, cited.state_key] = cited
        create = self.implied_create(event)
        if create is not None:
            facts[CREATE] = create
            required = [CREATE, *required]
        facts |= {key: self.events[event_id] for key, event_id in state.items()}
        try:
            check_auth(
                event,
                AuthStateOf.from_events(facts[key] for key in required if key in facts),
                self.version,
                join_authoriser_signed=True,
            )
        except AuthRefused:
            return False
        return True


# Version 1


def _resolve_1(known: Known, states: Sequence[StateMap]) -> dict[Key, str]:
    """The *resolution* of room version 1; R is the result so far."""
    resolved, conflicts = conflicts_1(states)
    for event_type in ("m.room.power_levels", "m.room.join_rules", "m.room.member"):
        # The conflicts of one pass do not see each other's outcome: the text puts them in no order.
        before_pass = dict(resolved)
        for key in [key for key in conflicts if key[0] == event_type]:
            resolved[key] = _last_allowed_1(known, before_pass, conflicts.pop(key))
    before_pass = dict(resolved)
    for key, conflicting in conflicts.items():
        for event_id in reversed(ordered_1(known, conflicting)):
            if known.allows(before_pass, known.events[event_id], fall_back=False):
                resolved[key] = event_id
                break
    return resolved


def conflicts_1(states: Sequence[StateMap]) -> tuple[dict[Key, str], dict[Key, set[str]]]:
    """The union of the states without the *conflicting* events, and these by key.

    A *conflict* takes different event ids for a key; a key that some states lack is none.
    """
    values: dict[Key, set[str]] = {}
    for state in states:
        for key, event_id in state.items():
            values.setdefault(key, set()).add(event_id)
    union = {key: min(ids) for key, ids in values.items() if len(ids) == 1}
    return union, {key: ids for key, ids in values.items() if len(ids) > 1}


def ordered_1(known: Known, event_ids: Iterable[str]) -> list[str]:
    """By ascending `depth`, then descending `sha1(event_id)`."""

    def sha1_of(event_id: str) -> int:
        return int.from_bytes(sha1(event_id.encode()).digest(), "big")

    return sorted(event_ids, key=lambda e: (known.events[e].depth, -sha1_of(e)))


def _last_allowed_1(known: Known, state: StateMap, conflicting: Iterable[str]) -> str:
    """The first event, and each next one for as long as the one before it allows it."""
    first, *others = ordered_1(known, conflicting)
    key = known.key(first)
    assert key is not None
    own = {**state, key: first}
    for event_id in others:
        if not known.allows(own, known.events[event_id], fall_back=False):
            break
        own[key] = event_id
    return own[key]


# Version 2, and 2.1 of version 12


def _resolve_2(known: Known, states: Sequence[StateMap]) -> dict[Key, str]:
    """The algorithm of room version 2."""
    unconflicted, conflicted = conflicts_2(states)
    full = conflicted | auth_difference(known, states)
    return _steps(known, full, unconflicted, start=unconflicted)


def _resolve_2_1(known: Known, states: Sequence[StateMap]) -> dict[Key, str]:
    """The algorithm of room version 12: a larger *full conflicted set*, and an *empty* map to start from."""
    unconflicted, conflicted = conflicts_2(states)
    full = conflicted | conflicted_state_subgraph(known, conflicted) | auth_difference(known, states)
    return _steps(known, full, unconflicted, start={})


def _steps(known: Known, full: frozenset[str], unconflicted: StateMap, *, start: StateMap) -> dict[Key, str]:
    """Steps 1 to 5, for the *full conflicted set* `full`."""
    state_events = frozenset(e for e in full if known.key(e) is not None)
    # 1
    picked = {e for e in state_events if is_power_event(known.events[e])}
    for power_event in list(picked):
        picked |= known.auth_chain(power_event) & state_events
    # 2
    partial = iterative_auth_checks(known, start, reverse_topological_power_ordering(known, picked))
    # 3
    remaining = mainline_ordering(known, partial.get(POWER_LEVELS), state_events - picked)
    # 4
    resolved = iterative_auth_checks(known, partial, remaining)
    # 5
    return {**resolved, **unconflicted}


def is_power_event(event: Event) -> bool:
    """**Power events.**"""
    if event.state_key is None:
        return False
    if event.type == "m.room.member":
        return event.content.get("membership") in ("leave", "ban") and event.sender != event.state_key
    return event.type in ("m.room.power_levels", "m.room.join_rules")


def conflicts_2(states: Sequence[StateMap]) -> tuple[dict[Key, str], frozenset[str]]:
    """**Unconflicted state map and conflicted state set.**"""
    unconflicted: dict[Key, str] = {}
    conflicted: set[str] = set()
    for key, value in [pair for state in states for pair in state.items()]:
        if all(state.get(key) == value for state in states):
            unconflicted[key] = value
        else:
            conflicted.add(value)
    return unconflicted, frozenset(conflicted)


def auth_difference(known: Known, states: Sequence[StateMap]) -> frozenset[str]:
    """**Auth difference**: ∪ C_i − ∩ C_i, where C_i is the *full auth chain* of the state S_i."""
    chains = [
        frozenset().union(*(known.auth_chain(event_id) for event_id in state.values())) for state in states
    ]
    if not chains:
        return frozenset()
    return frozenset.union(*chains) - frozenset.intersection(*chains)


def conflicted_state_subgraph(known: Known, conflicted: frozenset[str]) -> frozenset[str]:
    """**Conflicted state subgraph**: the paths from one conflicted event to another, with their ends."""
    below = conflicted.union(*(known.auth_chain(event_id) for event_id in conflicted))
    return frozenset(e for e in below if e in conflicted or not known.auth_chain(e).isdisjoint(conflicted))


def reverse_topological_power_ordering(known: Known, event_ids: Collection[str]) -> list[str]:
    """**Reverse topological power ordering**, by taking the smallest candidate again and again.

    A candidate has nothing of what is left in its auth chain. Raises `ValueError` where auth events form a
    circle.
    """
    remaining = set(event_ids)
    ordered: list[str] = []
    while remaining:
        candidates = [e for e in remaining if remaining.isdisjoint(known.auth_chain(e))]
        smallest = min(candidates, key=lambda e: _power_order(known, e))
        remaining.remove(smallest)
        ordered.append(smallest)
    return ordered


def _power_order(known: Known, event_id: str) -> tuple[float, int, str]:
    """What 1 to 3 compare: the smaller comes first."""
    event = known.events[event_id]
    return -sender_power_level(known, event), event.origin_server_ts, event_id


def sender_power_level(known: Known, event: Event) -> float:
    """The sender's power level as its `auth_events` have it; without a create event among them, 0."""
    cited = {known.key(e.event_id): e for e in known.cited(event.event_id)}
    create = cited.get(CREATE) or known.implied_create(event)
    if create is None:
        return 0
    return PowerLevels.of(create, cited.get(POWER_LEVELS), known.version).user(event.sender)


def mainline(known: Known, power_levels: str | None) -> list[str]:
    """**Mainline** of P_0: P_0, P_1, …, P_n; of none, nothing."""
    line: list[str] = []
    while power_levels is not None:
        line.append(power_levels)
        power_levels = _cited_power_levels(known, power_levels)
    return line


def _cited_power_levels(known: Known, event_id: str) -> str | None:
    found = [e.event_id for e in known.cited(event_id) if known.key(e.event_id) == POWER_LEVELS]
    return found[0] if found else None


def mainline_position(known: Known, line: Sequence[str], event_id: str) -> float:
    """**Mainline position** of e_0: the index i of the first of e_1, e_2, … on the line; else ∞."""
    for e_j in mainline(known, _cited_power_levels(known, event_id)):
        if e_j in line:
            return line.index(e_j)
    return math.inf


def mainline_ordering(known: Known, power_levels: str | None, event_ids: Iterable[str]) -> list[str]:
    """**Mainline ordering** based on the event `power_levels`."""
    line = mainline(known, power_levels)

    def order(event_id: str) -> tuple[float, int, str]:
        return (
            -mainline_position(known, line, event_id),
            known.events[event_id].origin_server_ts,
            event_id,
        )

    return sorted(event_ids, key=order)


def iterative_auth_checks(known: Known, state: StateMap, event_ids: Iterable[str]) -> dict[Key, str]:
    """**Iterative auth checks**: the state after those of the sorted state events that are allowed."""
    after = dict(state)
    for event_id in event_ids:
        key = known.key(event_id)
        if key is not None and known.allows(after, known.events[event_id], fall_back=True):
            after[key] = event_id
    return after


_ALGORITHMS: Mapping[str, Callable[[Known, Sequence[StateMap]], dict[Key, str]]] = {
    "1": _resolve_1,
    "2": _resolve_2,
    "2.1": _resolve_2_1,
}
