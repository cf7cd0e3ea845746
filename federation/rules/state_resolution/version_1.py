# SPDX-License-Identifier: Apache-2.0
"""Algorithm 1. spec: rooms, version 1, "State resolution"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha1

from federation.rules.room_versions import RoomVersion
from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.conflict import Conflict, Key
from federation.rules.state_resolution.partial_state import PartialState
from storage.event import Event

# The passes over what affects the authorisation rules, in their order.
_AUTH_TYPES = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve_version_1(conflict: Conflict) -> dict[Key, str | None]:
    """See `resolution.resolve`."""
    events = conflict.events
    candidates = {
        key: [events[event_id] for event_id in event_ids] for key, event_ids in conflict.conflicted.items()
    }
    # The states are united: a key that some of them lack is in no conflict.
    united = {key: those[0] for key, those in candidates.items() if len(those) == 1}
    conflicting = {key: those for key, those in candidates.items() if key not in united}
    state = {key: events[event_id] for key, event_id in conflict.unconflicted.items() if event_id in events}
    state |= united
    judging = _Judging(conflict.version)
    for event_type in _AUTH_TYPES:
        # The text names no order of the keys of one type, so none is judged by what became of another.
        state |= {
            key: judging.last_allowed(key, those, state)
            for key, those in conflicting.items()
            if key[0] == event_type
        }
    others = {key: those for key, those in conflicting.items() if key[0] not in _AUTH_TYPES}
    chosen = {key: judging.deepest_allowed(those, state) for key, those in others.items()}
    return {key: chosen[key] if key in others else state[key].event_id for key in candidates}


class _Judging:
    """Chooses among the conflicting events of one key by what a state allows."""

    def __init__(self, version: RoomVersion) -> None:
        self._version = version
        # The state alone is what counts: no event's own auth events are looked at.
        self._auth_events = AuthEvents(version=version, events={}, rejected=())

    def last_allowed(self, key: Key, candidates: Iterable[Event], state: Mapping[Key, Event]) -> Event:
        """The first in the order of depths, or the last that follows it without one that is not allowed."""
        last, *subsequent = sorted(candidates, key=_ascending)
        partial = self._partial(state)
        partial.put(key, last)
        for event in subsequent:
            if not partial.apply(event):
                break
            last = event
        return last

    def deepest_allowed(self, candidates: Iterable[Event], state: Mapping[Key, Event]) -> str | None:
        """The id of the deepest event that is allowed, if one is."""
        partial = self._partial(state)
        deepest_first = sorted(candidates, key=_ascending, reverse=True)
        return next((event.event_id for event in deepest_first if partial.allows(event)), None)

    def _partial(self, state: Mapping[Key, Event]) -> PartialState:
        return PartialState(state, version=self._version, auth_events=self._auth_events)


def _ascending(event: Event) -> tuple[int, int]:
    """Ascending depth, then descending SHA-1 of the event id."""
    return event.depth, -int.from_bytes(sha1(event.event_id.encode(), usedforsecurity=False).digest())
