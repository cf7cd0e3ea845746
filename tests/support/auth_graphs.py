# SPDX-License-Identifier: Apache-2.0
"""Auth graphs of any shape: put into a database, and asked by brute force."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred

from storage.event import Event, StoredEvent
from storage.event_records import NewEvent
from storage.persist import Unit
from storage.write_queue import Committed
from tests.support.storing import Storing

T = TypeVar("T")

_rooms = itertools.count(1_000)

Key = tuple[int, int]


@attrs.frozen
class Node:
    """A state event: its number, its type and state key as numbers, and the numbers of its auth events."""

    number: int
    key: Key
    cited: tuple[int, ...]


def new_room() -> int:
    """The number of a room that no other test has."""
    return next(_rooms)


def event_id(room: int, number: int) -> str:
    """The id of the event with this number."""
    return f"$event{number}:room{room}.example"


def event_of(
    room: int,
    number: int,
    cited: Iterable[int],
    *,
    is_state: bool = True,
    auth_events: Sequence[object] | None = None,
) -> Event:
    """An event that cites the events with these numbers, or has just these `auth_events`."""
    ids = [event_id(room, auth_event) for auth_event in cited]
    pdu = {
        "type": "org.test",
        "sender": "@a:a.example",
        "content": {},
        "origin_server_ts": 0,
        "depth": 1,
        "prev_events": [],
        "auth_events": ids if auth_events is None else auth_events,
    }
    return Event(
        event_id=event_id(room, number),
        room_id=f"!{room}:a.example",
        json=json.dumps(pdu).encode(),
        type="org.test",
        sender="@a:a.example",
        state_key="" if is_state else None,
        content={},
        origin_server_ts=0,
        depth=1,
        prev_events=(),
        auth_events=tuple(ids),
        redacts=None,
    )


def store(storing: Storing, room: int, nodes: Sequence[Node]) -> Deferred[Committed]:
    """Put the events into the database, as events of the room."""
    records = [
        NewEvent(
            StoredEvent(event_of(room, node.number, node.cited), node.number, None, topo=1, before=None),
            room,
            type=node.key[0],
            state_key=node.key[1],
            sender=1,
            index=i,
        )
        for i, node in enumerate(nodes, 1)
    ]
    return storing.queue.submit(Unit(records, positions=len(records)))


def finish(work: Generator[None, None, T]) -> T:
    """Run sliced work to its end at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


class BruteForce:
    """The definitions, word by word, over an auth graph: number → numbers of the auth events."""

    def __init__(self, edges: Mapping[int, Collection[int]]) -> None:
        self._edges = edges

    def chain(self, number: int) -> set[int]:
        """The auth chain of an event."""
        reached: set[int] = set()
        waiting = set(self._edges.get(number, ()))
        while waiting:
            reached |= waiting
            waiting = {c for n in waiting for c in self._edges.get(n, ())} - reached
        return reached

    def full_chain(self, state: Iterable[int]) -> set[int]:
        """The full auth chain of a state."""
        return set().union(*(self.chain(number) for number in state))

    def difference(self, states: Sequence[Collection[int]]) -> set[int]:
        """The auth difference of whole states."""
        chains = [self.full_chain(state) for state in states]
        return set().union(*chains) - set.intersection(*chains) if chains else set()

    def subgraph(self, conflicted: Collection[int]) -> set[int]:
        """All events on paths between any two of the conflicted state set, both ends included."""
        found = set()
        chains = {number: self.chain(number) for number in self._edges}
        for start in conflicted:
            for middle in {start, *chains.get(start, ())}:
                for end in conflicted:
                    below = chains.get(middle, set())
                    if end in below or (end == middle and middle in chains.get(start, ())):
                        found.add(middle)
        return found
