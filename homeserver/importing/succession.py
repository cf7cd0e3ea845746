# SPDX-License-Identifier: Apache-2.0
"""Which state of a room follows upon which: each content is laid over one that events had before it.

What Synapse calls a group's parent says little of it: long chains are cut, purges cut more, and a program
that many use to shrink their databases rearranges all of them. Events say it: a state event leads from the
state before it to the state after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from homeserver.importing.contents import EMPTY, Changes, Contents, Key
from homeserver.importing.groups import GroupContents

_MOST_PREVIOUS = 20


@attrs.frozen
class GroupedEvent:
    """An event with its row of `event_to_state_groups`, in our numbers.

    `key` is set for state events. `group` holds the state after the event; that of a rejected event, the
    state before it; None: the state is not known, or only in part (`partial_state_events`). `replaces` is
    what `unsigned.replaces_state` of the stored JSON names. `previous` are its prev events, as far as known.
    """

    event: int
    key: Key | None = None
    group: int | None = None
    rejected: bool = False
    replaces: int | None = None
    previous: Sequence[int] = ()


@attrs.frozen
class EventContents:
    """The contents before and after an event. Both None: unknown. `after` None: it changes nothing."""

    event: int
    before: int | None
    after: int | None


class Succession:
    """Contents in the order in which events came to them; `bases` says over which earlier one each is laid.

    The first is laid over none.
    """

    def __init__(self, contents: Contents, groups: GroupContents) -> None:
        self.bases: dict[int, int | None] = {}
        self.changes: dict[int, Changes] = {}
        self._contents = contents
        self._groups = groups
        self._after: dict[int, int] = {}
        self._referenced: set[int] = set()
        self._latest: int | None = None

    def add(self, event: GroupedEvent) -> EventContents:
        """Go on to the next event."""
        content = None if event.group is None else self._groups.contents.get(event.group)
        if content is None:
            return EventContents(event.event, None, None)
        before = self._before(event, content)
        self._lay(before, self._previous(event))
        if content != before:
            self._lay(content, [before])
        self._after[event.event] = self._latest = content
        if not event.rejected:
            self._referenced.update(event.previous)
        changes_state = event.key is not None and not event.rejected and self._holds(content, event)
        return EventContents(event.event, before, content if changes_state else None)

    def end_with(self, current: Mapping[Key, int] | None) -> int:
        """The content of the room's current state; where there is none, that after the last event."""
        content = self._contents.find(current) if current else self._latest or EMPTY
        if content is None:
            content = self._make(current or {})
        ends = [number for number in self._after if number not in self._referenced]
        self._lay(content, [self._after[number] for number in ends[-_MOST_PREVIOUS:]])
        return content

    def _previous(self, event: GroupedEvent) -> list[int]:
        """The contents after its prev events, as far as they are known."""
        return [self._after[number] for number in event.previous if number in self._after]

    def _holds(self, content: int, event: GroupedEvent) -> bool:
        return event.key is not None and self._contents.value(content, event.key) == event.event

    def _before(self, event: GroupedEvent, content: int) -> int:
        """The content before an event, made where no group holds it.

        Synapse answers its peers by `replaces_state`; but an event that it first knew as an outlier has none.
        """
        key = event.key
        if key is None or event.rejected or not self._holds(content, event):
            return content
        replaces = event.replaces
        if replaces is not None and not self._contents.may_have(key, replaces):
            replaces = None
        if replaces is None:
            for before in self._states_before(event):
                if self._contents.is_one_change(before, content, key, event.event):
                    return before
        return self._contents.changed(content, {key: (event.event, replaces)})

    def _states_before(self, event: GroupedEvent) -> Iterator[int]:
        """What the state before an event may be, besides that after it without the event.

        The parent of its group is, but in a database that was shrunk.
        """
        previous = self._previous(event)
        if len(event.previous) == 1:
            yield from previous
        parent = self._groups.parents.get(event.group or 0)
        if parent is not None:
            content = self._groups.contents[parent]
            if self._groups.events[parent] == event.event or content in previous:
                yield content

    def _lay(self, content: int, nearest: Sequence[int]) -> None:
        """Lay a content that is met for the first time over one of `nearest`, or else the latest."""
        if content in self.bases:
            return
        candidates = list(nearest) or [base for base in (self._latest,) if base is not None]
        parent = self._contents.parent(content)
        if parent in self.bases and parent != content:
            candidates = [parent] if parent in candidates else [*candidates, parent]
        if not candidates:
            self.bases[content] = None
            self.changes[content] = {}
            return
        differences = {base: self._contents.difference(base, content) for base in dict.fromkeys(candidates)}
        base = min(differences, key=lambda candidate: len(differences[candidate]))
        self.bases[content] = base
        self.changes[content] = differences[base]

    def _make(self, state: Mapping[Key, int]) -> int:
        """The content that is `state`, laid for now beside the latest."""
        near = self._latest or EMPTY
        old = self._contents.difference(EMPTY, near)
        changes: Changes = {}
        for key in old.keys() | state.keys():
            value = old[key][1] if key in old else None
            if value != state.get(key):
                changes[key] = (value, state.get(key))
        return self._contents.changed(near, changes)


def in_succession(
    contents: Contents, groups: GroupContents, events: Iterable[GroupedEvent]
) -> tuple[Succession, list[EventContents]]:
    """What follows upon what, and the contents before and after each of `events`, which come in order."""
    succession = Succession(contents, groups)
    return succession, [succession.add(event) for event in events]
