# SPDX-License-Identifier: Apache-2.0
"""A conflict between states, with all that its resolution needs. spec: rooms, "State resolution"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from federation.rules.room_versions import RoomVersion
from storage.event import Event

# (type, state key)
Key = tuple[str, str]

CREATE: Key = ("m.room.create", "")
POWER_LEVELS: Key = ("m.room.power_levels", "")
JOIN_RULES: Key = ("m.room.join_rules", "")


@attrs.frozen(eq=False)
class Conflict:
    """Several states of a room as far as they matter for their resolution; `Gathering` makes it.

    - `conflicted`: the conflicted state set, event ids by key
    - `full_conflicted_set`: with the auth difference and, in algorithm 2.1, the conflicted state subgraph
    - `connecting`: events outside that set that lie on paths of `auth_events` between events of it
    - `unconflicted`: of the unconflicted state map the keys that were asked for
    - `events`: these events and those that judge and order them, by id
    - `rejected`: which of them were rejected

    It travels between processes as the JSON of its events.
    """

    version: RoomVersion
    conflicted: Mapping[Key, Collection[str]]
    full_conflicted_set: Collection[str]
    connecting: Collection[str]
    unconflicted: Mapping[Key, str]
    events: Mapping[str, Event]
    rejected: Collection[str]

    @property
    def size(self) -> int:
        """How many events are to be ordered and judged."""
        return len(self.full_conflicted_set)

    def __reduce__(self) -> tuple[Callable[..., Conflict], tuple[Any, ...]]:
        events = [(event.event_id, event.room_id, event.json) for event in self.events.values()]
        others = attrs.evolve(self, events={})
        return (
            _received,
            (
                others.version,
                dict(others.conflicted),
                others.full_conflicted_set,
                others.connecting,
                dict(others.unconflicted),
                others.rejected,
                events,
            ),
        )


def _received(
    version: RoomVersion,
    conflicted: Mapping[Key, Collection[str]],
    full_conflicted_set: Collection[str],
    connecting: Collection[str],
    unconflicted: Mapping[Key, str],
    rejected: Collection[str],
    events: list[tuple[str, str, bytes]],
) -> Conflict:
    """The conflict that another process sent."""
    return Conflict(
        version=version,
        conflicted=conflicted,
        full_conflicted_set=full_conflicted_set,
        connecting=connecting,
        unconflicted=unconflicted,
        events={event_id: Event.decode(json, event_id, room_id) for event_id, room_id, json in events},
        rejected=rejected,
    )
