# SPDX-License-Identifier: Apache-2.0
"""What must be known before states can be resolved; asking for it step by step, without any I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from federation.rules.auth.selection import auth_event_keys
from federation.rules.room_versions import RoomVersion, StateResolution
from federation.rules.state_resolution.auth_events import AuthEvents, implied_create_id
from federation.rules.state_resolution.conflict import CREATE, POWER_LEVELS, Conflict, Key
from federation.rules.state_resolution.mainlines import Mainlines
from storage.event import Event


class Gathering:
    """Collects a `Conflict`.

    1. While `missing()` names events, `learn` them.
    2. `set_unconflicted` with those of `unconflicted_keys()` that have a value.
    3. While `missing()` names events, `learn` them.
    4. `conflict()`.

    Every event that is asked for is cited by one that is known, so whoever keeps events has it. An event that
    was asked for and not learnt is asked for again.
    """

    def __init__(
        self,
        version: RoomVersion,
        conflicted: Mapping[Key, Collection[str]],
        auth_difference: Collection[str] = (),
        subgraph: Collection[str] = (),
    ) -> None:
        """`conflicted` is the conflicted state set: event ids by key.

        Algorithms 2 and 2.1 take the auth difference and the conflicted state subgraph, as event ids. In
        algorithm 2 the subgraph's events are not resolved, but they show which conflicted events are in the
        auth chain of which.
        """
        self._version = version
        self._algorithm = version.state_resolution
        self._conflicted = {key: tuple(event_ids) for key, event_ids in conflicted.items()}
        full = {event_id for event_ids in self._conflicted.values() for event_id in event_ids}
        full.update(auth_difference)
        if self._algorithm is StateResolution.V2_1:
            full.update(subgraph)
        self._full = frozenset(full)
        self._connecting = frozenset(subgraph) - self._full
        self._unconflicted: dict[Key, str] | None = None
        self._keys: _Keys | None = None
        self._events: dict[str, Event] = {}
        self._rejected: set[str] = set()
        self._wanted: set[str] = set()
        self._steps = self._first_steps()

    def missing(self) -> frozenset[str]:
        """The ids of the events to `learn` next; none once all is known."""
        while not self._wanted:
            step = next(self._steps, None)
            if step is None:
                break
            self._wanted.update(event_id for event_id in step if event_id not in self._events)
        return frozenset(self._wanted)

    def learn(self, events: Iterable[Event], rejected: Collection[str] = ()) -> None:
        """Take in events; `rejected` holds the ids of those among them that were rejected."""
        learnt = {event.event_id: event for event in events}
        self._events.update(learnt)
        self._rejected.update(rejected)
        self._wanted -= learnt.keys()

    def unconflicted_keys(self) -> frozenset[Key]:
        """The keys whose value in the unconflicted state map the resolution may ask for.

        Raises `ValueError` while something is missing.
        """
        keys = self._keys_asked_for()
        return keys.judging | keys.resolved

    def set_unconflicted(self, values: Mapping[Key, str]) -> None:
        """Take in the unconflicted state map: event ids for those of `unconflicted_keys()` that have one."""
        keys = self._keys_asked_for()
        judging = {key: values[key] for key in keys.judging if key in values}
        self._unconflicted = judging | {key: values[key] for key in keys.resolved if key in values}
        self._steps = self._last_steps(judging)

    def conflict(self) -> Conflict:
        """The conflict, with all that was gathered.

        Raises `ValueError` while something is missing or the unconflicted state map was not set.
        """
        self._check_complete()
        if self._unconflicted is None:
            raise ValueError("the unconflicted state map is not set")
        return Conflict(
            version=self._version,
            conflicted=self._conflicted,
            full_conflicted_set=self._full,
            connecting=self._connecting,
            unconflicted=self._unconflicted,
            events=dict(self._events),
            rejected=frozenset(self._rejected),
        )

    def _check_complete(self) -> None:
        if self.missing():
            raise ValueError("events are missing")

    def _resolved(self) -> Iterator[Event]:
        """The events of the full conflicted set."""
        return (self._events[event_id] for event_id in self._full)

    def _keys_asked_for(self) -> _Keys:
        self._check_complete()
        if self._keys is None:
            resolved = {(e.type, e.state_key) for e in self._resolved() if e.state_key is not None}
            known = self._conflicted.keys()
            self._keys = _Keys(
                judging=frozenset(self._auth_keys() - known), resolved=frozenset(resolved - known)
            )
        return self._keys

    def _auth_keys(self) -> set[Key]:
        """The keys that the authorisation rules may ask for in the unconflicted state map."""
        if self._algorithm is StateResolution.V2_1:
            return set()
        keys = {CREATE, POWER_LEVELS}
        for event in self._resolved():
            keys.update(
                auth_event_keys(event.type, event.state_key, event.sender, event.content, self._version)
            )
        return keys

    def _first_steps(self) -> Iterator[Iterable[str]]:
        """The ids to ask for until the unconflicted keys are known; a step looks at what the last brought."""
        yield self._full | self._connecting
        if self._algorithm is not StateResolution.V1:
            yield {auth_id for event in self._resolved() for auth_id in event.auth_events}
        if self._version.room_id_is_create_hash:
            yield {implied_create_id(event) for event in self._resolved()}

    def _last_steps(self, judging: Mapping[Key, str]) -> Iterator[Iterable[str]]:
        """The ids to ask for once the unconflicted keys have their values: those `judging`, and mainlines."""
        yield judging.values()
        if self._algorithm is not StateResolution.V1:
            yield from self._mainlines(judging)

    def _mainlines(self, judging: Mapping[Key, str]) -> Iterator[Iterable[str]]:
        """The ids of the power levels events that put the conflicted ones on a mainline."""
        auth_events = AuthEvents(version=self._version, events=self._events, rejected=())
        current = self._events.get(judging.get(POWER_LEVELS, ""))
        power_levels = [] if current is None else [current]
        for event in self._resolved():
            if (event.type, event.state_key) == POWER_LEVELS:
                power_levels.append(event)
            cited = auth_events.cited(event, POWER_LEVELS)
            if cited is not None:
                power_levels.append(cited)
        return Mainlines(power_levels, self._events, auth_events).steps()


@attrs.frozen
class _Keys:
    """Keys of the unconflicted state map: those that events are judged by, those of the events themselves."""

    judging: frozenset[Key]
    resolved: frozenset[Key]
