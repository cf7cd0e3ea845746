# SPDX-License-Identifier: Apache-2.0
"""Synapse's state groups, read into contents.

A group is its parent's state with some keys set: a delta of Synapse removes no key. A group without a parent
is a whole state, which Synapse writes for what comes from outside, where a resolution removes a key, and
after a hundred deltas in a row. Several groups may hold the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from homeserver.importing.contents import EMPTY, Changes, Contents, Key


@attrs.frozen
class StateGroup:
    """A row of `state_groups`: its number, its parent by `state_group_edges`, its `state_groups_state`.

    `delta` and `event`, for which the group was made, name events by our numbers.
    """

    number: int
    parent: int | None
    delta: Mapping[Key, int]
    event: int | None = None


@attrs.frozen
class GroupContents:
    """The content of each group, by its number; the parents that they came with; what they were made for.

    A group whose parent is not there, so that nobody knows its state, has no content.
    """

    contents: Mapping[int, int]
    parents: Mapping[int, int]
    events: Mapping[int, int | None]


def contents_of_groups(groups: Iterable[StateGroup], contents: Contents) -> GroupContents:
    """What the groups hold; `groups` are read once."""
    deltas = _Deltas(groups)
    return GroupContents(_walk(deltas, contents), deltas.parents, deltas.events)


class _Deltas:
    """What each group changes, and the groups that follow upon each. Whole states are none any more.

    Each is compared with the whole state before it, so that no two of them are held at a time.
    """

    def __init__(self, groups: Iterable[StateGroup]) -> None:
        self.following: dict[int | None, list[int]] = {}
        self.parents: dict[int, int] = {}
        self.events: dict[int, int | None] = {}
        self._deltas: dict[int, Mapping[Key, int | None]] = {}
        whole: Mapping[Key, int] = {}
        latest: int | None = None
        for group in groups:
            parent, delta = group.parent, dict[Key, int | None](group.delta)
            if parent is None:
                parent, delta = latest, _difference(whole, group.delta)
                whole, latest = group.delta, group.number
            else:
                self.parents[group.number] = parent
            self.events[group.number] = group.event
            self._deltas[group.number] = delta
            self.following.setdefault(parent, []).append(group.number)

    def take(self, group: int) -> Mapping[Key, int | None]:
        """The delta of a group, which is asked for once."""
        return self._deltas.pop(group)


def _difference(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int | None]:
    changed: dict[Key, int | None] = {key: event for key, event in other.items() if one.get(key) != event}
    changed.update((key, None) for key in one if key not in other)
    return changed


def _walk(deltas: _Deltas, contents: Contents) -> dict[int, int]:
    """Go through the groups from parent to child with one state that changes, and changes back."""
    found: dict[int, int] = {}
    state: dict[Key, int] = {}
    waiting: list[tuple[int, int] | Changes] = [(group, EMPTY) for group in deltas.following.get(None, ())]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            _set(state, {key: (new, old) for key, (old, new) in step.items()})
            continue
        group, base = step
        delta = deltas.take(group)
        changes = {key: (state.get(key), new) for key, new in delta.items() if state.get(key) != new}
        _set(state, changes)
        content = found[group] = contents.changed(base, changes)
        waiting.append(changes)
        waiting.extend((child, content) for child in reversed(deltas.following.get(group, ())))
    return found


def _set(state: dict[Key, int], changes: Changes) -> None:
    for key, (_, new) in changes.items():
        if new is None:
            del state[key]
        else:
            state[key] = new
