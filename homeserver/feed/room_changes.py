# SPDX-License-Identifier: Apache-2.0
"""Where the latest change of each room stands, and the latest events of those that are busy."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence

from storage.events import Place, Placed


class RoomChanges:
    """The position of the latest change of each room; what changed is found from the latest on."""

    def __init__(self) -> None:
        self._last: OrderedDict[int, int] = OrderedDict()

    def fill(self, positions: Mapping[int, int]) -> None:
        """What is known at the start: for every room that has changes, the position of the latest."""
        for room, position in sorted(positions.items(), key=lambda item: item[1]):
            self._last[room] = position

    def changed(self, room: int, position: int) -> None:
        """Something of the room changed at `position`, the latest of all."""
        self._last[room] = position
        self._last.move_to_end(room)

    def last(self, room: int) -> int:
        """The position of the room's latest change; 0 where there is none."""
        return self._last.get(room, 0)

    def since(self, position: int, mine: Collection[int]) -> list[int]:
        """Those of the rooms `mine` that changed after `position`.

        Costs the smaller of what changed and `mine`.
        """
        found: list[int] = []
        for walked, (room, last) in enumerate(reversed(self._last.items())):
            if last <= position:
                return found
            if walked > len(mine):
                return [room for room in mine if self._last.get(room, 0) > position]
            if room in mine:
                found.append(room)
        return found


class RecentEvents:
    """The latest events of rooms that had some since the start.

    At most `depth` events of each of at most `limit` rooms.
    """

    def __init__(self, *, depth: int = 60, limit: int = 5_000) -> None:
        self._depth = depth
        self._limit = limit
        self._rings: OrderedDict[int, _Ring] = OrderedDict()

    def appended(self, room: int, event: Placed, *, before: int) -> None:
        """An event was committed; `before` is the position of the room's change before it."""
        ring = self._rings.get(room)
        if ring is None:
            ring = self._rings[room] = _Ring(floor=before)
            if len(self._rings) > self._limit:
                self._rings.popitem(last=False)
        self._rings.move_to_end(room)
        ring.append(event, self._depth)

    def learn(self, room: int, events: Sequence[Placed], *, floor: int, upto: int, last: int) -> None:
        """What was read of a room: all its events with `floor` < position <= `upto`, the latest first.

        `last` is the position of the room's latest change.
        """
        ring = self._rings.get(room)
        if ring is None:
            if last > upto:
                return
            ring = self._rings[room] = _Ring(floor=upto)
            if len(self._rings) > self._limit:
                self._rings.popitem(last=False)
        older = [event for event in events if event.place.position <= ring.floor]
        if floor < ring.floor <= upto and len(older) + len(ring.events) <= self._depth:
            ring.events.extendleft(older)
            ring.floor = floor

    def between(self, room: int, *, after: int, upto: int, limit: int) -> Sequence[Placed] | None:
        """The latest `limit` events with `after` < position <= `upto`, the latest first.

        None where memory lacks some of them.
        """
        ring = self._rings.get(room)
        if ring is None:
            return None
        found: list[Placed] = []
        for event in reversed(ring.events):
            if event.place.position > upto:
                continue
            if event.place.position <= after or len(found) == limit:
                return found
            found.append(event)
        return found if after >= ring.floor or len(found) == limit else None


class _Ring:
    """The events of one room after the position `floor`, in order of positions."""

    __slots__ = ("events", "floor")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.events: deque[Placed] = deque()

    def append(self, event: Placed, depth: int) -> None:
        self.events.append(event)
        if len(self.events) > depth:
            self.floor = self.events.popleft().place.position


def placed(number: int, topo: int, position: int) -> Placed:
    """An event's number and place."""
    return Placed(number, Place(topo, position))
